"""X.500 names: their DER, as an ID payload holds it (ID_DER_ASN1_DN), and the text that iked.conf(5) has.

The text is OpenSSL's old one line: `/C=AU/O=Example/CN=gw.example.com`, in the order of the encoding.  A name in whose
values a "/" stands before what looks like an attribute cannot be written so; `0x` and the DER in hexadecimal can.
`C=AU, O=Example, CN=gw.example.com`, as other daemons have it, is read too, in the same order.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from secd.ike.wire.cursor import Reader, WireError
from secd.ike.wire.ikev2.iana import NotifyType

MAX_ATTRIBUTES = 32
MAX_OCTETS = 2048

#: DER of the OIDs of attribute types (RFC 4519), by the names that OpenSSL has for them.
_OIDS: dict[str, bytes] = {
    "CN": bytes.fromhex("550403"),
    "SN": bytes.fromhex("550404"),
    "serialNumber": bytes.fromhex("550405"),
    "C": bytes.fromhex("550406"),
    "L": bytes.fromhex("550407"),
    "ST": bytes.fromhex("550408"),
    "street": bytes.fromhex("550409"),
    "O": bytes.fromhex("55040a"),
    "OU": bytes.fromhex("55040b"),
    "title": bytes.fromhex("55040c"),
    "GN": bytes.fromhex("55042a"),
    "initials": bytes.fromhex("55042b"),
    "dnQualifier": bytes.fromhex("55042e"),
    "UID": bytes.fromhex("0992268993f22c640101"),
    "DC": bytes.fromhex("0992268993f22c640119"),
    "emailAddress": bytes.fromhex("2a864886f70d010901"),
}
_NAMES = {oid: name for name, oid in _OIDS.items()}
_OIDS_FOLDED = {name.lower(): oid for name, oid in _OIDS.items()} | {"e": _OIDS["emailAddress"]}

_SEQUENCE, _SET, _OID = 0x30, 0x31, 0x06
_UTF8, _PRINTABLE, _IA5 = 0x0C, 0x13, 0x16
_CHARSETS = {_UTF8: "utf-8", _PRINTABLE: "ascii", _IA5: "ascii", 0x14: "latin-1", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}
#: Looked up at once: a codec is a file, and iked's sandbox opens none later.
_DECODERS = {tag: codecs.getdecoder(charset) for tag, charset in _CHARSETS.items()}
_IA5_ATTRIBUTES = {_OIDS["DC"], _OIDS["emailAddress"]}
_PRINTABLE_ATTRIBUTES = {_OIDS["C"], _OIDS["serialNumber"], _OIDS["dnQualifier"]}
_TYPE = r"([A-Za-z][A-Za-z0-9]*|[0-9]+(?:\.[0-9]+)+)"
_ATTRIBUTE = re.compile(f"/{_TYPE}=")
_AFTER_COMMA = re.compile(rf"(?:\A|,)\s*{_TYPE}\s*=\s*")


@dataclass(frozen=True, slots=True)
class _Attribute:
    """One attribute: OID, and value as text, or as octets where it is no string that we know."""

    oid: bytes
    value: str | bytes

    def normal(self) -> tuple[bytes, str | bytes]:
        """What is compared (RFC 5280 §7.1): without regard to case and to the number of blanks."""
        value = self.value
        return self.oid, " ".join(value.split()).casefold() if isinstance(value, str) else value


_Rdn = tuple[_Attribute, ...]


def same_name(one: bytes, other: bytes) -> bool:
    """Whether two names (DER) are the same; what is not a name is the same as nothing."""
    try:
        return _normal(one) == _normal(other)
    except WireError:
        return False


def is_within(name: bytes, base: bytes) -> bool:
    """Whether `name` begins with all of `base`: a name constraint's subtree (RFC 5280 §4.2.1.10).

    `WireError` if either is not a name.
    """
    parts, beginning = _normal(name), _normal(base)
    return parts[: len(beginning)] == beginning


def name_to_text(der: bytes) -> str:
    """As it is written in iked.conf; `0x` and hexadecimal for what cannot be."""
    try:
        rdns = _parse(der)
    except WireError:
        return f"0x{der.hex()}"
    parts: list[str] = []
    for rdn in rdns:
        for each in rdn:
            if not isinstance(each.value, str) or not each.value.isprintable() or _ATTRIBUTE.search(each.value):
                return f"0x{der.hex()}"
            parts.append(f"/{_NAMES.get(each.oid) or _dotted(each.oid)}={each.value}")
    return "".join(parts)


def name_from_text(text: str) -> bytes:
    """The DER of a name as it is written in iked.conf; `ValueError` says what is wrong with the text."""
    if text.startswith("0x"):
        try:
            der = bytes.fromhex(text[2:])
            _parse(der)
        except (ValueError, WireError):
            raise ValueError(f"{text[:40]}: not the DER of a distinguished name in hexadecimal") from None
        return der
    matches = list((_ATTRIBUTE if text.startswith("/") else _AFTER_COMMA).finditer(text))
    if not matches or matches[0].start():
        raise ValueError(f"{text}: expected a distinguished name like /C=AU/O=Example/CN=gw.example.com")
    if len(matches) > MAX_ATTRIBUTES:
        raise ValueError(f"more than {MAX_ATTRIBUTES} attributes in a distinguished name")
    made = b""
    for match, after in zip(matches, [*matches[1:], None], strict=True):
        value = text[match.end() : after.start() if after else len(text)]
        value = value if text.startswith("/") else value.strip()
        made += _tlv(_SET, _tlv(_SEQUENCE, _attribute_octets(match.group(1), value)))
    return _tlv(_SEQUENCE, made)


# -- DER --------------------------------------------------------------------------------------------------


def _normal(der: bytes) -> list[frozenset[tuple[bytes, str | bytes]]]:
    return [frozenset(each.normal() for each in rdn) for rdn in _parse(der)]


def _parse(der: bytes) -> list[_Rdn]:
    if len(der) > MAX_OCTETS:
        raise WireError(f"a distinguished name of {len(der)} octets", NotifyType.INVALID_SYNTAX)
    outer = Reader(der, "distinguished name", fault=NotifyType.INVALID_SYNTAX)
    names = _expect(outer, _SEQUENCE)
    outer.finish()
    rdns: list[_Rdn] = []
    count = 0
    while names.remaining:
        members = _expect(names, _SET)
        rdn: list[_Attribute] = []
        while members.remaining:
            count += 1
            if count > MAX_ATTRIBUTES:
                raise members.error(f"more than {MAX_ATTRIBUTES} attributes")
            rdn.append(_parse_attribute(_expect(members, _SEQUENCE)))
        if not rdn:
            raise members.error("an empty set")
        rdns.append(tuple(rdn))
    return rdns


def _parse_attribute(reader: Reader) -> _Attribute:
    oid = _expect(reader, _OID).rest()
    tag, body = _element(reader)
    value = body.rest()
    reader.finish()
    decode = _DECODERS.get(tag)
    if decode is None:
        return _Attribute(oid, bytes((tag,)) + value)
    try:
        return _Attribute(oid, decode(value)[0])
    except UnicodeDecodeError:
        raise reader.error("a string that is none of its kind") from None


def _expect(reader: Reader, expected: int) -> Reader:
    tag, body = _element(reader)
    if tag != expected:
        raise reader.error(f"tag {tag:#04x}, expected {expected:#04x}")
    return body


def _element(reader: Reader) -> tuple[int, Reader]:
    """Tag and contents of one element; lengths in DER's shortest form, tags of one octet."""
    tag = reader.u8("tag")
    length = reader.u8("length")
    if length >= 0x80:
        octets = reader.take(length & 0x7F, "length") if length & 0x7F in (1, 2) else b""
        length = int.from_bytes(octets, "big")
        if length < 0x80 or octets[0] == 0:
            raise reader.error("a length that is not DER's")
    if tag & 0x1F == 0x1F:
        raise reader.error("a tag of several octets")
    return tag, reader.sub(length, "element")


def _tlv(tag: int, body: bytes) -> bytes:
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + body


def _attribute_octets(name: str, value: str) -> bytes:
    oid = _OIDS_FOLDED.get(name.lower()) or _undotted(name)
    if oid is None:
        raise ValueError(f"{name}: no attribute of a distinguished name; there are {', '.join(_OIDS)}")
    if not value:
        raise ValueError(f"{name}=: expected a value")
    tag = _IA5 if oid in _IA5_ATTRIBUTES else _PRINTABLE if oid in _PRINTABLE_ATTRIBUTES else _UTF8
    try:
        octets = value.encode(_CHARSETS[tag])
    except UnicodeEncodeError:
        raise ValueError(f"{name}={value}: only ASCII can stand there") from None
    return _tlv(_OID, oid) + _tlv(tag, octets)


def _dotted(oid: bytes) -> str:
    """1.2.840.. out of an OID's octets; one that is no OID is shown in hexadecimal."""
    arcs: list[int] = []
    number = 0
    for octet in oid:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(number)
            number = 0
    if not arcs or oid[-1] & 0x80:
        return f"0x{oid.hex()}"
    top = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (top, arcs[0] - 40 * top, *arcs[1:]))


def _undotted(text: str) -> bytes | None:
    if not re.fullmatch(r"[0-2](?:\.[0-9]{1,10}){1,20}", text):
        return None
    top, second, *others = (int(arc) for arc in text.split("."))
    made = b""
    for arc in (40 * top + second, *others):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.insert(0, arc & 0x7F | 0x80)
        made += bytes(digits)
    return made
