"""Traffic selectors (RFC 7296 §3.13)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import ClassVar

from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.ikev2.iana import PayloadType, TSType
from secd.ike.wire.ikev2.payload import Payload

MAX_SELECTORS = 255  # their count is one octet

_HEADER_OCTETS = 4
_ADDRESS_OCTETS = {int(TSType.TS_IPV4_ADDR_RANGE): 4, int(TSType.TS_IPV6_ADDR_RANGE): 16}


@dataclass(frozen=True, slots=True)
class TrafficSelector:
    """A range of addresses and of ports; `protocol` 0 and ports 0 to 65535 mean any.

    Ports 65535 to 0 mean OPAQUE (RFC 7296 §3.13.1).
    """

    start: IPv4Address | IPv6Address
    end: IPv4Address | IPv6Address
    protocol: int = 0
    start_port: int = 0
    end_port: int = 0xFFFF

    @property
    def type(self) -> int:
        """The selector type's number."""
        return TSType.TS_IPV4_ADDR_RANGE if self.start.version == 4 else TSType.TS_IPV6_ADDR_RANGE


@dataclass(frozen=True, slots=True)
class OpaqueSelector:
    """A selector of a type that we do not have: nothing matches it (RFC 7296 §3.13.1).  `data` follows the length."""

    type: int
    protocol: int
    data: bytes


Selector = TrafficSelector | OpaqueSelector


def any_selector(version: int) -> TrafficSelector:
    """All of IPv4 (`version` 4) or IPv6 (6): the selector of a route-based tunnel."""
    network = ip_network("0.0.0.0/0") if version == 4 else ip_network("::/0")
    return TrafficSelector(network[0], network[-1])


@dataclass(frozen=True, slots=True)
class TSPayload(Payload):
    """RFC 7296 §3.13.  `TSiPayload` and `TSrPayload` are what messages hold."""

    selectors: tuple[Selector, ...]

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer().u8(len(self.selectors)).put(bytes(3))
        for each in self.selectors:
            body = each.data if isinstance(each, OpaqueSelector) else _range_octets(each)
            writer.u8(each.type).u8(each.protocol).u16(_HEADER_OCTETS + len(body)).put(body)
        return writer.getvalue()

    @staticmethod
    def fields(reader: Reader) -> tuple[Selector, ...]:
        """The selectors of a body; at least one."""
        count = reader.u8("number of traffic selectors")
        reader.take(3, "reserved")
        if not count:
            raise reader.error("no traffic selectors")
        return tuple(_parse_selector(reader) for _ in range(count))


@dataclass(frozen=True, slots=True)
class TSiPayload(TSPayload):
    """The initiator's side."""

    TYPE: ClassVar[PayloadType] = PayloadType.TSi

    @classmethod
    def parse(cls, reader: Reader) -> TSiPayload:
        """Read a body."""
        return cls(cls.fields(reader))


@dataclass(frozen=True, slots=True)
class TSrPayload(TSPayload):
    """The responder's side."""

    TYPE: ClassVar[PayloadType] = PayloadType.TSr

    @classmethod
    def parse(cls, reader: Reader) -> TSrPayload:
        """Read a body."""
        return cls(cls.fields(reader))


def _parse_selector(reader: Reader) -> Selector:
    type_ = reader.u8("selector type")
    protocol = reader.u8("protocol")
    body = reader.sub(reader.u16("selector length") - _HEADER_OCTETS, "traffic selector")
    octets = _ADDRESS_OCTETS.get(type_)
    if octets is None:
        return OpaqueSelector(type_, protocol, body.rest())
    start_port = body.u16("start port")
    end_port = body.u16("end port")
    start = ip_address(body.take(octets, "starting address"))
    end = ip_address(body.take(octets, "ending address"))
    body.finish()
    if int(start) > int(end):
        raise body.error(f"the range {start} to {end} is empty")
    return TrafficSelector(start, end, protocol, start_port, end_port)


def _range_octets(selector: TrafficSelector) -> bytes:
    if selector.start.version != selector.end.version:
        raise ValueError("a range of addresses is of one version of IP")
    writer = Writer().u16(selector.start_port).u16(selector.end_port)
    return writer.put(selector.start.packed).put(selector.end.packed).getvalue()
