"""Addresses of interfaces: ip-address(8)."""

from __future__ import annotations

import socket
import struct

from msgspec import Struct

from secd.netlink import wire
from secd.netlink.socket import Netlink

_INFO = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ADDRESS, _LOCAL, _FLAGS, _PROTOCOL = 1, 2, 8, 11
_NODAD, _TENTATIVE = 0x02, 0x40
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
#: Who has set an address (IFA_PROTO, Linux 5.18 and newer): one that a peer gives to a secN.
PROTOCOL_GIVEN = 94


class Address(Struct, frozen=True):
    """One address.  `peer` is the other end of a point-to-point interface, None where there is none.

    `prefix_length` is that of the peer's network where there is a peer: `169.254.64.94 peer 169.254.64.93/30`.
    """

    index: int
    address: str
    prefix_length: int
    peer: str | None = None
    scope: int = SCOPE_GLOBAL
    protocol: int = 0

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


def decode(body: bytes) -> Address | None:
    """Decode the body of an RTM_NEWADDR or RTM_DELADDR message."""
    if len(body) < _INFO.size:
        return None
    family, prefix_length, _, scope, index = _INFO.unpack_from(body)
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    found = dict(wire.attributes(body, _INFO.size))
    remote = wire.address(found.get(_ADDRESS, b""))
    local = wire.address(found.get(_LOCAL, b"")) or remote
    protocol = wire.number(found.get(_PROTOCOL, b""))
    return Address(index, local, prefix_length, remote if remote != local else None, scope, protocol)


def list_all(netlink: Netlink, index: int | None = None) -> list[Address]:
    """List the addresses (of one interface), IPv4 first."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        bodies = netlink.entries(wire.RTM_GETADDR, _INFO.pack(family, 0, 0, 0, index or 0))
        found += [address for address in map(decode, bodies) if address and index in {None, address.index}]
    return found


def add(
    netlink: Netlink, index: int, address: str, prefix_length: int, *, peer: str | None = None, protocol: int = 0
) -> None:
    """Add an address; EEXIST when it is there.  IPv6 addresses are used at once (no duplicate detection)."""
    mark = wire.u8(_PROTOCOL, protocol) if protocol else b""  # passed over by an older Linux
    netlink.request(
        wire.RTM_NEWADDR,
        _encode(index, address, prefix_length, peer) + mark,
        wire.NLM_F_CREATE | wire.NLM_F_EXCL,
    )


def delete(netlink: Netlink, index: int, address: str, prefix_length: int, *, peer: str | None = None) -> None:
    """Take an address away; EADDRNOTAVAIL when it is not there."""
    netlink.request(wire.RTM_DELADDR, _encode(index, address, prefix_length, peer))


def _encode(index: int, address: str, prefix_length: int, peer: str | None) -> bytes:
    family, local = wire.packed(address)
    remote_family, remote = wire.packed(peer) if peer else (family, local)
    if family != remote_family:
        raise ValueError(f"{address} and its peer {peer} are of different families")
    if not 0 <= prefix_length <= 8 * len(local):
        raise ValueError(f"an address of {address}'s family has no prefix of {prefix_length} bits")
    body = _INFO.pack(family, prefix_length, 0, SCOPE_GLOBAL, index)
    body += wire.attribute(_LOCAL, local) + wire.attribute(_ADDRESS, remote)
    return body + (wire.u32(_FLAGS, _NODAD) if family == socket.AF_INET6 else b"")
