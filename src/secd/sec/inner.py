"""Inner addresses that peers give us, and that we give to peers (RFC 7296 §3.15), as iked tells of them.

They are marked as ours in the kernel, which keeps them when this process ends: an address stays until iked says another
one, also over the death of everybody but the kernel.  What somebody else has set is never touched.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Set

from secd.netlink import Netlink, NetlinkError, addresses, routes, rules
from secd.sadb.messages import Assign
from secd.sec.checks import Refusal

#: Interfaces whose addresses are known here.
MAX_INTERFACES = 16_384


class Inner:
    """What iked has said last of each interface."""

    def __init__(self, netlink: Netlink, log: Callable[[str, str], None], index_of: Callable[[str], int]) -> None:
        """`index_of` gives an interface's index, or refuses with ENXIO."""
        self._netlink, self._log, self._index_of = netlink, log, index_of
        self._wanted: dict[str, Assign] = {}
        # Without the kernel's mark (before Linux 5.18): which of the addresses are ours.
        self._ours: dict[str, set[tuple[str, int]]] = {}
        self._routed: dict[str, set[str]] = {}

    def assign(self, request: Assign) -> None:
        """Set what `request` says, and take away what it does not say any more."""
        if request.name not in self._wanted and len(self._wanted) >= MAX_INTERFACES:
            raise Refusal(errno.ENOBUFS, f"{MAX_INTERFACES} interfaces have inner addresses already")
        self._wanted[request.name] = request
        self.apply(request.name)
        if not request.addresses and not request.peers:
            del self._wanted[request.name]
            self._ours.pop(request.name, None)
            self._routed.pop(request.name, None)

    def apply(self, name: str) -> None:
        """Set again what is missing: the interface is new, or came up (a link that goes down loses IPv6 addresses)."""
        request = self._wanted.get(name)
        if request is None:
            return
        try:
            index = self._index_of(name)
        except Refusal:
            return  # as soon as it is there
        try:
            self._set_addresses(index, request)
            self._set_routes(index, request)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self._log("error", f"{name}: inner addresses cannot be set: {why}")

    # -- addresses ----------------------------------------------------------------------------------------

    def _set_addresses(self, index: int, request: Assign) -> None:
        ours = self._ours.setdefault(request.name, set())
        wanted = {_split(each) for each in request.addresses}
        present = addresses.list_all(self._netlink, index)
        given = {
            (each.address, each.prefix_length)
            for each in present
            if each.protocol == addresses.PROTOCOL_GIVEN or (each.address, each.prefix_length) in ours
        }
        # New ones first: with its last address an interface loses every IPv4 route.
        for address, length in sorted(wanted - given):
            if self._add_address(request.name, index, address, length):
                ours.add((address, length))
        for address, length in sorted(given - wanted):
            with contextlib.suppress(NetlinkError):
                addresses.delete(self._netlink, index, address, length)
            ours.discard((address, length))

    def _add_address(self, name: str, index: int, address: str, length: int) -> bool:
        try:
            addresses.add(self._netlink, index, address, length, protocol=addresses.PROTOCOL_GIVEN)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:  # somebody else has set it, and may keep it
                self._log("error", f"{name}: the inner address {address}/{length} cannot be set: {error.strerror}")
            return False
        return True

    # -- routes -------------------------------------------------------------------------------------------

    def _set_routes(self, index: int, request: Assign) -> None:
        """Route the peer's addresses into the interface, and no others; the table, which may be large, is not read."""
        for peer in request.peers:
            try:
                routes.add(self._netlink, routes.to_host(peer, index, routes.PROTOCOL_GIVEN), rules.TABLE_MAIN)
            except NetlinkError as error:
                if error.errno not in (errno.EEXIST, errno.ENETDOWN):  # there already, or added when it comes up
                    self._log("error", f"{request.name}: no route to the peer's {peer}: {error.strerror}")
        for peer in self._routed.get(request.name, set()) - set(request.peers):
            with contextlib.suppress(NetlinkError):  # gone with the link
                routes.delete(self._netlink, routes.to_host(peer, index, routes.PROTOCOL_GIVEN), rules.TABLE_MAIN)
        self._routed[request.name] = set(request.peers)

    def forget_routes(self, indices: Set[int]) -> None:
        """Take away the routes of an earlier data plane: what is given anew need not be the same."""
        for family in (socket.AF_INET, socket.AF_INET6) if indices else ():
            with contextlib.suppress(NetlinkError):
                chunks = list(routes.list_chunks(self._netlink, family, rules.TABLE_MAIN))
                for route in (each for chunk in chunks for each in chunk):
                    if route.protocol == routes.PROTOCOL_GIVEN and route.devices <= indices:
                        routes.delete(self._netlink, route, rules.TABLE_MAIN)


def _split(text: str) -> tuple[str, int]:
    found = ipaddress.ip_interface(text)
    return str(found.ip), found.network.prefixlen
