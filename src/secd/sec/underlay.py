"""Why a tunnel's own packets never go into a tunnel.

Routes over secN may cover the peer itself: BGP installs a default route, or the very prefix that the peer is in.  So
what this host sends from the IKE ports or as ESP is not routed by the main table, but by a copy of it without what
leads over a secN.  For each of `ipproto udp sport 500`, `ipproto udp sport 4500` and `ipproto esp`, for IPv4 and IPv6,
there are rules, all with `iif lo`:

    32500   lookup main suppress_ifgroup 1516   only while the copy is incomplete (a full table of the Internet): the
                                                main table, unless its best route leads (first) over a secN
    32501   lookup 1516                         the copy
    32502   unreachable                         no way but through a tunnel is no way
    32503   ipproto esp nop                     (once, IPv4) see below

They need no mark.  `iif lo` is for this host's own packets: what it forwards for others is routed as ever, or a host
behind us that uses UDP port 4500 itself would see its packets leave unprotected.  Strict reverse-path filtering
(rp_filter=1) asks the same rules about what comes in, also with `iif lo`, but the kernel looks at protocol and ports
then only if there is some rule on them without `iif lo`: that is rule 32503, which does nothing else.

A rule of the administrator with a smaller number still comes first (`from ADDRESS lookup UPLINK`).

The copy follows the main table by netlink: a change is followed after a moment, and all of it is compared anew, as is
the set of rules.  Then iked hears that packets may go another way, and leave from another address, than before (not of
what BGP changes, which is all the time, nor of what leads over a secN).  Rules and table 1516 are ours alone: what
others put there or take away is put right again.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ParamSpec

from secd.netlink import Changes, Netlink, NetlinkError, links, routes, rules

P = ParamSpec("P")

#: Ours: the routing table, the priority of the first rule, and who we are as the `proto` of a rule (0x5e = 94).
TABLE, PRIORITY, OWNER = 1516, 32500, 94

#: Seconds after a change before the copy follows, and how much longer than the last comparison took it rests.
_DEBOUNCE, _REST = 0.02, 5.0
_SHORTEST_REST = 0.1
#: Seconds between two words that packets may go another way, at least.
_PAUSE = 0.5
#: Routes that are copied; of more, BGP's are left out first (a full table of the Internet is no part of the underlay).
MAX_ROUTES = 16_384
#: Routes read before others have their turn, and changes made.
_SLICE = 512
_IPPROTO_ESP = 50

_MAX_SAID = 16
#: Tables whose changes matter; every address of this host has a route in the local one.
_FOLLOWED = {rules.TABLE_LOCAL, rules.TABLE_MAIN, TABLE}
_DONE = {errno.ENOENT, errno.ESRCH, errno.EEXIST}
_UNSUPPORTED = {errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EPFNOSUPPORT}


class Underlay:
    """Keeps rules and copy while it runs."""

    def __init__(
        self,
        netlink: Netlink,
        tunnels: Callable[[], frozenset[int]],
        log: Callable[[str, str], None],
        ports: tuple[int, ...] = (500, 4500),
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`netlink` is used by nobody else; `tunnels` gives the indices of the sec interfaces.

        `on_change` is called when addresses or routes have changed and the copy has followed.
        """
        self._on_change = on_change
        self._moved = False
        self._told = 0.0
        self._telling: asyncio.TimerHandle | None = None
        self._netlink, self._tunnels, self._log, self._ports = netlink, tunnels, log, ports
        self._families = list(rules.FAMILIES)
        self._incomplete: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._again = self._started = False
        self._said: set[str] = set()

    async def start(self) -> None:
        """Make rules and copy, in place of whatever an earlier life left."""
        self._started = True
        try:
            await self._compare()
            self._moved = False
        except OSError as error:
            self._failed(error)
            self.look_again()

    def follow(self, changes: Changes) -> None:
        """Take note of what the kernel says."""
        if not self._started:
            return
        self._moved |= rules.TABLE_LOCAL in changes.tables  # an address came or went
        if changes.rules or changes.overrun or changes.gone or changes.tables & _FOLLOWED:
            self.look_again()

    def look_again(self) -> None:
        """Compare everything soon."""
        if self._task and not self._task.done():
            self._again = True
        else:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Take the rules away, then the copy; those of another secd stay if this one did not start."""
        if not self._started:
            return
        if self._telling:
            self._telling.cancel()
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for family in self._families:
            try:
                for rule in self._ours(family):
                    _unless_done(rules.delete, self._netlink, rule)
                there = [route async for chunk in self._read(family, TABLE) for route in chunk]
                for route in there:
                    _unless_done(routes.delete, self._netlink, route, TABLE)
            except OSError as error:
                self._failed(error)

    # -- following ----------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        delay = _DEBOUNCE
        while True:
            self._again = False
            await asyncio.sleep(delay)
            started = time.monotonic()
            try:
                await self._compare()
            except OSError as error:
                self._failed(error)
                self._again = True
            else:
                self._tell()
            if not self._again:
                return
            delay = max(_SHORTEST_REST, (time.monotonic() - started) * _REST)

    def _tell(self) -> None:
        """Say that packets may go another way, after a pause since the last time."""
        if self._moved and self._telling is None:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_at(max(loop.time(), self._told + _PAUSE), self._tell_now)

    def _tell_now(self) -> None:
        self._telling, self._moved = None, False
        self._told = asyncio.get_running_loop().time()
        self._on_change()

    def _failed(self, error: OSError) -> None:
        if error.errno != errno.EINTR:  # EINTR: the table changed while it was read
            self._say(f"cannot follow the routes of the underlay: {error.strerror}")

    def _say(self, message: str) -> None:
        """Log a thing once."""
        if message not in self._said and len(self._said) < _MAX_SAID:
            self._said.add(message)
            self._log("warning", message)

    async def _compare(self) -> None:
        for family in list(self._families):
            try:
                await self._compare_routes(family)
                self._compare_rules(family)
            except NetlinkError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self._families.remove(family)
                if family == socket.AF_INET:
                    self._log("error", f"no policy routing in this kernel ({error.strerror}): a route over secN that "
                                       "covers a peer would send the tunnel's packets into the tunnel")  # fmt: skip

    # -- the copy -----------------------------------------------------------------------------------------

    async def _compare_routes(self, family: int) -> None:
        wanted, there = await self._wanted(family), set()
        async for chunk in self._read(family, TABLE):
            there.update(chunk)
        self._moved |= any(route.protocol != routes.PROTOCOL_BGP for route in there ^ wanted)
        for number, route in enumerate(there - wanted, 1):
            await self._change(routes.delete, route, number)
        for number, route in enumerate(sorted(wanted - there, key=lambda route: route.order), 1):
            await self._change(routes.add, route, number)

    async def _change(
        self, change: Callable[[Netlink, routes.Route, int], None], route: routes.Route, number: int
    ) -> None:
        try:
            _unless_done(change, self._netlink, route, TABLE)
        except NetlinkError as error:  # one odd route is no reason to lose the others
            self._say(f"a route of the underlay cannot be copied to table {TABLE}: {error.strerror}")
        if number % _SLICE == 0:
            await asyncio.sleep(0)

    async def _wanted(self, family: int) -> set[routes.Route]:
        """Read the main table without what leads over a secN."""
        tunnels = self._tunnels()
        kept: dict[bool, list[routes.Route]] = {True: [], False: []}
        count = 0
        async for chunk in self._read(family, rules.TABLE_MAIN):
            for route in chunk:
                left = routes.without(route, tunnels)
                group = kept[route.protocol == routes.PROTOCOL_BGP]
                if left:
                    count += 1
                    group.extend([left] * (len(group) < MAX_ROUTES))
        self._incomplete.discard(family)
        if count > MAX_ROUTES:
            self._incomplete.add(family)
            self._say(f"the underlay has more than {MAX_ROUTES} routes, and not all are copied to table {TABLE}: a "
                      "peer that only the others reach is lost while a route over secN covers it")  # fmt: skip
        return set((kept[False] + kept[True])[:MAX_ROUTES])

    async def _read(self, family: int, table: int) -> AsyncIterator[list[routes.Route]]:
        try:
            for chunk in routes.list_chunks(self._netlink, family, table):
                yield chunk
                await asyncio.sleep(0)
        except NetlinkError as error:
            if error.errno != errno.ENOENT:  # there is no such table yet
                raise

    # -- rules --------------------------------------------------------------------------------------------

    def _compare_rules(self, family: int) -> None:
        wanted, there = list(self._rules(family)), self._ours(family)
        for rule in wanted:
            if rule not in there:
                _unless_done(rules.add, self._netlink, rule)
        for rule in there:
            if rule not in wanted:
                _unless_done(rules.delete, self._netlink, rule)

    def _ours(self, family: int) -> list[rules.Rule]:
        return [rule for rule in rules.list_all(self._netlink, family) if rule.owner == OWNER]

    def _rules(self, family: int) -> Iterator[rules.Rule]:
        for protocol, port in [(socket.IPPROTO_UDP, port) for port in self._ports] + [(_IPPROTO_ESP, 0)]:
            for offset, table, action, group in (
                (0, rules.TABLE_MAIN, rules.ACTION_LOOKUP, links.SEC_GROUP),
                (1, TABLE, rules.ACTION_LOOKUP, None),
                (2, 0, rules.ACTION_UNREACHABLE, None),
            )[family not in self._incomplete :]:
                yield rules.Rule(
                    family=family,
                    priority=PRIORITY + offset,
                    table=table,
                    action=action,
                    ip_protocol=protocol,
                    source_port=port,
                    incoming="lo",
                    suppress_group=group,
                    owner=OWNER,
                )
        if family == socket.AF_INET:
            yield rules.Rule(family, PRIORITY + 3, action=rules.ACTION_NOTHING, ip_protocol=_IPPROTO_ESP, owner=OWNER)


def _unless_done(change: Callable[P, None], *arguments: P.args, **named: P.kwargs) -> None:
    """Make a change that may have been made already, by us or by the kernel."""
    try:
        change(*arguments, **named)
    except NetlinkError as error:
        if error.errno not in _DONE:
            raise
