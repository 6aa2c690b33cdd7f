"""Static keys: hexadecimal text, in the configuration or in a file of its own."""

from __future__ import annotations

from secd.conf.ipsec.rules import StaticKey
from secd.conf.source import SourceError, open_source

MAX_KEY = 256  # octets


class BadKeyError(Exception):
    """It is no key; the text says why, without showing it."""


def key_from_hex(text: str) -> StaticKey:
    """Make a key of hexadecimal digits, `0x` before them or not."""
    digits = text[2:] if text[:2] == "0x" else text
    if not digits:
        raise BadKeyError("empty key")
    if "$" in digits:
        raise BadKeyError("invalid key: a macro in the middle of a word is not expanded; let one macro hold KEY:KEY")
    if len(digits) % 2:
        raise BadKeyError(f"invalid key: {len(digits)} hexadecimal digits, an even number is needed")
    if len(digits) > 2 * MAX_KEY:
        raise BadKeyError(f"invalid key: longer than {MAX_KEY} octets")
    if not digits.isascii() or not digits.isalnum():
        raise BadKeyError("invalid key: not hexadecimal")
    try:
        return StaticKey(bytes.fromhex(digits))
    except ValueError:
        raise BadKeyError("invalid key: not hexadecimal") from None


def key_from_file(path: str) -> StaticKey:
    """Read hexadecimal digits from a file that holds nothing else."""
    try:
        text = open_source(path, secret=False).text
    except SourceError as error:
        raise BadKeyError(f"cannot read key: {error}") from error
    return key_from_hex(text.removesuffix("\n"))
