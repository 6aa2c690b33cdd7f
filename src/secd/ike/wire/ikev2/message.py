"""IKEv2 messages: the header and the chain of payloads (RFC 7296 §3.1, §3.2).

A message in clear is read by `parse_header` and `parse_payloads`.  One that is protected is opened by
`secd.ike.crypto.ikev2_messages`; what was inside of its SK payload is then such a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from secd.ike.wire.chain import GENERIC_OCTETS, PayloadChain, encode_payloads, first_type, walk, whole
from secd.ike.wire.cursor import Reader, WireError
from secd.ike.wire.header import HEADER_OCTETS, SPI_OCTETS, Fields
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.config import ConfigPayload
from secd.ike.wire.ikev2.iana import Flag, NotifyType, PayloadType
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payloads import (
    AuthPayload,
    CertPayload,
    CertReqPayload,
    DeletePayload,
    EAPPayload,
    IDiPayload,
    IDrPayload,
    KEPayload,
    NoncePayload,
    UnknownPayload,
    VendorIDPayload,
)
from secd.ike.wire.ikev2.sa import SAPayload
from secd.ike.wire.ikev2.ts import TSiPayload, TSrPayload
from secd.ike.wire.payload import Payload

NO_SPI = bytes(SPI_OCTETS)

_CRITICAL = 0x80


@dataclass(frozen=True, slots=True)
class Header:
    """RFC 7296 §3.1.  `next_payload` and `length` are filled in by the encoder."""

    initiator_spi: bytes
    responder_spi: bytes
    exchange: int
    flags: int
    message_id: int
    next_payload: int = PayloadType.NONE
    length: int = 0
    major: int = 2
    minor: int = 0

    @property
    def from_initiator(self) -> bool:
        """Whether the sender is the original initiator of the IKE SA."""
        return bool(self.flags & Flag.INITIATOR)

    @property
    def response(self) -> bool:
        """Whether this answers a request."""
        return bool(self.flags & Flag.RESPONSE)

    def encode(self) -> bytes:
        """The 28 octets of the header."""
        if len(self.initiator_spi) != SPI_OCTETS or len(self.responder_spi) != SPI_OCTETS:
            raise ValueError("an SPI of an IKE SA has 8 octets")
        spis, version = (self.initiator_spi, self.responder_spi), self.major << 4 | self.minor
        rest = self.exchange, self.flags, self.message_id, self.length
        return Fields(*spis, self.next_payload, version, *rest).encode()


@dataclass(frozen=True, slots=True)
class Chain(PayloadChain):
    """The payloads of a message, in order."""

    FAULT: ClassVar[NotifyType] = NotifyType.INVALID_SYNTAX

    def notifications(self, notify_type: int) -> tuple[NotifyPayload, ...]:
        """Every notification of one type."""
        return tuple(each for each in self.all(NotifyPayload) if each.notify_type == notify_type)

    def notification(self, notify_type: int) -> NotifyPayload | None:
        """The first notification of one type, or None."""
        return next(iter(self.notifications(notify_type)), None)

    @property
    def errors(self) -> tuple[NotifyPayload, ...]:
        """Every notification that says that something failed."""
        return tuple(each for each in self.all(NotifyPayload) if each.is_error)


def parse_header(data: bytes) -> Header:
    """Read the header of the datagram `data`, whose length must be the one that the header tells.

    Exchange types and flags that we do not know are left to the caller; a minor version, too (RFC 7296 §2.5).
    """
    reader = Reader(data, "IKE header", fault=NotifyType.INVALID_SYNTAX)
    fields = Fields.read(reader, "initiator's SPI", "responder's SPI")
    major, minor = fields.version >> 4, fields.version & 0x0F
    if major != 2:
        raise reader.error(f"version {major}.{minor}, expected 2.0", NotifyType.INVALID_MAJOR_VERSION)
    if fields.length != len(data):
        raise reader.error(f"length {fields.length}, but the datagram has {len(data)} octets")
    if fields.first == NO_SPI:
        raise reader.error("the initiator's SPI is zero")
    rest = fields.message_id, fields.next_payload, fields.length
    return Header(fields.first, fields.second, fields.exchange, fields.flags, *rest, major, minor)


def parse_payloads(first: int, body: bytes) -> Chain:
    """Read the chain of payloads that starts with one of type `first` and fills `body` to its last octet.

    SK and SKF have no place in it: they are not within themselves, and a message that has one is not in clear.
    """
    reader = Reader(body, "message body", fault=NotifyType.INVALID_SYNTAX)
    payloads = tuple(walk(reader, first, _parse_payload))
    reader.finish()
    return Chain(payloads, body)


def encode_message(header: Header, payloads: Sequence[Payload]) -> bytes:
    """A message in clear."""
    body = encode_payloads(payloads)
    return replace(header, next_payload=first_type(payloads), length=HEADER_OCTETS + len(body)).encode() + body


def _misplaced(reader: Reader) -> Payload:
    raise reader.error("stands where only payloads in clear may")


def _parse_payload(reader: Reader, type_: int) -> tuple[int, Payload]:
    what = f"{name_of(PayloadType, type_)} payload"
    following = reader.u8(f"{what}: next payload")
    critical = reader.u8(f"{what}: critical bit") & _CRITICAL  # the bits beside it are reserved and not looked at
    body = reader.sub(reader.u16(f"{what}: length") - GENERIC_OCTETS, what)
    if critical and type_ not in _PARSERS:
        notify = NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
        raise WireError(f"a critical payload of unknown type {type_}", notify, bytes((type_,)))
    return following, whole(body, _PARSERS.get(type_, lambda rest: UnknownPayload(type_, rest.rest())))


_PARSERS: dict[int, Callable[[Reader], Payload]] = {
    PayloadType.SA: SAPayload.parse,
    PayloadType.KE: KEPayload.parse,
    PayloadType.IDi: IDiPayload.parse,
    PayloadType.IDr: IDrPayload.parse,
    PayloadType.CERT: CertPayload.parse,
    PayloadType.CERTREQ: CertReqPayload.parse,
    PayloadType.AUTH: AuthPayload.parse,
    PayloadType.NONCE: NoncePayload.parse,
    PayloadType.N: NotifyPayload.parse,
    PayloadType.D: DeletePayload.parse,
    PayloadType.V: VendorIDPayload.parse,
    PayloadType.TSi: TSiPayload.parse,
    PayloadType.TSr: TSrPayload.parse,
    PayloadType.SK: _misplaced,
    PayloadType.SKF: _misplaced,
    PayloadType.CP: ConfigPayload.parse,
    PayloadType.EAP: EAPPayload.parse,
}
