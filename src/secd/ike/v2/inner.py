"""Inner addresses, by tunnel (RFC 7296 §2.19): what hubs give us, and what we give to peers out of pools.

A pool is a network in which every tunnel may have one address; it is no table, and costs what was given out of it.  A
tunnel's peer gets the same address again, as long as nobody else had to be given it meanwhile; a pool that is used up
takes back from peers that are not there what they had.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeAlias

from secd.ike.contract import AssignAddress

#: Of a larger pool so many addresses are given out, the lowest ones.
MAX_POOL = 65_536

Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface
#: iked.conf's words (`address`, `name-server`, ..) and their values.
Words: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(slots=True)
class Holding:
    """What one tunnel has to do with it; `said` is what the data plane was told last, None if that is not known."""

    iface: str
    given: Words = field(default_factory=dict)
    leases: list[str] = field(default_factory=list)
    said: AssignAddress | None = None

    @property
    def assignment(self) -> AssignAddress:
        """What the data plane has to know."""
        return AssignAddress(self.iface, tuple(self.given.get("address", ())), tuple(self.leases))


@dataclass(frozen=True, slots=True)
class Use:
    """Whether a tunnel is to ask for inner addresses, and to give some."""

    iface: str
    asks: bool = False
    gives: bool = False


class Inner:
    """Every tunnel that asks for inner addresses, or has some to give."""

    def __init__(self) -> None:
        """Start with none."""
        self._held: dict[str, Holding] = {}
        self._owners: dict[str, str] = {}  # who has a lease, in the order in which they were given
        self._next: dict[str, int] = {}  # where in a pool to look for a free address
        self._changed: set[str] = set()
        self._gone: set[str] = set()

    def want(self, tunnels: Mapping[str, Use]) -> None:
        """Take what the configuration says of every tunnel; what is not wanted any more is taken back."""
        self._next.clear()
        for name, holding in self._held.items():
            use = tunnels.get(name, Use(holding.iface))
            if holding.given and not use.asks:
                holding.given = {}
                self._changed.add(name)
            if holding.leases and not use.gives:
                self._release(holding)
                self._changed.add(name)
            if not use.asks and not use.gives:
                self._gone.add(name)
        for name, use in tunnels.items():
            if use.asks or use.gives:
                self._held.setdefault(name, Holding(use.iface))

    def restore(self, name: str, given: Words, leases: Iterable[str]) -> None:
        """Take up what a tunnel had by its checkpoint; the data plane may know it already, and is told again."""
        holding = self._held[name]
        holding.given = given or holding.given
        for address in leases:
            if self._owners.setdefault(address, name) == name and address not in holding.leases:
                holding.leases.append(address)
        holding.said = None
        if holding.given or holding.leases:
            self._changed.add(name)

    def __contains__(self, name: str) -> bool:
        """Whether the tunnel asks for addresses, or has some to give."""
        return name in self._held

    def given(self, name: str) -> Words:
        """What the tunnel's hub has given us last."""
        return self._held[name].given if name in self._held else {}

    def leases(self, name: str) -> tuple[str, ...]:
        """What the tunnel's peer has from us."""
        return tuple(self._held[name].leases) if name in self._held else ()

    def take(self, name: str, given: Words) -> None:
        """A hub gives the tunnel this, in place of what it gave before."""
        if name in self._held:
            self._held[name].given = given
            self._changed.add(name)

    def news(self) -> Iterator[AssignAddress]:
        """What the data plane has to be told since the last call."""
        for name in sorted(self._changed | self._gone):
            holding = self._held[name]
            if holding.said != (assignment := holding.assignment):
                holding.said = assignment
                yield assignment
        for name in self._gone:
            del self._held[name]
        self._changed.clear()
        self._gone.clear()

    # -- pools --------------------------------------------------------------------------------------------

    def lease(self, name: str, pools: Sequence[str], asked: str, is_idle: Callable[[str], bool]) -> str:
        """An address for the tunnel `name` out of `pools`, all of one version of IP; "" if none is left.

        `asked`: what the peer would like, or "".  `is_idle` tells of another tunnel whether its peer is not there.
        """
        holding = self._held.get(name)
        if holding is None or not pools:
            return ""
        held = next((each for each in holding.leases if _version(each) == _version(pools[0])), "")
        if held and any(_in_pool(pool, held) for pool in pools):
            return held
        found = self._free(pools, asked) or self._reclaim(pools, is_idle)
        if held:
            self._give_back(holding, held)
        if found:
            self._owners[found] = name
            holding.leases.append(found)
            self._changed.add(name)
        return found

    def holders(self, pools: Sequence[str]) -> list[str]:
        """The tunnels that have addresses out of `pools`."""
        found = (name for each, name in self._owners.items() if any(_in_pool(pool, each) for pool in pools))
        return list(dict.fromkeys(found))

    def _free(self, pools: Sequence[str], asked: str) -> str:
        if asked and asked not in self._owners and any(_in_pool(pool, asked) for pool in pools):
            return asked
        for pool in pools:
            interface, numbers = ipaddress.ip_interface(pool), _numbers(pool)
            begin = self._next.get(pool, 0)  # or thousands that are given out already would be tried for each peer
            for at in chain(range(begin, len(numbers)), range(begin)):
                found = str(type(interface.ip)(numbers[at]))
                if found not in self._owners and found != _own(interface):
                    self._next[pool] = at + 1
                    return found
        return ""

    def _reclaim(self, pools: Sequence[str], is_idle: Callable[[str], bool]) -> str:
        for address, owner in self._owners.items():
            if is_idle(owner) and any(_in_pool(pool, address) for pool in pools):
                self._give_back(self._held[owner], address)
                self._changed.add(owner)
                return address
        return ""

    def _give_back(self, holding: Holding, address: str) -> None:
        holding.leases.remove(address)
        del self._owners[address]

    def _release(self, holding: Holding) -> None:
        for address in list(holding.leases):
            self._give_back(holding, address)


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _numbers(pool: str) -> range:
    """The addresses of a pool as numbers: one, or those of a network without its first and its last."""
    network = ipaddress.ip_interface(pool).network
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.num_addresses > 2:
        first, last = first + 1, last - (network.version == 4)
    return range(first, min(last, first + MAX_POOL - 1) + 1)


def _in_pool(pool: str, address: str) -> bool:
    interface, host = ipaddress.ip_interface(pool), ipaddress.ip_address(address)
    return host.version == interface.version and int(host) in _numbers(pool) and address != _own(interface)


def _own(interface: Interface) -> str:
    """The address of a pool that is ours: `10.9.0.1/24` has one, `10.9.0.0/24` and `10.9.0.7` have none."""
    ours = interface.network.num_addresses > 1 and interface.ip != interface.network.network_address
    return str(interface.ip) if ours else ""
