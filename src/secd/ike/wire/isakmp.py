"""ISAKMP messages (IKEv1): the header and the chain of payloads (RFC 2408 §3.1, §3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from secd.ike.wire.cursor import Reader, WireError, Writer
from secd.ike.wire.iana import ExchangeType, Flag, NotifyType, PayloadType, name_of
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import (
    CertPayload,
    CertReqPayload,
    ConfigurationPayload,
    DeletePayload,
    FragmentPayload,
    HashPayload,
    IDPayload,
    KEPayload,
    NatDPayload,
    NatOAPayload,
    NoncePayload,
    NotificationPayload,
    SignaturePayload,
    UnknownPayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import SAPayload

HEADER_OCTETS = 28
COOKIE_OCTETS = 8
NO_COOKIE = bytes(COOKIE_OCTETS)
MAX_PAYLOADS = 64
MAX_CLEAR_PADDING = 3  # octets
NONCE_OCTETS = range(8, 257)  # RFC 2409 §5

_GENERIC_OCTETS = 4
_P = TypeVar("_P", bound=Payload)


@dataclass(frozen=True, slots=True)
class Header:
    """RFC 2408 §3.1.  `next_payload` and `length` are filled in by the encoder."""

    initiator_cookie: bytes
    responder_cookie: bytes
    exchange: int
    flags: int = 0
    message_id: int = 0
    next_payload: int = PayloadType.NONE
    length: int = 0
    major: int = 1
    minor: int = 0

    @property
    def encrypted(self) -> bool:
        """Whether what follows the header is encrypted."""
        return bool(self.flags & Flag.ENCRYPTION)

    def encode(self) -> bytes:
        """The 28 octets of the header."""
        if len(self.initiator_cookie) != COOKIE_OCTETS or len(self.responder_cookie) != COOKIE_OCTETS:
            raise ValueError("a cookie has 8 octets")
        writer = Writer().put(self.initiator_cookie).put(self.responder_cookie)
        writer.u8(self.next_payload).u8(self.major << 4 | self.minor).u8(self.exchange).u8(self.flags)
        return writer.u32(self.message_id).u32(self.length).getvalue()


@dataclass(frozen=True, slots=True)
class Chain:
    """The payloads of a message, in order.

    `octets` are the payloads with their generic headers as received, without padding; `after_first` those behind the
    first payload, which is what HASH(1) and HASH(2) cover (RFC 2409 §5.5).
    """

    payloads: tuple[Payload, ...]
    octets: bytes
    after_first: bytes

    def all(self, kind: type[_P]) -> tuple[_P, ...]:
        """Every payload of `kind`."""
        return tuple(each for each in self.payloads if isinstance(each, kind))

    def find(self, kind: type[_P]) -> _P | None:
        """The only payload of `kind`, or None; several are an error."""
        found = self.all(kind)
        if len(found) > 1:
            raise WireError(f"{len(found)} {kind.TYPE.name} payloads, expected one at most")
        return found[0] if found else None

    def one(self, kind: type[_P]) -> _P:
        """The only payload of `kind`; none or several are an error."""
        found = self.find(kind)
        if found is None:
            raise WireError(f"no {kind.TYPE.name} payload")
        return found


def major_version(data: bytes) -> int | None:
    """Of which IKE version a datagram is; None when it is too short to tell."""
    return data[17] >> 4 if len(data) >= HEADER_OCTETS else None


def parse_header(data: bytes) -> Header:
    """Read the header of the datagram `data`, whose length must be the one that the header tells."""
    reader = Reader(data, "ISAKMP header")
    initiator_cookie = reader.take(COOKIE_OCTETS, "initiator cookie")
    responder_cookie = reader.take(COOKIE_OCTETS, "responder cookie")
    next_payload = reader.u8("next payload")
    version = reader.u8("version")
    exchange = reader.u8("exchange type")
    flags = reader.u8("flags")
    message_id = reader.u32("message id")
    length = reader.u32("length")
    major, minor = version >> 4, version & 0x0F
    if major != 1:
        raise reader.error(f"version {major}.{minor}, expected 1.0", NotifyType.INVALID_MAJOR_VERSION)
    if exchange not in ExchangeType.__members__.values():
        raise reader.error(f"exchange type {exchange}", NotifyType.INVALID_EXCHANGE_TYPE)
    if length != len(data):
        problem = f"length {length}, but the datagram has {len(data)} octets"
        raise reader.error(problem, NotifyType.UNEQUAL_PAYLOAD_LENGTHS)
    if initiator_cookie == NO_COOKIE:
        raise reader.error("the initiator cookie is zero", NotifyType.INVALID_COOKIE)
    return Header(initiator_cookie, responder_cookie, exchange, flags, message_id, next_payload, length, major, minor)


def parse_payloads(first: int, body: bytes, *, padded: bool = False) -> Chain:
    """Read the chain of payloads that starts with one of type `first`.

    `padded`: the body was decrypted, so padding may follow the last payload.  RFC 2409 App. B wants zeros, of which
    the last may tell their number; some peers send random octets, and no hash covers them: they are not looked at.
    In clear up to three zeros may follow: libreswan makes the length of every message a multiple of four.
    """
    reader = Reader(body, "message body")
    payloads: list[Payload] = []
    after_first = 0
    following = first
    while following != PayloadType.NONE:
        if len(payloads) == MAX_PAYLOADS:
            raise reader.error(f"more than {MAX_PAYLOADS} payloads")
        following, payload = _parse_payload(reader, following)
        payloads.append(payload)
        if len(payloads) == 1:
            after_first = reader.offset
    end = reader.offset
    rest = reader.peek()
    if not padded and (len(rest) > MAX_CLEAR_PADDING or any(rest)):
        reader.finish()
    return Chain(tuple(payloads), body[:end], body[after_first:end])


def encode_payloads(payloads: Sequence[Payload]) -> bytes:
    """The chain of payloads; its first one's type belongs into the header."""
    writer = Writer()
    for index, payload in enumerate(payloads, 1):
        body = payload.body
        following = payloads[index].type if index < len(payloads) else PayloadType.NONE
        writer.u8(following).u8(0).u16(_GENERIC_OCTETS + len(body)).put(body)
    return writer.getvalue()


def encode_message(header: Header, payloads: Sequence[Payload]) -> bytes:
    """A message in clear."""
    return encode_with_body(header, payloads[0].type if payloads else PayloadType.NONE, encode_payloads(payloads))


def encode_with_body(header: Header, first: int, body: bytes) -> bytes:
    """A message whose body stands ready, encrypted or not, and starts with a payload of type `first`."""
    return replace(header, next_payload=first, length=HEADER_OCTETS + len(body)).encode() + body


def _parse_payload(reader: Reader, type_: int) -> tuple[int, Payload]:
    what = f"{name_of(PayloadType, type_)} payload"
    following = reader.u8(f"{what}: next payload")
    if reader.u8(f"{what}: reserved"):
        raise reader.error(f"{what}: the reserved octet is not zero")  # RFC 2408 §5.3
    body = reader.sub(reader.u16(f"{what}: length") - _GENERIC_OCTETS, what)
    raw = body.peek()
    payload = _PARSERS[type_](body) if type_ in _PARSERS else UnknownPayload(type_, body.rest())
    body.finish()
    object.__setattr__(payload, "raw", raw)  # the only place where a payload gets it
    return following, payload


def _misplaced(reader: Reader) -> Payload:
    raise reader.error("stands outside of an SA payload", NotifyType.INVALID_PAYLOAD_TYPE)


def _nonce(reader: Reader) -> Payload:
    if reader.remaining not in NONCE_OCTETS:
        raise reader.error(f"{reader.remaining} octets, expected 8 to 256")
    return NoncePayload(reader.rest())


def _nat_oa(reader: Reader, *, draft: bool = False) -> Payload:
    id_type = reader.u8("ID type")
    reader.take(3, "reserved")
    return NatOAPayload(id_type, reader.rest(), draft)


_PARSERS: dict[int, Callable[[Reader], Payload]] = {
    PayloadType.SA: SAPayload.parse,
    PayloadType.P: _misplaced,
    PayloadType.T: _misplaced,
    PayloadType.KE: lambda reader: KEPayload(reader.rest()),
    PayloadType.ID: IDPayload.parse,
    PayloadType.CERT: lambda reader: CertPayload(reader.u8("encoding"), reader.rest()),
    PayloadType.CR: lambda reader: CertReqPayload(reader.u8("encoding"), reader.rest()),
    PayloadType.HASH: lambda reader: HashPayload(reader.rest()),
    PayloadType.SIG: lambda reader: SignaturePayload(reader.rest()),
    PayloadType.NONCE: _nonce,
    PayloadType.N: NotificationPayload.parse,
    PayloadType.D: DeletePayload.parse,
    PayloadType.VID: lambda reader: VendorIDPayload(reader.rest()),
    PayloadType.ATTRIBUTES: ConfigurationPayload.parse,
    PayloadType.NAT_D: lambda reader: NatDPayload(reader.rest()),
    PayloadType.NAT_OA: _nat_oa,
    PayloadType.NAT_D_DRAFT: lambda reader: NatDPayload(reader.rest(), draft=True),
    PayloadType.NAT_OA_DRAFT: lambda reader: _nat_oa(reader, draft=True),
    PayloadType.FRAGMENT: lambda reader: FragmentPayload(reader.rest()),
}
