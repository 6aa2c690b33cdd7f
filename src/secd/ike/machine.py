"""What runs when, and what is kept of it: the part of a version's machine that is the same in both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic

import msgspec

from secd.ike.contract import Answer, SAKind, SaveCheckpoint
from secd.ike.retransmission import jitter
from secd.ike.steps import Step, Unanswered
from secd.ike.table import A, C, S, Table
from secd.ike.tunnel import Tunnel
from secd.ike.wire.cursor import WireError
from secd.sadb.messages import MAX_CHECKPOINT, Direction

#: Seconds between two looks at the deadlines of one SA, at least.
TICK = 0.01
#: Rounds of looking at tunnels after a step: what one look begins may change what the next one sees.
ROUNDS = 16
#: Seconds, about, for which attempts wait while many are under way already, as when a thousand tunnels are loaded.
CROWDED = 0.2

_encode = msgspec.msgpack.Encoder().encode


class Machine(ABC, Generic[A, S, C]):
    """Every IKE SA of a version, and the steps they take."""

    #: The version of IKE, and what it calls an IKE SA.
    VERSION: ClassVar[int]
    NOUN: ClassVar[str]

    def __init__(self, table: Table[A, S, C], decode: Callable[[bytes], A]) -> None:
        """Start with the SAs in `table`, which has none; `decode` reads a checkpoint."""
        self.world = table.world
        self._table = table
        self._decode = decode
        self._unclaimed: dict[str, tuple[A, bytes]] = {}
        self._configured = False
        self._done = ""

    # -- what the version does ----------------------------------------------------------------------------

    @abstractmethod
    def _unacceptable(self, session: S, key: str, error: WireError) -> None:
        """A message, or what is in it, is not as it has to be."""

    @abstractmethod
    def _unanswered(self, session: S, key: str, error: Unanswered) -> None:
        """Somebody in this house could not do its part."""

    @abstractmethod
    def _refused(self, owner: str, spi: int, direction: Direction, why: str) -> None:
        """The data plane did not take an SA."""

    @abstractmethod
    def _due(self, session: S) -> None:
        """Do what has become due."""

    @abstractmethod
    def _deadline(self, session: S) -> float:
        """When `_due` has something to do."""

    @abstractmethod
    def _attempt(self, tunnel: Tunnel) -> None:
        """The time has come to try to bring a tunnel up."""

    @abstractmethod
    def _tend(self, tunnel: Tunnel) -> None:
        """Look at a tunnel after a step."""

    @abstractmethod
    def _is_kept(self, session: S) -> bool:
        """Whether there is anything worth a checkpoint."""

    @abstractmethod
    def _goes_on(self, session: S) -> bool:
        """Whether a session that was taken up is one of a tunnel that is, or was, in use."""

    @abstractmethod
    def _goodbye(self, session: S) -> None:
        """End a session and its pairs, and tell the peer."""

    def _outgrown(self, session: S) -> None:
        """Too much has happened to keep an SA."""

    def _ends(self, child: C) -> bool:
        """Whether a pair is about to be replaced, or to end."""
        return False

    # -- steps --------------------------------------------------------------------------------------------

    def begin(self, session: S, key: str, step: Step[None]) -> None:
        """Run `step` to its first question, unless one with this key waits already."""
        if self.world.steps.busy(session.id, key):
            step.close()
            return
        self._advance(session, key, step, None)

    def expects(self, number: int) -> bool:
        """Whether an answer is for a session of this machine's."""
        return number in self._table.installs or self.world.steps.owner(number) in self._table.sessions

    def resume(self, number: int, answer: Answer) -> None:
        """A question was answered; or an installation was refused."""
        waiting = self.world.steps.answered(number)
        if waiting is not None:
            owner, key, step = waiting
            session = self._table.sessions.get(owner)
            if session is None:
                step.close()
                return
            self.world.working(session.id)
            self._table.touch(session)
            self._advance(session, key, step, answer)
        elif (installed := self._table.installs.pop(number, None)) is not None:
            self._refused(*installed, getattr(answer, "message", ""))

    def _advance(self, session: S, key: str, step: Step[None], answer: Answer | None) -> None:
        try:
            request = next(step) if answer is None else step.send(answer)
        except StopIteration:
            self._table.touch(session)
        except WireError as error:
            self._unacceptable(session, key, error)
        except Unanswered as error:
            self._unanswered(session, key, error)
        else:
            self.world.outbox.put(self.world.steps.wait(session.id, key, step, request, self.world.now))

    def given_up(self, owners: list[str]) -> None:
        """Questions of these were left unanswered."""
        for owner in owners:
            session = self._table.sessions.get(owner)
            if session is not None:
                self._unanswered(session, "question", Unanswered("no answer"))

    # -- time ---------------------------------------------------------------------------------------------

    def on_time(self, name: str) -> None:
        """The deadline called `name` has passed."""
        session = self._table.sessions.get(name)
        if session is not None:
            self.world.working(session.id)
            self._due(session)
            self._done = session.id
        elif (tunnel := self.world.tunnels.get(name.removeprefix("tunnel "))) is not None:
            if self.world.steps.crowded:
                tunnel.attempt_at = self.world.now + jitter(self.world.random, CROWDED, 0.5)
                self.world.timers.set(name, tunnel.attempt_at)
                return
            newest = self._table.newest(tunnel.name)
            if newest is not None:
                self.world.working(newest.id)
            self._attempt(tunnel)

    def settle(self) -> None:
        """End a step: tend what it touched, and keep what has changed."""
        table = self._table
        for _ in range(ROUNDS):
            if not table.tended:
                break
            names, table.tended = table.tended, set()
            for name in names:
                tunnel = self.world.tunnels.get(name)
                if tunnel is not None and tunnel.connection.version == self.VERSION:
                    self._tend(tunnel)
        for session in list(table.touched.values()):
            self._keep(session)
        table.touched.clear()
        table.tended.clear()
        self._done = ""
        self.world.outbox.finish_step()

    def _keep(self, session: S) -> None:
        if self._is_kept(session):
            data = _encode(session.sa)
            if len(data) > MAX_CHECKPOINT:
                self._outgrown(session)
            elif data != session.saved:
                session.saved = data
                self.world.outbox.put(SaveCheckpoint(session.id, data))
        # What has just done all that was due is not due again at once, whatever its deadlines say.
        soonest = self.world.now + (TICK if session.id == self._done else 0.0)
        self.world.timers.set(session.id, max(self._deadline(session), soonest))

    # -- checkpoints --------------------------------------------------------------------------------------

    def configured(self) -> None:
        """The tunnels are known: take up what was restored before."""
        self._configured = True
        for id_ in list(self._unclaimed):  # one that fails leaves the others for the next call
            sa, data = self._unclaimed.pop(id_)
            self._take_up(id_, sa, data)
            self.settle()

    def restore(self, id_: str, data: bytes) -> None:
        """Take up a checkpoint, now or when the tunnels are known."""
        self.world.working(id_)
        sa = self._decode(data)
        if self._configured:
            self._take_up(id_, sa, data)
        else:
            self._unclaimed[id_] = (sa, data)

    def _take_up(self, id_: str, sa: A, data: bytes) -> None:
        """Go on with an SA; what is not configured any more is ended properly."""
        self.world.working(id_)
        session = self._table.add(sa)
        session.saved = data
        tunnel = self._table.tunnel(session)
        if not self._goes_on(session):
            return
        if tunnel is None or tunnel.fingerprint != sa.fingerprint:
            self._table.log(session, "no-longer-configured", f"{sa.endpoint.remote}: its rule has changed or gone")
            self._goodbye(session)
            return
        self._table.contacted.add(sa.endpoint.remote)
        if self._table.newest_pair(tunnel.name) is not None:
            tunnel.up(self.world.now)

    def abandon(self, id_: str) -> None:
        """Forget a session without a word to anybody."""
        self._unclaimed.pop(id_, None)
        session = self._table.sessions.get(id_)
        if session is not None:
            session.saved = b""
            self._table.remove(session)

    # -- commands -----------------------------------------------------------------------------------------

    def rekey(self, tunnel: Tunnel, what: SAKind) -> str:
        """Let the time of a rekey be now; gives why that cannot be, or ""."""
        session, pair = self._table.newest(tunnel.name), self._table.newest_pair(tunnel.name)
        if session is None:
            return f"{tunnel.name} has no established {self.NOUN}"
        if what == "child":
            if pair is None:
                return f"{tunnel.name} has no ESP SAs"
            session, child = pair
            if self._ends(child):
                return f"{tunnel.name}'s ESP SAs are being replaced just now"
            child.rekey_at = self.world.now
        else:
            session.sa.rekey_at = self.world.now
        self.world.working(session.id)
        self._table.touch(session)
        return ""
