"""Network interfaces: ip-link(8)."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct

from msgspec import Struct

from secd.netlink import wire
from secd.netlink.socket import Netlink, NetlinkError

IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_POINTOPOINT = 0x1, 0x2, 0x8, 0x10
IFF_RUNNING, IFF_NOARP, IFF_MULTICAST, IFF_LOWER_UP = 0x40, 0x80, 0x1000, 0x10000

#: The link group that every secN is put into, as OpenBSD's interface group `sec` ("sec" read as digits: 0x5ec).
SEC_GROUP = 1516

#: The group in which interfaces leave, all at a time; nobody else is in a group of such a number.
LEAVING_GROUP = 0x5EC0FF

_INFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
_QDISC = struct.Struct("=BxxxiIII")  # family, index, handle, parent, information
_QDISC_ROOT, _QDISC_KIND = 0xFFFFFFFF, 1
_IFNAME, _MTU, _TXQLEN, _LINKINFO, _IFALIAS, _AF_SPEC, _GROUP = 3, 4, 13, 18, 20, 26, 27
_GSO_MAX_SIZE = 41
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NEIGHBOUR_ADDRESS, _PERMANENT = 1, 0x80
_INFO_KIND, _INET_CONF, _INET6_ADDR_GEN_MODE = 1, 1, 8
_DEVCONF_FORWARDING = 1
_DEVCONF_RP_FILTER, _DEVCONF_PROMOTE_SECONDARIES, _ADDR_GEN_MODE_NONE = 8, 20, 1


class Link(Struct, frozen=True):
    """One interface.  `alias` is what `description` sets; `kind` is `tun`, `veth`, ..., or "" for hardware."""

    index: int
    name: str
    flags: int
    mtu: int
    alias: str = ""
    group: int = 0
    kind: str = ""
    rp_filter: int = 0
    forwards: bool = False

    @property
    def up(self) -> bool:
        """Whether somebody said `up`."""
        return bool(self.flags & IFF_UP)

    @property
    def running(self) -> bool:
        """Whether it is up and has a carrier."""
        return bool(self.flags & IFF_RUNNING)


def decode(body: bytes) -> Link | None:
    """Decode the body of an RTM_NEWLINK or RTM_DELLINK message; None if it is another family's (a bridge's port)."""
    if len(body) < _INFO.size:
        return None
    family, _, index, flags, _ = _INFO.unpack_from(body)
    if family != socket.AF_UNSPEC:
        return None
    found = dict(wire.attributes(body, _INFO.size))
    information = dict(wire.attributes(found.get(_LINKINFO, b"")))
    return Link(
        index=index,
        name=wire.string(found.get(_IFNAME, b"")),
        flags=flags,
        mtu=wire.number(found.get(_MTU, b"")),
        alias=wire.string(found.get(_IFALIAS, b"")),
        group=wire.number(found.get(_GROUP, b"")),
        kind=wire.string(information.get(_INFO_KIND, b"")),
        rp_filter=_devconf(found.get(_AF_SPEC, b""), _DEVCONF_RP_FILTER),
        forwards=bool(_devconf(found.get(_AF_SPEC, b""), _DEVCONF_FORWARDING)),
    )


def _devconf(families: bytes, setting: int) -> int:
    """Give a value out of the array net.ipv4.conf.<interface>; the array starts with setting 1."""
    inet = dict(wire.attributes(dict(wire.attributes(families)).get(socket.AF_INET, b"")))
    values = inet.get(_INET_CONF, b"")
    return wire.number(values[4 * (setting - 1) : 4 * setting])


def list_all(netlink: Netlink) -> list[Link]:
    """List every interface in order of index."""
    bodies = netlink.entries(wire.RTM_GETLINK, _INFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0))
    return sorted((link for link in map(decode, bodies) if link), key=lambda link: link.index)


def find(netlink: Netlink, name: str) -> Link | None:
    """Find an interface by name."""
    try:
        bodies = netlink.request(wire.RTM_GETLINK, _INFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + wire.text(_IFNAME, name))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return decode(bodies[0]) if bodies else None


def change(
    netlink: Netlink,
    index: int,
    *,
    up: bool | None = None,
    mtu: int | None = None,
    alias: str | None = None,
    group: int | None = None,
    txqueuelen: int | None = None,
    gso_max_size: int | None = None,
) -> None:
    """Change what is given; `alias` "" takes the description away."""
    attributes = b""
    if mtu is not None:
        attributes += wire.u32(_MTU, mtu)
    if alias is not None:
        attributes += wire.attribute(_IFALIAS, alias.encode())
    if group is not None:
        attributes += wire.u32(_GROUP, group)
    if txqueuelen is not None:
        attributes += wire.u32(_TXQLEN, txqueuelen)
    if gso_max_size is not None:
        attributes += wire.u32(_GSO_MAX_SIZE, gso_max_size)
    _set(netlink, index, attributes, flags=IFF_UP if up else 0, mask=IFF_UP if up is not None else 0)


def set_rp_filter(netlink: Netlink, index: int, value: int) -> None:
    """Set net.ipv4.conf.<interface>.rp_filter (0 off, 1 strict, 2 loose; the greater of this and `all` counts)."""
    _set_devconf(netlink, index, _DEVCONF_RP_FILTER, value)


def promote_secondaries(netlink: Netlink, index: int) -> None:
    """When an IPv4 address goes, let others of its network stay (net.ipv4.conf.<interface>.promote_secondaries)."""
    _set_devconf(netlink, index, _DEVCONF_PROMOTE_SECONDARIES, 1)


def no_generated_addresses(netlink: Netlink, index: int) -> None:
    """Give the interface no IPv6 link-local address of its own accord.  OSError where there is no IPv6."""
    inet6 = wire.attribute(socket.AF_INET6, wire.u8(_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE))
    _set(netlink, index, wire.attribute(_AF_SPEC | wire.NESTED, inet6))


def no_queueing(netlink: Netlink, index: int) -> None:
    """Let packets go to the driver at once (`tc qdisc replace dev ... root noqueue`).  OSError where there is no tc."""
    body = _QDISC.pack(socket.AF_UNSPEC, index, 0, _QDISC_ROOT, 0) + wire.text(_QDISC_KIND, "noqueue")
    netlink.request(wire.RTM_NEWQDISC, body, wire.NLM_F_CREATE | wire.NLM_F_REPLACE)


def keep_neighbour(netlink: Netlink, index: int) -> None:
    """Keep a point-to-point interface's one IPv4 neighbour, whose address is 0.0.0.0, until the interface is down.

    Otherwise the kernel makes it at the first packet and counts it among the 1,024 that it has room for
    (net.ipv4.neigh.default.gc_thresh3), in all namespaces together; beyond those every packet makes its own anew.
    """
    body = _NEIGHBOUR.pack(socket.AF_INET, index, _PERMANENT, 0, 0) + wire.attribute(_NEIGHBOUR_ADDRESS, bytes(4))
    netlink.request(wire.RTM_NEWNEIGH, body, wire.NLM_F_CREATE | wire.NLM_F_REPLACE)


def delete(netlink: Netlink, *indices: int) -> None:
    """Take interfaces away: however many, the kernel waits once until nobody uses them, some 20 ms."""
    if len(indices) > 1:
        for index in indices:
            with contextlib.suppress(NetlinkError):  # gone already
                change(netlink, index, group=LEAVING_GROUP)
        together = _INFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + wire.u32(_GROUP, LEAVING_GROUP)
        netlink.request(wire.RTM_DELLINK, together)
    else:
        for index in indices:
            netlink.request(wire.RTM_DELLINK, _INFO.pack(socket.AF_UNSPEC, 0, index, 0, 0))


def _set_devconf(netlink: Netlink, index: int, setting: int, value: int) -> None:
    inet = wire.attribute(socket.AF_INET, wire.attribute(_INET_CONF, wire.u32(setting, value)))
    _set(netlink, index, wire.attribute(_AF_SPEC | wire.NESTED, inet))


def _set(netlink: Netlink, index: int, attributes: bytes, *, flags: int = 0, mask: int = 0) -> None:
    netlink.request(wire.RTM_NEWLINK, _INFO.pack(socket.AF_UNSPEC, 0, index, flags, mask) + attributes)
