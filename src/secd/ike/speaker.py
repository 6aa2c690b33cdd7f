"""The protocol machine: everything that iked knows about IKE, without a socket, a clock or a key.

`secd.ike.contract` says what goes in and comes out.  This class keeps the tunnels and hands each input to the machine
of its protocol version; what they do is theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from secd.ike.connection import Connection
from secd.ike.contract import Answer, ConnectionStatus, ExpectFrom, InstalledSA, Output, RequestId, SAKind
from secd.ike.steps import Random
from secd.ike.tunnel import Tunnel, fingerprint
from secd.ike.v1.machine import Machine as Machine1
from secd.ike.v1.status import describe as describe1
from secd.ike.v2.context import PREFIX as PREFIX2
from secd.ike.v2.machine import Machine as Machine2
from secd.ike.v2.status import describe as describe2
from secd.ike.wire.isakmp import major_version
from secd.ike.world import World
from secd.sadb.messages import Datagram, Expire, InterfaceChange, NewMapping, PathChange

#: Seconds after the first call within which passive tunnels of IKEv1 are new because secd is, and so are tried once.
STARTING = 10.0


def _nobody(_: str | None) -> None:
    """Takes the place of `working` where nobody wants to know."""


class Speaker:
    """One for an instance of secd."""

    def __init__(self, random: Random, working: Callable[[str | None], None] = _nobody) -> None:
        """`random(n)` gives n random octets; `working` is told which SA is being worked on."""
        self._world = World(random, working)
        self._v1 = Machine1(self._world)
        self._v2 = Machine2(self._world)
        self._started: float | None = None
        self._expected: set[str] = set()
        self._contacts = 0

    # -- inputs -------------------------------------------------------------------------------------------

    def configure(self, connections: Iterable[Connection], now: float) -> None:
        """Make `connections` the whole set: ends what is gone or different, starts what is new, leaves the rest."""
        self._at(now)
        tunnels = self._world.tunnels
        wanted = {each.name: each for each in connections}
        for name, tunnel in list(tunnels.items()):
            connection = wanted.get(name)
            if connection is None or fingerprint(connection) != tunnel.fingerprint:
                machine = self._machine(tunnel)
                machine.drop(tunnel, "its rule has changed or gone")
                machine.settle()
                self._world.timers.set(f"tunnel {name}", None)
                del tunnels[name]
        for name, connection in wanted.items():
            if name in tunnels:
                tunnels[name] = tunnels.pop(name)  # in the order of the configuration: of IKEv2's the last match wins
                tunnels[name].reconfigure(connection)
            else:
                tunnels[name] = Tunnel(connection)
                tunnels[name].restart(now, once=connection.version == 1 and self._starting(now))
            self._machine(tunnels[name]).ctx.tend(name)
        for each in (self._v1, self._v2):
            each.configured()
            each.settle()
        self._expected = {each.peer for each in wanted.values() if each.peer is not None}
        self._expect(self._expected, anew=True)
        self._contacts = 0
        self._expect_contacts()

    def restore(self, checkpoint_id: str, data: bytes, now: float) -> None:
        """Take up an IKE SA of an earlier life.  Raises what `msgspec` raises when the data is none of ours."""
        self._at(now)
        machine = self._v2 if checkpoint_id.startswith(PREFIX2) else self._v1
        machine.restore(checkpoint_id, data)
        machine.settle()

    def receive(self, datagram: Datagram, now: float) -> None:
        """An IKE message came."""
        self._at(now)
        version = major_version(datagram.data)
        machine = self._v2 if version == 2 else self._v1
        if version in (1, 2):
            machine.receive(datagram)
        elif version is not None:
            text = f"message of IKE version {version} from {datagram.remote}: versions 1 and 2 are spoken here"
            self._world.log_stranger("info", "version", text)
        machine.settle()
        self._expect_contacts()

    def answer(self, request_id: RequestId, answer: Answer, now: float) -> None:
        """A request was answered; answers that nobody waits for any more are passed over."""
        self._at(now)
        machine = self._v2 if self._v2.expects(request_id) else self._v1
        machine.resume(request_id, answer)
        machine.settle()
        self._expect_contacts()

    def event(self, event: Expire | NewMapping | InterfaceChange | PathChange, now: float) -> None:
        """Something happened in the data plane."""
        self._at(now)
        if isinstance(event, PathChange):
            self._v2.paths_changed()
        for machine in (self._v1, self._v2):
            if isinstance(event, Expire):
                machine.expired(event)
            elif isinstance(event, NewMapping):
                machine.mapped(event)
            machine.settle()

    def handle_timer(self, now: float) -> None:
        """Do what has become due."""
        self._at(now)
        for name in self._world.timers.pop_due(now):
            tunnel = self._world.tunnels.get(name.removeprefix("tunnel "))
            of_version_2 = name.startswith(PREFIX2) if tunnel is None else tunnel.connection.version == 2
            machine = self._v2 if of_version_2 else self._v1
            machine.on_time(name)
            machine.settle()
        owners = self._world.steps.give_up(now)
        for each in (self._v1, self._v2):
            each.given_up(owners)
            each.settle()

    def reset(self, name: str | None, now: float) -> bool:
        """Drop a tunnel's SAs (None: all), telling the peer, and start again if it is active."""
        self._at(now)
        tunnels = [each for each in self._world.tunnels.values() if name in (None, each.name)]
        for tunnel in tunnels:
            machine = self._machine(tunnel)
            machine.drop(tunnel, "reset")
            tunnel.restart(now)
            machine.settle()
        return bool(tunnels) or name is None

    def rekey(self, name: str, what: SAKind, now: float) -> str:
        """Replace a tunnel's IKE SA, or its pair of ESP SAs, as if their time had come; gives why not, or ""."""
        self._at(now)
        tunnel = self._world.tunnels.get(name)
        if tunnel is None:
            return f"there is no tunnel {name}"
        machine = self._machine(tunnel)
        refusal = machine.rekey(tunnel, what)
        machine.settle()
        return refusal

    def shutdown(self, now: float) -> None:
        """Say goodbye to every peer; nothing starts again."""
        self._at(now)
        for name, tunnel in list(self._world.tunnels.items()):
            if tunnel.connection.version == 2:
                self._v2.drop(tunnel, "secd ends", repeat=False)
            else:
                self._v1.drop(tunnel, "secd ends")
            self._world.timers.set(f"tunnel {name}", None)
            del self._world.tunnels[name]
            self._machine(tunnel).settle()

    def abandon(self, checkpoint_id: str, now: float) -> None:
        """Forget the IKE SA of this checkpoint without a word; never raises."""
        self._at(now)
        self._world.outbox.drop_step()
        for machine in (self._v1, self._v2):
            machine.abandon(checkpoint_id)
            machine.settle()

    # -- outputs ------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When `handle_timer` wants to be called."""
        deadlines = [each for each in (self._world.timers.next(), self._world.steps.deadline()) if each is not None]
        return min(deadlines, default=None)

    def outputs(self) -> list[Output]:
        """What finished steps want done, in order; empties the list."""
        return self._world.outbox.take()

    def status(self, now: float) -> list[ConnectionStatus]:
        """Every tunnel as it stands."""
        return [
            describe2(self._v2.ctx, tunnel, now)
            if tunnel.connection.version == 2
            else describe1(self._v1.ctx, tunnel, now)
            for tunnel in self._world.tunnels.values()
        ]

    def installed(self) -> list[InstalledSA]:
        """Every SA that is believed to be in the data plane."""
        return self._v1.installed() + self._v2.installed()

    def _machine(self, tunnel: Tunnel) -> Machine1 | Machine2:
        return self._v2 if tunnel.connection.version == 2 else self._v1

    def _expect_contacts(self) -> None:
        """Who has shown who it is is no stranger any more, wherever it is."""
        contacted = self._v1.ctx.contacted, self._v2.ctx.contacted
        if self._contacts != (contacts := len(contacted[0]) + len(contacted[1])):
            self._contacts = contacts
            new = set().union(*contacted) - self._expected
            if new:
                self._expected |= new
                self._expect(new, anew=False)

    def _expect(self, addresses: set[str], *, anew: bool) -> None:
        """Have messages from `addresses` brought before those of strangers."""
        ordered = sorted(addresses)
        for at in range(0, max(1, len(ordered)), 1024):
            self._world.outbox.put(ExpectFrom(tuple(ordered[at : at + 1024]), anew and not at))
        self._world.outbox.finish_step()

    def _at(self, now: float) -> None:
        self._world.now = now
        if self._started is None:
            self._started = now

    def _starting(self, now: float) -> bool:
        return self._started is not None and now - self._started < STARTING
