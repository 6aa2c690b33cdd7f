"""IKEv2: what runs when, and what is kept of it."""

from __future__ import annotations

import msgspec

from secd.ike.contract import Answer, InstalledSA, SAKind, SaveCheckpoint
from secd.ike.steps import Step, Unanswered
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import dataplane, dispatch, ending, failures, lifecycle, pairs
from secd.ike.v2.context import Context, Session
from secd.ike.v2.cookies import Cookies
from secd.ike.v2.state import Closed, Closing, IkeSA, Starting
from secd.ike.wire.cursor import WireError
from secd.ike.world import World
from secd.sadb.messages import MAX_CHECKPOINT, Datagram, Expire, NewMapping

#: Seconds between two looks at the deadlines of one SA, at least.
TICK = 0.01
#: Rounds of looking at tunnels after a step: what one look begins may change what the next one sees.
ROUNDS = 16

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(IkeSA).decode


class Machine:
    """Every IKE SA, and the steps they take.

    A session has three kinds of steps that may wait: "request" begins one of ours, "response" works on the answer to
    it, "answer" on a request of the peer's.
    """

    def __init__(self, world: World) -> None:
        """Start with none."""
        self.world = world
        self.ctx = Context(world)
        self._cookies = Cookies(world)
        self._unclaimed: dict[str, tuple[IkeSA, bytes]] = {}
        self._configured = False
        self._done = ""

    # -- steps --------------------------------------------------------------------------------------------

    def begin(self, session: Session, key: str, step: Step[None]) -> None:
        """Run `step` to its first question, unless one with this key waits already."""
        if self.world.steps.busy(session.id, key):
            step.close()
            return
        self._advance(session, key, step, None)

    def expects(self, number: int) -> bool:
        """Whether an answer is for a session of this machine's."""
        return number in self.ctx.installs or self.world.steps.owner(number) in self.ctx.sessions

    def resume(self, number: int, answer: Answer) -> None:
        """A question was answered; or an installation was refused."""
        waiting = self.world.steps.answered(number)
        if waiting is not None:
            owner, key, step = waiting
            session = self.ctx.sessions.get(owner)
            if session is None:
                step.close()
                return
            self.world.working(session.id)
            self.ctx.touch(session)
            self._advance(session, key, step, answer)
        elif (installed := self.ctx.installs.pop(number, None)) is not None:
            dataplane.refused(self.ctx, *installed, getattr(answer, "message", ""))

    def _advance(self, session: Session, key: str, step: Step[None], answer: Answer | None) -> None:
        try:
            request = next(step) if answer is None else step.send(answer)
        except StopIteration:
            self.ctx.touch(session)
        except WireError as error:
            failures.unacceptable(self.ctx, session, key, error)
        except Unanswered as error:
            failures.uncomputed(self.ctx, session, key, error)
        else:
            self.world.outbox.put(self.world.steps.wait(session.id, key, step, request, self.world.now))

    def receive(self, datagram: Datagram) -> None:
        """An IKEv2 message from anybody."""
        dispatch.receive(self.ctx, self, self._cookies, datagram)

    # -- time ---------------------------------------------------------------------------------------------

    def on_time(self, name: str) -> None:
        """The deadline called `name` has passed."""
        session = self.ctx.sessions.get(name)
        if session is not None:
            self.world.working(session.id)
            lifecycle.on_time(self.ctx, self, session)
            self._done = session.id
        elif (tunnel := self.world.tunnels.get(name.removeprefix("tunnel "))) is not None:
            newest = self.ctx.newest(tunnel.name)
            if newest is not None:
                self.world.working(newest.id)
            lifecycle.attempt(self.ctx, self, tunnel)

    def given_up(self, owners: list[str]) -> None:
        """Questions of these were left unanswered."""
        for owner in owners:
            session = self.ctx.sessions.get(owner)
            if session is not None:
                failures.uncomputed(self.ctx, session, "question", Unanswered("no answer"))

    def settle(self) -> None:
        """End a step: tend what it touched, and keep what has changed."""
        ctx = self.ctx
        for _ in range(ROUNDS):
            if not ctx.tended:
                break
            names, ctx.tended = ctx.tended, set()
            for name in names:
                tunnel = self.world.tunnels.get(name)
                if tunnel is not None and tunnel.connection.version == 2:
                    lifecycle.tend(ctx, self, tunnel)
        for session in list(ctx.touched.values()):
            self._keep(session)
        ctx.touched.clear()
        ctx.tended.clear()
        self._done = ""
        self.world.outbox.finish_step()

    def _keep(self, session: Session) -> None:
        if not isinstance(session.sa.phase, Starting):
            data = _encode(session.sa)
            if data != session.saved and len(data) <= MAX_CHECKPOINT:
                session.saved = data
                self.world.outbox.put(SaveCheckpoint(session.id, data))
        # What has just done all that was due is not due again at once, whatever its deadlines say.
        soonest = self.world.now + (TICK if session.id == self._done else 0.0)
        self.world.timers.set(session.id, max(lifecycle.deadline(self.ctx, session), soonest))

    # -- tunnels come and go ------------------------------------------------------------------------------

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
        sa = _decode(data)
        if self._configured:
            self._take_up(id_, sa, data)
        else:
            self._unclaimed[id_] = (sa, data)

    def _take_up(self, id_: str, sa: IkeSA, data: bytes) -> None:
        """Go on with an SA; what is not configured any more is ended properly."""
        self.world.working(id_)
        session = self.ctx.add(sa)
        session.saved = data
        tunnel = self.ctx.tunnel(session)
        if sa.half_open or isinstance(sa.phase, Closing | Closed):
            return
        if tunnel is None or tunnel.fingerprint != sa.fingerprint:
            self.world.log(
                "info", sa.tunnel, "no-longer-configured", f"{sa.endpoint.remote}: its rule has changed or gone"
            )
            ending.goodbye(self.ctx, session)
            return
        self.ctx.contacted.add(sa.endpoint.remote)
        if pairs.newest(self.ctx, tunnel.name) is not None:
            tunnel.up(self.world.now)

    def abandon(self, id_: str) -> None:
        """Forget a session without a word to anybody."""
        self._unclaimed.pop(id_, None)
        session = self.ctx.sessions.get(id_)
        if session is not None:
            session.saved = b""
            self.ctx.remove(session)

    def drop(self, tunnel: Tunnel, reason: str, *, repeat: bool = True) -> None:
        """End everything of a tunnel, and say so to the peer; `repeat`: until it has heard of it."""
        for session in self.ctx.of(tunnel.name):
            self.world.working(session.id)
            ending.goodbye(self.ctx, session, repeat=repeat)
        tunnel.down(reason, self.world.now)
        self.ctx.tend(tunnel.name)

    def rekey(self, tunnel: Tunnel, what: SAKind) -> str:
        """Let the time of a rekey be now; gives why that cannot be, or ""."""
        session, pair = self.ctx.newest(tunnel.name), pairs.newest(self.ctx, tunnel.name)
        if session is None:
            return f"{tunnel.name} has no established IKE SA"
        if what == "child" and pair is None:
            return f"{tunnel.name} has no ESP SAs"
        if what == "child" and pair is not None:
            session, aged = pair
            if aged.replaced or aged.delete_at is not None:
                return f"{tunnel.name}'s ESP SAs are being replaced just now"
            aged.rekey_at = self.world.now
        else:
            session.sa.rekey_at = self.world.now
        self.world.working(session.id)
        self.ctx.touch(session)
        return ""

    # -- events of the data plane -------------------------------------------------------------------------

    def expired(self, event: Expire) -> None:
        """An SA has reached a limit, or somebody has removed it."""
        dataplane.expired(self.ctx, event)

    def mapped(self, event: NewMapping) -> None:
        """ESP that was authenticated came from a new address."""
        dataplane.mapped(self.ctx, event)

    def installed(self) -> list[InstalledSA]:
        """What the data plane is believed to have."""
        return dataplane.installed(self.ctx)
