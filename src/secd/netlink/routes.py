"""Routes as the kernel tells them: kept as bytes, so that a copy has every property of the original.

What belongs to one table or one moment (table number, link state, cache information, nexthop object) is taken off
when a route is read, so that equal routes of two tables are equal values.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Set

from msgspec import Struct

from secd.netlink import wire
from secd.netlink.socket import Netlink

_INFO = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_NEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, interface
_DST, _OIF, _GATEWAY, _MULTIPATH, _CACHEINFO, _TABLE, _VIA, _EXPIRES, _PAD, _NH_ID = 1, 4, 5, 9, 12, 15, 18, 23, 24, 30
_NOT_COPIED = {_CACHEINFO, _TABLE, _EXPIRES, _PAD, _NH_ID}
_ONLINK, _CLONED = 4, 0x200
_SCOPE_LINK, _UNICAST = 253, 1
_TABLE_COMPAT = 252  # rtm_table of a table whose number does not fit one octet

PROTOCOL_KERNEL, PROTOCOL_BGP = 2, 186
#: Routes to the addresses that we give to peers.
PROTOCOL_GIVEN = 94


class Route(Struct, frozen=True):
    """A route without its table.  `devices` are the indices of the interfaces that it leads over."""

    header: bytes
    attributes: bytes
    devices: frozenset[int]

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return self.header[0]

    @property
    def protocol(self) -> int:
        """Who installed it."""
        return self.header[5]

    @property
    def order(self) -> tuple[bool, int]:
        """Sort by this to have each gateway's network before the routes through the gateway."""
        kinds = {kind for kind, _ in wire.attributes(self.attributes)}
        return bool(kinds & {_GATEWAY, _VIA, _MULTIPATH}), -self.header[1]


def to_host(address: str, index: int, protocol: int) -> Route:
    """Make a route to one address, over the interface `index`."""
    family, octets = wire.packed(address)
    header = _INFO.pack(family, 8 * len(octets), 0, 0, 0, protocol, _SCOPE_LINK, _UNICAST, 0)
    attributes = wire.attribute(_DST, octets) + wire.u32(_OIF, index)
    return Route(header, attributes, frozenset({index}))


def list_chunks(netlink: Netlink, family: int, table: int) -> Iterator[list[Route]]:
    """Read a table in pieces; finish before the next request.  NetlinkError EINTR: it changed meanwhile, read again.

    ENOENT: there is no such table.
    """
    body = _INFO.pack(family, 0, 0, 0, table if table < 256 else 0, 0, 0, 0, 0) + wire.u32(_TABLE, table)
    for bodies in netlink.dump(wire.RTM_GETROUTE, body):
        yield [route for route in (_decode(body, table) for body in bodies) if route]


def table_of(body: bytes) -> int:
    """Say which table the body of an RTM_NEWROUTE or RTM_DELROUTE message is about."""
    if len(body) < _INFO.size:
        return 0
    if body[4] not in {0, _TABLE_COMPAT}:
        return body[4]
    for kind, payload in wire.attributes(body, _INFO.size):
        if kind == _TABLE:
            return wire.number(payload)
    return body[4]


def without(route: Route, devices: Set[int]) -> Route | None:
    """Give the route without the nexthops over `devices`; None when nothing is left."""
    left = route.devices - devices
    if left == route.devices:
        return route  # also a blackhole, which leads nowhere
    if not left:
        return None
    attributes = b""
    for kind, payload in wire.attributes(route.attributes):
        kept = b"".join(hop for device, hop in _hops(payload) if device in left) if kind == _MULTIPATH else payload
        attributes += wire.attribute(kind, kept)
    return Route(route.header, attributes, left)


def add(netlink: Netlink, route: Route, table: int) -> None:
    """Install `route` in `table` beside others to the same destination; EEXIST when it is there."""
    append = wire.NLM_F_APPEND if route.family == socket.AF_INET else 0  # IPv6 would join the two as multipath
    netlink.request(wire.RTM_NEWROUTE, _encode(route, table), wire.NLM_F_CREATE | append)


def delete(netlink: Netlink, route: Route, table: int) -> None:
    """Take `route` out of `table`; ESRCH when it is not there."""
    netlink.request(wire.RTM_DELROUTE, _encode(route, table))


def _decode(body: bytes, table: int) -> Route | None:
    if len(body) < _INFO.size or table_of(body) != table:
        return None
    family, dst_len, src_len, tos, _, protocol, scope, kind, flags = _INFO.unpack_from(body)
    if flags & _CLONED:
        return None
    header = _INFO.pack(family, dst_len, src_len, tos, 0, protocol, scope, kind, flags & _ONLINK)
    attributes, devices = b"", set()
    for number, payload in wire.attributes(body, _INFO.size):
        if number in _NOT_COPIED:
            continue
        content = payload
        if number == _OIF:
            devices.add(wire.number(payload))
        elif number == _MULTIPATH:
            hops = list(_hops(payload))
            devices.update(device for device, _ in hops)
            content = b"".join(hop for _, hop in hops)
        attributes += wire.attribute(number, content)
    return Route(header, attributes, frozenset(devices))


def _hops(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Give (interface, octets) of each nexthop of a multipath route, link state taken off."""
    offset = 0
    while offset + _NEXTHOP.size <= len(payload):
        length, flags, hops, device = _NEXTHOP.unpack_from(payload, offset)
        if length < _NEXTHOP.size or offset + length > len(payload):
            return
        rest = payload[offset + _NEXTHOP.size : offset + length]
        yield device, _NEXTHOP.pack(length, flags & _ONLINK, hops, device) + rest + bytes(wire.aligned(length) - length)
        offset += wire.aligned(length)


def _encode(route: Route, table: int) -> bytes:
    return route.header + route.attributes + wire.u32(_TABLE, table)
