"""The table of IKE SAs at work, by id and by tunnel, and of the pairs of ESP SAs that they hold: one a version."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from secd.ike.contract import DropCheckpoint, Send
from secd.ike.endpoint import Endpoint, Role
from secd.ike.steps import Step
from secd.ike.tunnel import Tunnel
from secd.ike.world import World
from secd.sadb.messages import Datagram, Direction, Identity

# -- what the states of both versions have ----------------------------------------------------------------


class _Nat(Protocol):
    @property
    def here(self) -> bool:
        """Whether there is a NAT before us."""

    @property
    def found(self) -> bool:
        """Whether ESP has to go in UDP."""


class _Suite(Protocol):
    @property
    def encryption(self) -> str:
        """As `ipsec.conf` names it."""

    @property
    def auth(self) -> str:
        """The same of the authentication."""

    @property
    def group(self) -> str:
        """The group of a key exchange of its own, or ""."""


class Pair(Protocol):
    """A pair of ESP SAs: `Child` in the state of either version says what the fields mean."""

    spi_in: int
    spi_out: int
    endpoint: Endpoint
    udp: bool
    created: float
    expires: float
    rekey_at: float | None
    installed: bool

    @property
    def suite(self) -> _Suite:
        """What both sides agreed on."""

    @property
    def lost(self) -> bool:
        """Whether the inbound SA is not in the data plane any more."""

    @property
    def usable(self) -> bool:
        """Whether traffic goes through it and is meant to."""


class KeptSA(Protocol):
    """What a checkpoint holds of an IKE SA, in either version."""

    role: Role
    tunnel: str
    fingerprint: bytes
    endpoint: Endpoint
    created: float
    expires: float
    rekey_at: float | None
    local_id: Identity | None
    remote_id: Identity | None

    @property
    def nat(self) -> _Nat:
        """Which side a NAT stands before."""

    @property
    def children(self) -> Sequence[Pair]:
        """The pairs that it holds."""

    @property
    def established(self) -> bool:
        """Whether both sides are authenticated and neither has deleted it."""

    @property
    def half_open(self) -> bool:
        """Whether the peer has not yet shown who it is."""


class AtWork(Protocol):
    """An IKE SA at work: the value that is kept, and what is not worth keeping."""

    id: str
    saved: bytes
    keepalive_at: float | None

    @property
    def sa(self) -> KeptSA:
        """The value that is kept."""

    @property
    def since(self) -> float:
        """When it was established; never: infinity."""


H = TypeVar("H")
A = TypeVar("A", bound=KeptSA)
S = TypeVar("S", bound=AtWork)
C = TypeVar("C", bound=Pair)
S_contra = TypeVar("S_contra", bound=AtWork, contravariant=True)


@dataclass(frozen=True, slots=True)
class Received(Generic[H]):
    """A datagram with its header read."""

    datagram: Datagram
    header: H

    @property
    def data(self) -> bytes:
        """The whole datagram."""
        return self.datagram.data

    @property
    def endpoint(self) -> Endpoint:
        """The address that was hit and where from."""
        datagram = self.datagram
        return Endpoint(datagram.local, datagram.local_port, datagram.remote, datagram.remote_port)


class Runner(Protocol[S_contra]):
    """Begins steps that wait."""

    def begin(self, session: S_contra, key: str, step: Step[None]) -> None:
        """Run `step` to its first question."""


# -- the table --------------------------------------------------------------------------------------------


class Table(ABC, Generic[A, S, C]):
    """Every session of a version."""

    #: How many installations are remembered in case they are refused.
    MAX_INSTALLS = 4096

    def __init__(self, world: World) -> None:
        """Start without a session."""
        self.world = world
        self.sessions: dict[str, S] = {}
        self.touched: dict[str, S] = {}
        self.tended: set[str] = set()
        self.contacted: set[str] = set()
        self.installs: dict[int, tuple[str, int, Direction]] = {}
        self._by_tunnel: dict[str, dict[str, S]] = {}

    @abstractmethod
    def add(self, sa: A) -> S:
        """A new session for `sa`."""

    @abstractmethod
    def newest(self, name: str) -> S | None:
        """The session that new exchanges of a tunnel go through."""

    @abstractmethod
    def held_by(self, session: S) -> list[C]:
        """The pairs that `session` holds."""

    @abstractmethod
    def _forget(self, session: S) -> None:
        """Take a session out of the indexes that are the version's own."""

    def enter(self, session: S) -> None:
        """Put a session in that its own indexes know already."""
        self.sessions[session.id] = session
        self.claim(session, session.sa.tunnel)
        self.touch(session)

    def claim(self, session: S, name: str) -> None:
        """`session` belongs to the tunnel `name`; "": not known yet, or to none any more."""
        self._by_tunnel.get(session.sa.tunnel, {}).pop(session.id, None)
        session.sa.tunnel = name
        self._by_tunnel.setdefault(name, {})[session.id] = session

    def remove(self, session: S) -> None:
        """Forget `session`; its children must have been seen to."""
        if self.sessions.pop(session.id, None) is None:
            return
        self.world.steps.cancel(session.id)
        self.world.timers.set(session.id, None)
        self._by_tunnel.get(session.sa.tunnel, {}).pop(session.id, None)
        self._forget(session)
        self.touched.pop(session.id, None)
        self.tend(session.sa.tunnel)
        if session.saved:
            self.world.outbox.put(DropCheckpoint(session.id))

    def touch(self, session: S) -> None:
        """`session` may have changed: look at its checkpoint, deadline and tunnel when the step ends."""
        if session.id in self.sessions:
            self.touched[session.id] = session
            self.tend(session.sa.tunnel)

    def tend(self, name: str) -> None:
        """Look after the tunnel `name` when the step ends."""
        if name:
            self.tended.add(name)

    def of(self, name: str) -> list[S]:
        """The sessions of a tunnel, the oldest first."""
        return sorted(self._by_tunnel.get(name, {}).values(), key=lambda session: session.sa.created)

    def tunnel(self, session: S) -> Tunnel | None:
        """The tunnel that `session` belongs to; None while it is not known."""
        return self.world.tunnels.get(session.sa.tunnel)

    # -- pairs --------------------------------------------------------------------------------------------

    def pairs(self, name: str) -> Iterator[tuple[S, C]]:
        """Every pair of a tunnel with the session that holds it."""
        return ((session, child) for session in self.of(name) for child in self.held_by(session))

    def newest_pair(self, name: str) -> tuple[S, C] | None:
        """The usable pair of a tunnel that was made last: the one that is rekeyed, and that our traffic takes."""
        usable = [(session, child) for session, child in self.pairs(name) if child.usable]
        return max(usable, key=lambda pair: pair[1].created, default=None)

    def pairs_with(self, spi: int, direction: Direction, *, owner: str = "") -> list[tuple[S, C]]:
        """The pairs of `owner`, or if it has gone of any session, whose SA of `direction` has this SPI."""
        found = self.sessions.get(owner)
        return [
            (session, child)
            for session in ([found] if found is not None else self.sessions.values())
            for child in self.held_by(session)
            if spi == (child.spi_in if direction == "in" else child.spi_out)
        ]

    # -- what is told -------------------------------------------------------------------------------------

    def complain(self, tunnels: Sequence[Tunnel], code: str, text: str) -> None:
        """Say once what keeps the peer, who is not authenticated, from using one of `tunnels`."""
        for tunnel in tunnels[:1]:
            if tunnel.is_news(code, text):
                self.world.log_stranger("error", code, text, tunnel.name)
        for tunnel in tunnels:
            if tunnel.up_since is None:
                tunnel.reason = text

    def log(self, session: S, code: str, text: str) -> None:
        """A line about a session's tunnel, for the record."""
        self.world.log("info", session.sa.tunnel, code, text)

    def send(self, endpoint: Endpoint, data: bytes) -> None:
        """A datagram goes out."""
        self.world.outbox.put(Send(endpoint.local, endpoint.local_port, endpoint.remote, endpoint.remote_port, data))
