"""The addresses of a local interface, for rules that name one: RTM_GETADDR (rtnetlink(7)), asked directly.

The commands must start at once, and no netlink library loads quickly enough for that.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

_RTM_GETADDR, _NLMSG_ERROR, _NLMSG_DONE = 22, 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_HEADER = struct.Struct("=LHHLL")  # nlmsghdr: length, type, flags, sequence, port
_IFADDRMSG = struct.Struct("=BBBBL")  # family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # length, type


def interface_addresses(name: str) -> list[str] | None:
    """Give the addresses of `name`, IPv6 link-local ones left out; None when there is no such interface."""
    try:
        index = socket.if_nametoindex(name)
    except (OSError, ValueError):
        # Files from an OpenBSD machine speak of lo0.
        return interface_addresses("lo") if name == "lo0" else None
    try:
        known = list(_dump())
    except (OSError, struct.error):  # no netlink here, or one that says strange things
        known = []
    return [
        socket.inet_ntop(family, packed)
        for family, owner, packed in known
        if owner == index and not (family == socket.AF_INET6 and packed[:2] == b"\xfe\x80")
    ]


def _dump() -> Iterator[tuple[int, int, bytes]]:
    """Yield (family, interface index, packed address) of every address of this host."""
    request = _HEADER.pack(24, _RTM_GETADDR, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + _IFADDRMSG.pack(0, 0, 0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(5)
        netlink.send(request)
        while True:
            data = netlink.recv(1 << 16)
            while len(data) >= _HEADER.size:
                length, kind, *_ = _HEADER.unpack_from(data)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _HEADER.size:
                    return
                yield from _address(data[_HEADER.size : length])
                data = data[(length + 3) & ~3 :]


def _address(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    family, _, _, _, index = _IFADDRMSG.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    attributes: dict[int, bytes] = {}
    rest = body[_IFADDRMSG.size :]
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if length < _ATTRIBUTE.size:
            break
        attributes[kind] = rest[_ATTRIBUTE.size : length]
        rest = rest[(length + 3) & ~3 :]
    # On a point-to-point link IFA_ADDRESS is the other end's, IFA_LOCAL ours.
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if packed:
        yield family, index, packed
