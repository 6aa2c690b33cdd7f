"""Notifications (RFC 7296 §3.10) and the data of those that hold more than octets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar

from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.ikev2.iana import (
    FIRST_STATUS,
    GatewayIdType,
    NotifyType,
    PayloadType,
    PpkIdType,
    ProtocolId,
)
from secd.ike.wire.ikev2.payload import Payload

MAX_HASHES = 32
COOKIE_OCTETS = range(1, 65)  # RFC 7296 §3.10.1
MAX_GATEWAY_OCTETS = 255  # its length is one octet

_ADDRESS_OCTETS = {int(GatewayIdType.IPV4): 4, int(GatewayIdType.IPV6): 16}


@dataclass(frozen=True, slots=True)
class NotifyPayload(Payload):
    """RFC 7296 §3.10.  `protocol` and `spi` are set only where the notification is about an SA that the SPI names."""

    TYPE: ClassVar[PayloadType] = PayloadType.N

    notify_type: int
    data: bytes = b""
    protocol: int = ProtocolId.NONE
    spi: bytes = b""

    @property
    def is_error(self) -> bool:
        """Whether it says that something failed; known or not (RFC 7296 §3.10.1)."""
        return self.notify_type < FIRST_STATUS

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer().u8(self.protocol).u8(len(self.spi)).u16(self.notify_type)
        return writer.put(self.spi).put(self.data).getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> NotifyPayload:
        """Read a body."""
        protocol = reader.u8("protocol")
        spi_size = reader.u8("SPI size")
        notify_type = reader.u16("notify type")
        spi = reader.take(spi_size, "SPI")
        return cls(notify_type, reader.rest(), protocol, spi)

    def reader(self) -> Reader:
        """A reader for the data."""
        return Reader(self.data, f"data of notification {self.notify_type}", fault=NotifyType.INVALID_SYNTAX)


def parse_group(notify: NotifyPayload) -> int:
    """INVALID_KE_PAYLOAD: the number of the group that is wanted (RFC 7296 §1.3)."""
    return _only_u16(notify, "group")


def group_data(group: int) -> bytes:
    """The data of INVALID_KE_PAYLOAD."""
    return Writer().u16(group).getvalue()


def parse_hashes(notify: NotifyPayload) -> tuple[int, ...]:
    """SIGNATURE_HASH_ALGORITHMS: numbers of `iana.HashAlgorithm`, in the sender's order (RFC 7427 §4)."""
    reader = notify.reader()
    if reader.remaining > 2 * MAX_HASHES:
        raise reader.error(f"more than {MAX_HASHES} hash algorithms")
    hashes: list[int] = []
    while reader.remaining:
        hashes.append(reader.u16("hash algorithm"))
    return tuple(hashes)


def hashes_data(hashes: Iterable[int]) -> bytes:
    """The data of SIGNATURE_HASH_ALGORITHMS."""
    return b"".join(number.to_bytes(2, "big") for number in hashes)


def parse_cookie(notify: NotifyPayload) -> bytes:
    """COOKIE: 1 to 64 octets."""
    if len(notify.data) not in COOKIE_OCTETS:
        raise notify.reader().error(f"a cookie of {len(notify.data)} octets, expected 1 to 64")
    return notify.data


def parse_window(notify: NotifyPayload) -> int:
    """SET_WINDOW_SIZE: how many requests the sender takes at once (RFC 7296 §2.3); at least 1."""
    reader = notify.reader()
    window = reader.u32("window size")
    reader.finish()
    if not window:
        raise reader.error("a window of 0 requests")
    return window


def parse_address(notify: NotifyPayload) -> str:
    """ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS: an address as text (RFC 4555 §4.2.2)."""
    octets = 4 if notify.notify_type == NotifyType.ADDITIONAL_IP4_ADDRESS else 16
    if len(notify.data) != octets:
        raise notify.reader().error(f"an address of {len(notify.data)} octets, expected {octets}")
    return str(ip_address(notify.data))


def additional_address(address: str) -> NotifyPayload:
    """ADDITIONAL_IP4_ADDRESS or ADDITIONAL_IP6_ADDRESS for an address as text."""
    packed = ip_address(address).packed
    kind = NotifyType.ADDITIONAL_IP4_ADDRESS if len(packed) == 4 else NotifyType.ADDITIONAL_IP6_ADDRESS
    return NotifyPayload(kind, packed)


@dataclass(frozen=True, slots=True)
class Redirect:
    """REDIRECT and REDIRECTED_FROM (RFC 5685 §5.1).  `gateway` is an address as text, or a name.

    `nonce` is Ni in an answer to IKE_SA_INIT, else empty.
    """

    gateway_type: int
    gateway: str
    nonce: bytes = b""

    def encode(self) -> bytes:
        """The notification's data."""
        if self.gateway_type == GatewayIdType.FQDN:
            identity = self.gateway.encode("ascii")
        else:
            identity = ip_address(self.gateway).packed
        return Writer().u8(self.gateway_type).u8(len(identity)).put(identity).put(self.nonce).getvalue()

    @classmethod
    def parse(cls, notify: NotifyPayload) -> Redirect:
        """Read the notification's data."""
        reader = notify.reader()
        gateway_type = reader.u8("gateway identity type")
        identity = reader.take(reader.u8("gateway identity length"), "gateway identity")
        expected = _ADDRESS_OCTETS.get(gateway_type)
        if expected is not None:
            if len(identity) != expected:
                raise reader.error(f"a gateway address of {len(identity)} octets, expected {expected}")
            return cls(gateway_type, str(ip_address(identity)), reader.rest())
        if gateway_type != GatewayIdType.FQDN:
            raise reader.error(f"gateway identity type {gateway_type}, expected 1, 2 or 3")
        if not identity or not all(0x21 <= octet <= 0x7E for octet in identity):
            raise reader.error("the gateway's name is not one")
        return cls(gateway_type, identity.decode("ascii"), reader.rest())


@dataclass(frozen=True, slots=True)
class PpkIdentity:
    """PPK_IDENTITY (RFC 8784 §5.1)."""

    id_type: int
    identity: bytes

    def encode(self) -> bytes:
        """The notification's data."""
        return Writer().u8(self.id_type).put(self.identity).getvalue()

    @classmethod
    def parse(cls, notify: NotifyPayload) -> PpkIdentity:
        """Read the notification's data."""
        reader = notify.reader()
        id_type = reader.u8("PPK identity type")
        if id_type not in PpkIdType.__members__.values():
            raise reader.error(f"PPK identity type {id_type}, expected 1 (opaque) or 2 (fixed)")
        return cls(id_type, reader.rest())


def _only_u16(notify: NotifyPayload, what: str) -> int:
    reader = notify.reader()
    number = reader.u16(what)
    reader.finish()
    return number
