"""Shared secrets as iked.conf(5) has them: text, `0x` and hexadecimal digits, or a file of such digits."""

from __future__ import annotations

from secd.conf.source import SourceError, open_source

MAX_SECRET = 4096  # octets


class BadSecretError(Exception):
    """It is no key; the text says why, without showing it."""


def from_text(text: str) -> bytes:
    """Give the octets of a key in the configuration."""
    if text[:2] in ("0x", "0X"):
        return _from_hex(text[2:])
    return _checked(text.encode("utf-8", "surrogateescape"))


def from_file(path: str) -> bytes:
    """Read a key from a file that holds hexadecimal digits and nothing else; it must be secret."""
    try:
        text = open_source(path, secret=True).text
    except SourceError as error:
        raise BadSecretError(f"cannot be read: {error}") from error
    return _from_hex(text.removesuffix("\n"))


def _from_hex(digits: str) -> bytes:
    if not digits.isascii() or not digits.isalnum():
        raise BadSecretError("keys need to be specified in hex digits")
    try:
        return _checked(bytes.fromhex(digits))
    except ValueError:
        raise BadSecretError("keys need to be specified in hex digits, an even number of them") from None


def _checked(secret: bytes) -> bytes:
    if not secret:
        raise BadSecretError("the key is empty")
    if len(secret) > MAX_SECRET:
        raise BadSecretError(f"the key is longer than {MAX_SECRET} octets")
    return secret
