"""What changes among links, routes and rules, as the kernel tells it."""

from __future__ import annotations

import errno
import socket

from msgspec import Struct, field

from secd.netlink import links, routes, wire
from secd.netlink.socket import enlarge

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUPS = (1, 7, 8, 11, 19)  # RTNLGRP_LINK, IPV4_ROUTE, IPV4_RULE, IPV6_ROUTE, IPV6_RULE
_RECEIVE = 64 * 1024
_READS = 256


class Changes(Struct):
    """What one `read` brought.  `overrun`: some were lost, look at everything again."""

    changed: list[links.Link] = field(default_factory=list)
    gone: list[links.Link] = field(default_factory=list)
    tables: set[int] = field(default_factory=set)
    rules: bool = False
    overrun: bool = False


class Monitor:
    """A socket that hears of every change in this network namespace."""

    def __init__(self, own_ports: frozenset[int] = frozenset()) -> None:
        """Listen; changes of routes and rules made through the sockets `own_ports` are passed over."""
        self._own = own_ports
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        try:
            enlarge(self._socket, 4 * 1024 * 1024)
            self._socket.bind((0, 0))
            for group in _GROUPS:
                self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Readable when `read` has something."""
        return self._socket.fileno()

    def read(self) -> Changes:
        """Take what has come, up to a bound; never waits."""
        changes = Changes()
        for _ in range(_READS):
            try:
                data = self._socket.recv(_RECEIVE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                changes.overrun = True
                continue
            for kind, _, _, port, body in wire.messages(data):
                self._note(changes, kind, port, body)
        return changes

    def _note(self, changes: Changes, kind: int, port: int, body: bytes) -> None:
        if kind in {wire.RTM_NEWLINK, wire.RTM_DELLINK}:
            link = links.decode(body)
            if link:
                (changes.changed if kind == wire.RTM_NEWLINK else changes.gone).append(link)
        elif port in self._own:
            return
        elif kind in {wire.RTM_NEWROUTE, wire.RTM_DELROUTE}:
            changes.tables.add(routes.table_of(body))
        elif kind in {wire.RTM_NEWRULE, wire.RTM_DELRULE}:
            changes.rules = True

    def close(self) -> None:
        """Close it."""
        self._socket.close()
