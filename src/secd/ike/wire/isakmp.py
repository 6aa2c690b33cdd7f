"""ISAKMP messages (IKEv1): the header and the chain of payloads (RFC 2408 §3.1, §3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from secd.ike.wire.chain import GENERIC_OCTETS, PayloadChain, encode_payloads, first_type, walk, whole
from secd.ike.wire.cursor import Reader
from secd.ike.wire.header import HEADER_OCTETS, SPI_OCTETS, Fields
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

NO_COOKIE = bytes(SPI_OCTETS)
MAX_CLEAR_PADDING = 3  # octets


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
        if len(self.initiator_cookie) != SPI_OCTETS or len(self.responder_cookie) != SPI_OCTETS:
            raise ValueError("a cookie has 8 octets")
        cookies, version = (self.initiator_cookie, self.responder_cookie), self.major << 4 | self.minor
        rest = self.exchange, self.flags, self.message_id, self.length
        return Fields(*cookies, self.next_payload, version, *rest).encode()


@dataclass(frozen=True, slots=True)
class Chain(PayloadChain):
    """The payloads of a message, in order; padding is not among their octets.

    `after_first` are the octets behind the first payload, which is what HASH(1) and HASH(2) cover (RFC 2409 §5.5).
    """

    FAULT: ClassVar[NotifyType] = NotifyType.PAYLOAD_MALFORMED

    after_first: bytes


def major_version(data: bytes) -> int | None:
    """Of which IKE version a datagram is; None when it is too short to tell."""
    return data[17] >> 4 if len(data) >= HEADER_OCTETS else None


def parse_header(data: bytes) -> Header:
    """Read the header of the datagram `data`, whose length must be the one that the header tells."""
    reader = Reader(data, "ISAKMP header")
    fields = Fields.read(reader, "initiator cookie", "responder cookie")
    major, minor = fields.version >> 4, fields.version & 0x0F
    if major != 1:
        raise reader.error(f"version {major}.{minor}, expected 1.0", NotifyType.INVALID_MAJOR_VERSION)
    if fields.exchange not in ExchangeType.__members__.values():
        raise reader.error(f"exchange type {fields.exchange}", NotifyType.INVALID_EXCHANGE_TYPE)
    if fields.length != len(data):
        problem = f"length {fields.length}, but the datagram has {len(data)} octets"
        raise reader.error(problem, NotifyType.UNEQUAL_PAYLOAD_LENGTHS)
    if fields.first == NO_COOKIE:
        raise reader.error("the initiator cookie is zero", NotifyType.INVALID_COOKIE)
    rest = fields.message_id, fields.next_payload, fields.length
    return Header(fields.first, fields.second, fields.exchange, fields.flags, *rest, major, minor)


def parse_payloads(first: int, body: bytes, *, padded: bool = False) -> Chain:
    """Read the chain of payloads that starts with one of type `first`.

    `padded`: the body was decrypted, so padding may follow the last payload.  RFC 2409 App. B wants zeros, of which
    the last may tell their number; some peers send random octets, and no hash covers them: they are not looked at.
    In clear up to three zeros may follow: libreswan makes the length of every message a multiple of four.
    """
    reader = Reader(body, "message body")
    payloads: list[Payload] = []
    after_first = 0
    for payload in walk(reader, first, _parse_payload):
        payloads.append(payload)
        if len(payloads) == 1:
            after_first = reader.offset
    end = reader.offset
    rest = reader.peek()
    if not padded and (len(rest) > MAX_CLEAR_PADDING or any(rest)):
        reader.finish()
    return Chain(tuple(payloads), body[:end], body[after_first:end])


def encode_message(header: Header, payloads: Sequence[Payload]) -> bytes:
    """A message in clear."""
    return encode_with_body(header, first_type(payloads), encode_payloads(payloads))


def encode_with_body(header: Header, first: int, body: bytes) -> bytes:
    """A message whose body stands ready, encrypted or not, and starts with a payload of type `first`."""
    return replace(header, next_payload=first, length=HEADER_OCTETS + len(body)).encode() + body


def _parse_payload(reader: Reader, type_: int) -> tuple[int, Payload]:
    what = f"{name_of(PayloadType, type_)} payload"
    following = reader.u8(f"{what}: next payload")
    if reader.u8(f"{what}: reserved"):
        raise reader.error(f"{what}: the reserved octet is not zero")  # RFC 2408 §5.3
    body = reader.sub(reader.u16(f"{what}: length") - GENERIC_OCTETS, what)
    return following, whole(body, _PARSERS.get(type_, lambda rest: UnknownPayload(type_, rest.rest())))


def _misplaced(reader: Reader) -> Payload:
    raise reader.error("stands outside of an SA payload", NotifyType.INVALID_PAYLOAD_TYPE)


def _nat_oa(reader: Reader, *, draft: bool = False) -> Payload:
    id_type = reader.u8("ID type")
    reader.take(3, "reserved")
    return NatOAPayload(id_type, reader.rest(), draft)


_PARSERS: dict[int, Callable[[Reader], Payload]] = {
    PayloadType.SA: SAPayload.parse,
    PayloadType.P: _misplaced,
    PayloadType.T: _misplaced,
    PayloadType.KE: KEPayload.parse,
    PayloadType.ID: IDPayload.parse,
    PayloadType.CERT: CertPayload.parse,
    PayloadType.CR: CertReqPayload.parse,
    PayloadType.HASH: HashPayload.parse,
    PayloadType.SIG: SignaturePayload.parse,
    PayloadType.NONCE: NoncePayload.parse,
    PayloadType.N: NotificationPayload.parse,
    PayloadType.D: DeletePayload.parse,
    PayloadType.VID: VendorIDPayload.parse,
    PayloadType.ATTRIBUTES: ConfigurationPayload.parse,
    PayloadType.NAT_D: NatDPayload.parse,
    PayloadType.NAT_OA: _nat_oa,
    PayloadType.NAT_D_DRAFT: lambda reader: NatDPayload(reader.rest(), draft=True),
    PayloadType.NAT_OA_DRAFT: lambda reader: _nat_oa(reader, draft=True),
    PayloadType.FRAGMENT: FragmentPayload.parse,
}
