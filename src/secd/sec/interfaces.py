"""The sec interfaces: made, destroyed, taken up again after a restart, and followed as others change them.

The kernel keeps flags, MTU, addresses, description; this file only tells the engine of them.  A secN is put into the
link group `SEC_GROUP`, by which the rules against the own-tunnel loop know it (`underlay`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct

from secd.netlink import Changes, Netlink, links
from secd.sadb.messages import InterfaceChange, InterfaceEntry
from secd.sec.checks import Refusal
from secd.sec.engine import DataPlane
from secd.sec.family import Family

#: sec(4)'s default.
MTU = 1280
#: Packets that wait in the kernel for a worker, a queue.
_TXQUEUELEN = 1000
#: Octets of a TCP super-packet of this host's own, so that all of it goes as one train: encrypted it must fit into the
#: 65,507 octets of a UDP datagram, and what the kernel keeps for headers is taken off.
_GSO_MAX_SIZE = 60_513
#: Beyond so many interfaces each has one queue only: a TUN queue costs the kernel memory.
_MANY = 256


class Interface(Struct):
    """One secN as the engine knows it."""

    name: str
    index: int
    mtu: int
    running: bool
    tunneldf: bool = False
    mss_clamp: bool = False


class Interfaces:
    """All of them, by name."""

    def __init__(
        self, engine: DataPlane, netlink: Netlink, family: Family, on_change: Callable[[InterfaceChange], None]
    ) -> None:
        """Have none yet; `on_change` is told what iked needs to know."""
        self._engine, self._netlink, self._family, self._on_change = engine, netlink, family, on_change
        self._all: dict[str, Interface] = {}
        self._by_index: dict[int, Interface] = {}
        self._leaving: dict[str, tuple[Interface, Callable[[], None]]] = {}
        self._making: set[str] = set()
        self._not_taken_up: set[int] = set()

    def __iter__(self) -> Iterator[Interface]:
        """Give them in order of unit."""
        return iter(sorted(self._all.values(), key=lambda interface: int(interface.name[3:])))

    def indices(self) -> frozenset[int]:
        """Give the kernel indices of every secN."""
        return frozenset(self._by_index.keys() | self._not_taken_up)

    # -- made and destroyed -------------------------------------------------------------------------------

    async def create(self, name: str) -> None:
        """Make `name`: down, MTU 1280, no addresses."""
        self._remove_leaving()
        if name in self._all or name in self._making:
            raise Refusal(errno.EEXIST, f"{name} is there already")
        self._making.add(name)
        try:
            if links.find(self._netlink, name):
                raise Refusal(errno.EEXIST, f"there is an interface {name} that secd did not make")
            await self._attach(name, MTU, running=False)
            try:
                self._set_up(name)
            except OSError as error:
                self.destroy(name, lambda: None)
                raise Refusal(error.errno or errno.EIO, f"{name} could not be set up: {error.strerror}") from error
        finally:
            self._making.discard(name)
        self._on_change(InterfaceChange(name, running=False, exists=True))

    def destroy(self, name: str, then: Callable[[], None]) -> None:
        """Take `name` away, with all others of which that is said before this loop comes to it; call `then`."""
        interface = self.get(name)
        self._forget(interface)
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._remove_leaving)
        self._leaving[name] = interface, then

    def destroy_all(self) -> None:
        """Take every one away: each would cost the kernel a wait when its last queue is closed."""
        for name in list(self._all):
            self.destroy(name, lambda: None)
        self._remove_leaving()

    def _remove_leaving(self) -> None:
        leaving, self._leaving = list(self._leaving.values()), {}
        with contextlib.suppress(OSError):  # gone by another's hand
            links.delete(self._netlink, *[interface.index for interface, _ in leaving])
        for interface, then in leaving:
            self._let_go(interface.name)
            self._on_change(InterfaceChange(interface.name, running=False, exists=False))
            then()

    def _forget(self, interface: Interface) -> None:
        del self._all[interface.name]
        self._by_index.pop(interface.index, None)

    async def take_up(self, names: Iterable[str]) -> None:
        """Attach again to interfaces that outlived an earlier data plane; nothing about them changes."""
        for name in names:
            link = links.find(self._netlink, name)
            if link is None:
                self._family.log("warning", f"{name} was taken away while the data plane was away")
                self._family.close_tun(name)
                continue
            try:
                await self._attach(name, link.mtu, running=link.up)
            except Refusal as error:
                self._not_taken_up.add(link.index)
                self._family.log("error", f"{name} cannot be taken up again, and carries nothing: {error}")

    def get(self, name: str) -> Interface:
        """Find an interface; refuse with ENXIO."""
        if name not in self._all:
            raise Refusal(errno.ENXIO, f"there is no interface {name}")
        return self._all[name]

    async def _attach(self, name: str, mtu: int, *, running: bool) -> None:
        queues = self._engine.workers if len(self._all) < _MANY else 1
        fds, detached = await self._family.open_tun(name, queues)
        try:
            last = fds[-1] if detached else -1
            index = self._engine.attach(name, fds[:-1] if detached else fds, last, mtu=mtu, running=running)
        except (OSError, ValueError) as error:
            if detached:
                self._family.close_tun(name)
            number, why = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
            raise Refusal(number or errno.EIO, f"{name} could not be made: {why or error}") from error
        finally:
            for fd in fds:
                os.close(fd)
        self._all[name] = self._by_index[index] = Interface(name, index, mtu, running)

    def _let_go(self, name: str) -> None:
        try:
            self._engine.detach(name)
        except (OSError, ValueError) as error:
            self._family.log("error", f"{name} could not be let go of: {error}")
        self._family.close_tun(name)

    def _set_up(self, name: str) -> None:
        index = self._all[name].index
        links.change(self._netlink, index, mtu=MTU, group=links.SEC_GROUP, txqueuelen=_TXQUEUELEN)
        links.promote_secondaries(self._netlink, index)
        link = links.find(self._netlink, name)
        if link and not link.forwards:  # what is forwarded comes in larger ones, that the kernel would take apart
            links.change(self._netlink, index, gso_max_size=_GSO_MAX_SIZE)
        with contextlib.suppress(OSError):  # a kernel without traffic control queues as it always did
            # The TUN has a queue of its own.  Another before it, for each of the 256 queues that it could have, takes
            # the kernel 6 MB and 18 ms when the interface is set up.
            links.no_queueing(self._netlink, index)
        with contextlib.suppress(OSError):  # without IPv6 there is nothing to turn off
            links.no_generated_addresses(self._netlink, index)
        try:
            links.set_rp_filter(self._netlink, index, 2)
        except OSError as error:
            self._family.log(
                "warning",
                f"{name}: rp_filter cannot be set to 2 ({error.strerror}): what comes in by another tunnel than the "
                f"answers leave by is dropped while net.ipv4.conf.all.rp_filter is 1",
            )

    # -- options and counters -----------------------------------------------------------------------------

    def set_options(self, name: str, *, tunneldf: bool | None, mss_clamp: bool | None) -> None:
        """Change the options that are given."""
        interface = self.get(name)
        if tunneldf is not None:
            interface.tunneldf = tunneldf
        if mss_clamp is not None:
            interface.mss_clamp = mss_clamp
        self._tell_engine(interface)

    def entry(self, seq: int, interface: Interface) -> InterfaceEntry:
        """Show one of them."""
        counted = self._engine.interface_counters(interface.name)
        return InterfaceEntry(
            seq=seq,
            name=interface.name,
            index=interface.index,
            running=interface.running,
            mtu=interface.mtu,
            tunneldf=interface.tunneldf,
            mss_clamp=interface.mss_clamp,
            **counted,
        )

    def _tell_engine(self, interface: Interface) -> None:
        self._engine.set_interface(
            interface.name,
            running=interface.running,
            mtu=interface.mtu,
            tunneldf=interface.tunneldf,
            mss_clamp=interface.mss_clamp,
        )

    # -- what others do to them ---------------------------------------------------------------------------

    def follow(self, changes: Changes) -> None:
        """Take note of what the kernel says about links."""
        if changes.overrun:
            now = {link.index: link for link in links.list_all(self._netlink)}
            changes.changed = list(now.values())
            gone = [interface for interface in self if interface.index not in now]
        else:
            gone = [self._by_index[link.index] for link in changes.gone if link.index in self._by_index]
        for interface in gone:
            self._forget(interface)
            self._let_go(interface.name)
            self._family.log("warning", f"{interface.name} was taken away by somebody else")
            self._on_change(InterfaceChange(interface.name, running=False, exists=False))
        for link in changes.changed:
            if link.index in self._by_index:
                self._changed(self._by_index[link.index], link)

    def _changed(self, interface: Interface, link: links.Link) -> None:
        if link.group != links.SEC_GROUP:
            self._put_back(interface)
        if (link.up, link.mtu) == (interface.running, interface.mtu):
            return
        was_running = interface.running
        interface.running, interface.mtu = link.up, link.mtu
        try:
            self._tell_engine(interface)
        except (OSError, ValueError) as error:
            self._family.log("error", f"{interface.name}: {error}")
        if interface.running and not was_running:
            with contextlib.suppress(OSError):  # down or gone again, or a kernel that makes its neighbours itself
                links.keep_neighbour(self._netlink, interface.index)
        if interface.running != was_running:
            self._on_change(InterfaceChange(interface.name, running=interface.running, exists=True))

    def _put_back(self, interface: Interface) -> None:
        """See to it that a secN is in the link group by which the underlay's rules know it."""
        link = links.find(self._netlink, interface.name)
        if link is None or link.group == links.SEC_GROUP:
            return  # the news is old: it was told while the interface was made
        self._family.log("warning", f"{interface.name} was put into link group {link.group}: put back into "
                                    f"{links.SEC_GROUP}, lest its own packets be routed into it")  # fmt: skip
        with contextlib.suppress(OSError):
            links.change(self._netlink, interface.index, group=links.SEC_GROUP)
