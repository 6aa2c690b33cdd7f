"""Distinguished names as iked.conf(5) writes them, `/C=DE/O=Example/CN=gw.example.com`, and as DER."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.x509.oid import NameOID

_TYPES = {
    "C": NameOID.COUNTRY_NAME, "ST": NameOID.STATE_OR_PROVINCE_NAME, "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME, "CN": NameOID.COMMON_NAME,
    "emailAddress": NameOID.EMAIL_ADDRESS, "DC": NameOID.DOMAIN_COMPONENT, "serialNumber": NameOID.SERIAL_NUMBER,
    "SN": NameOID.SURNAME, "GN": NameOID.GIVEN_NAME, "UID": NameOID.USER_ID, "title": NameOID.TITLE,
}  # fmt: skip
_WORDS = {oid: word for word, oid in _TYPES.items()}
_PART = re.compile(r"/([A-Za-z]+)=((?:\\.|[^/\\])+)")


class BadNameError(Exception):
    """It is no distinguished name; the text says why."""


def parse_name(text: str) -> x509.Name:
    """Read a name; a slash or a backslash in a value has a backslash before it."""
    parts: list[x509.NameAttribute[str]] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise BadNameError(f"expected /TYPE=VALUE at {text[position : position + 20]!r}")
        oid = _TYPES.get(match[1])
        if oid is None:
            raise BadNameError(f"{match[1]} is none of {' '.join(_TYPES)}")
        try:
            parts.append(x509.NameAttribute(oid, re.sub(r"\\(.)", r"\1", match[2])))
        except (ValueError, TypeError) as error:
            raise BadNameError(f"{match[1]}: {error}") from error
        position = match.end()
    if not parts:
        raise BadNameError("the name is empty")
    return x509.Name([x509.RelativeDistinguishedName([part]) for part in parts])


def name_octets(text: str) -> bytes:
    """Give the DER of a name, its text as UTF-8 (RFC 5280 §4.1.2.4)."""
    try:
        return parse_name(text).public_bytes()
    except (ValueError, UnicodeEncodeError) as error:
        raise BadNameError(str(error)) from error


def name_text(name: x509.Name) -> str:
    """Write a name as iked.conf(5) has it; what has no word there is left out."""
    parts = ((_WORDS.get(part.oid), part.value) for part in name)
    return "".join(f"/{word}={_escape(str(value))}" for word, value in parts if word)


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """Say whether two names are the same, whichever kinds of string they are made of (RFC 5280 §7.1)."""
    return _comparable(one) == _comparable(other)


def _escape(value: str) -> str:
    return re.sub(r"([/\\])", r"\\\1", value)


def _comparable(name: x509.Name) -> list[tuple[str, str]]:
    return [(part.oid.dotted_string, " ".join(str(part.value).split()).casefold()) for part in name]
