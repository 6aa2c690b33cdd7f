"""IKEv2 messages: the header and the chain of payloads (RFC 7296 §3.1, §3.2).

A message in clear is read by `parse_header` and `parse_payloads`.  One that is protected is opened by
`secd.ike.crypto.ikev2_messages`; what was inside of its SK payload is then such a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from secd.ike.wire.cursor import Reader, WireError, Writer
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.config import ConfigPayload
from secd.ike.wire.ikev2.iana import Flag, NotifyType, PayloadType
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payload import Payload, malformed
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

HEADER_OCTETS = 28
SPI_OCTETS = 8
NO_SPI = bytes(SPI_OCTETS)
GENERIC_OCTETS = 4
MAX_PAYLOADS = 64

_CRITICAL = 0x80
_P = TypeVar("_P", bound=Payload)


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
        writer = Writer().put(self.initiator_spi).put(self.responder_spi)
        writer.u8(self.next_payload).u8(self.major << 4 | self.minor).u8(self.exchange).u8(self.flags)
        return writer.u32(self.message_id).u32(self.length).getvalue()


@dataclass(frozen=True, slots=True)
class Chain:
    """The payloads of a message, in order; `octets` are they, with their generic headers, as received."""

    payloads: tuple[Payload, ...]
    octets: bytes

    def all(self, kind: type[_P]) -> tuple[_P, ...]:
        """Every payload of `kind`."""
        return tuple(each for each in self.payloads if isinstance(each, kind))

    def find(self, kind: type[_P]) -> _P | None:
        """The only payload of `kind`, or None; several are an error."""
        found = self.all(kind)
        if len(found) > 1:
            raise malformed(f"{len(found)} {kind.TYPE.name} payloads, expected one at most")
        return found[0] if found else None

    def one(self, kind: type[_P]) -> _P:
        """The only payload of `kind`; none or several are an error."""
        found = self.find(kind)
        if found is None:
            raise malformed(f"no {kind.TYPE.name} payload")
        return found

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
    initiator_spi = reader.take(SPI_OCTETS, "initiator's SPI")
    responder_spi = reader.take(SPI_OCTETS, "responder's SPI")
    next_payload = reader.u8("next payload")
    version = reader.u8("version")
    exchange = reader.u8("exchange type")
    flags = reader.u8("flags")
    message_id = reader.u32("message id")
    length = reader.u32("length")
    major, minor = version >> 4, version & 0x0F
    if major != 2:
        raise reader.error(f"version {major}.{minor}, expected 2.0", NotifyType.INVALID_MAJOR_VERSION)
    if length != len(data):
        raise reader.error(f"length {length}, but the datagram has {len(data)} octets")
    if initiator_spi == NO_SPI:
        raise reader.error("the initiator's SPI is zero")
    return Header(initiator_spi, responder_spi, exchange, flags, message_id, next_payload, length, major, minor)


def parse_payloads(first: int, body: bytes) -> Chain:
    """Read the chain of payloads that starts with one of type `first` and fills `body` to its last octet.

    SK and SKF have no place in it: they are not within themselves, and a message that has one is not in clear.
    """
    reader = Reader(body, "message body", fault=NotifyType.INVALID_SYNTAX)
    payloads: list[Payload] = []
    following = first
    while following != PayloadType.NONE:
        if len(payloads) == MAX_PAYLOADS:
            raise reader.error(f"more than {MAX_PAYLOADS} payloads")
        following, payload = _parse_payload(reader, following)
        payloads.append(payload)
    reader.finish()
    return Chain(tuple(payloads), body)


def encode_payloads(payloads: Sequence[Payload]) -> bytes:
    """The chain of payloads; its first one's type belongs into what stands before it.

    None is critical: that bit is for types that RFC 7296 does not define (§3.2).
    """
    writer = Writer()
    for index, payload in enumerate(payloads, 1):
        body = payload.body
        following = payloads[index].type if index < len(payloads) else PayloadType.NONE
        writer.u8(following).u8(0).u16(GENERIC_OCTETS + len(body)).put(body)
    return writer.getvalue()


def first_type(payloads: Sequence[Payload]) -> int:
    """What stands as next payload before a chain."""
    return payloads[0].type if payloads else PayloadType.NONE


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
    raw = body.peek()
    payload: Payload
    if type_ in _PARSERS:
        payload = _PARSERS[type_](body)
    elif critical:
        notify = NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
        raise WireError(f"a critical payload of unknown type {type_}", notify, bytes((type_,)))
    else:
        payload = UnknownPayload(type_, body.rest())
    body.finish()
    object.__setattr__(payload, "raw", raw)  # the only place where a payload gets it
    return following, payload


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
    PayloadType.V: lambda reader: VendorIDPayload(reader.rest()),
    PayloadType.TSi: TSiPayload.parse,
    PayloadType.TSr: TSrPayload.parse,
    PayloadType.SK: _misplaced,
    PayloadType.SKF: _misplaced,
    PayloadType.CP: ConfigPayload.parse,
    PayloadType.EAP: lambda reader: EAPPayload(reader.rest()),
}
