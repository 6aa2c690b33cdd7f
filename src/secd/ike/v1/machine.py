"""IKEv1: which datagram belongs to which exchange, and what runs when."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from secd.ike import retransmission
from secd.ike.contract import Answer, DropCheckpoint, InstalledSA, SAKind, SaveCheckpoint
from secd.ike.retransmission import Flight
from secd.ike.steps import Step, Unanswered
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import (
    aggressive_mode,
    children,
    dpd,
    exchange,
    informational,
    lifecycle,
    main_mode,
    offers,
    quick_mode,
    tending,
    transaction,
)
from secd.ike.v1.context import Context, Message, Session, Told
from secd.ike.v1.state import AggressiveAnswered, IsakmpSA, KeyWanted
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import ExchangeType, name_of
from secd.ike.wire.isakmp import NO_COOKIE, parse_header
from secd.ike.world import World
from secd.sadb.messages import MAX_CHECKPOINT, Datagram, Expire, NewMapping

#: Beginning of the ids of checkpoints made here; a change of their form changes it.
PREFIX = "v1-"

#: Seconds between two looks at the deadlines of one SA, at least.
TICK = 0.01

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(IsakmpSA).decode


class Machine:
    """Every ISAKMP SA, and the steps they take."""

    def __init__(self, world: World) -> None:
        """Start with none."""
        self.world = world
        self.ctx = Context(world)
        self._unclaimed: dict[str, tuple[IsakmpSA, bytes]] = {}
        self._configured = False
        self._done = ""

    # -- steps --------------------------------------------------------------------------------------------

    def begin(self, session: Session, key: str, step: Step[None]) -> None:
        """Run `step` to its first question, unless one with this key waits already."""
        if self.world.steps.busy(session.id, key):
            step.close()
            return
        self._advance(session, key, step, None)

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
            self._refused(*installed, getattr(answer, "message", ""))

    def _advance(self, session: Session, key: str, step: Step[None], answer: Answer | None) -> None:
        try:
            request = next(step) if answer is None else step.send(answer)
        except StopIteration:
            self.ctx.touch(session)
        except WireError as error:
            self._unacceptable(session, key, error)
        except Unanswered as error:
            self._unanswered(session, key, error)
        else:
            self.world.outbox.put(self.world.steps.wait(session.id, key, step, request, self.world.now))

    def _unacceptable(self, session: Session, key: str, error: WireError) -> None:
        """A message was passed over; it may have been forged, so nothing else happens."""
        if isinstance(error, Told):
            return
        where = session.sa.endpoint.remote
        self.world.log_stranger("info", "unacceptable", f"{key} message from {where}: {error}", session.sa.tunnel)

    def _unanswered(self, session: Session, key: str, error: Unanswered) -> None:
        tunnel = self.ctx.tunnel(session)
        self.world.log_stranger("error", "computation", f"{key}: {error}", session.sa.tunnel)
        if key == "quick" and tunnel is not None:
            tunnel.failed(str(error), self.world.now, self.world.random)
        dpd.schedule(self.ctx, session)
        self.ctx.touch(session)

    def _refused(self, owner: str, spi: int, direction: str, why: str) -> None:
        """The data plane did not take an SA: without it the pair is of no use."""
        found = self.ctx.sessions.get(owner)
        for session in [found] if found is not None else list(self.ctx.sessions.values()):
            for child in list(session.sa.children):
                if spi == (child.spi_in if direction == "in" else child.spi_out):
                    self.world.working(session.id)
                    self.world.log("error", session.sa.tunnel, "sa-refused", f"SPI 0x{spi:08x} {direction}: {why}")
                    children.tell_deleted(self.ctx, session, [child])
                    children.remove(self.ctx, session, child, inbound=direction != "in")
                    tunnel = self.ctx.tunnel(session)
                    if tunnel is not None:
                        tunnel.failed(f"the data plane refused an SA: {why}", self.world.now, self.world.random)

    # -- datagrams ----------------------------------------------------------------------------------------

    def receive(self, datagram: Datagram) -> None:
        """An IKEv1 message from anybody."""
        try:
            header = parse_header(datagram.data)
        except WireError as error:
            self.world.log_stranger("debug", "malformed", f"message from {datagram.remote}: {error}")
            return
        message = Message(datagram, header)
        session = self._session(message)
        if session is not None:
            self.world.working(session.id)
        try:
            if header.exchange in (ExchangeType.IDENTITY_PROTECTION, ExchangeType.AGGRESSIVE):
                self._phase1(session, message)
            elif header.exchange == ExchangeType.INFORMATIONAL:
                self._informational(session, message)
            elif header.exchange == ExchangeType.QUICK and session is not None:
                self._quick_mode(session, message)
            elif header.exchange == ExchangeType.TRANSACTION and session is not None:
                transaction.refuse(self.ctx, session, message)
            elif session is None:
                name = name_of(ExchangeType, header.exchange).lower()
                text = f"{name} exchange from {datagram.remote}: there is no such SA, or no such exchange here"
                self.world.log_stranger("info", "unknown-sa", text)
        except WireError as error:
            self.world.log_stranger("info", "unacceptable", f"message from {datagram.remote}: {error}")

    def _session(self, message: Message) -> Session | None:
        """Whom the cookies name; the responder's is not known to both sides from the beginning."""
        header = message.header
        session = self.ctx.by_cookie(header.initiator_cookie)
        if session is None or header.responder_cookie == session.sa.rcookie:
            return session
        begins = NO_COOKIE in (header.responder_cookie, session.sa.rcookie)
        return session if begins and message.datagram.remote == session.sa.endpoint.remote else None

    def _phase1(self, session: Session | None, message: Message) -> None:
        aggressive = message.header.exchange == ExchangeType.AGGRESSIVE
        if message.header.message_id:
            raise WireError("phase 1 with a message id")
        if session is None:
            begins = message.header.responder_cookie == NO_COOKIE and not message.header.encrypted
            if not begins or self.ctx.by_cookie(message.header.initiator_cookie) is not None:
                return
            if aggressive:
                aggressive_mode.respond(self.ctx, self, message)
            else:
                main_mode.respond(self.ctx, message)
            return
        sa = session.sa
        if retransmission.is_duplicate(sa.flight, message.data):
            self._repeat(session, sa.flight, message)
            return
        mode = aggressive_mode if aggressive else main_mode
        table = mode.INITIATOR if sa.role == "initiator" else mode.RESPONDER
        handler = table.get(type(sa.phase1))
        if handler is None:
            return
        if not message.header.encrypted and message.datagram.remote != sa.endpoint.remote:
            raise WireError(f"from another address than {sa.endpoint.remote}")
        self._run(session, exchange.KEY, lambda: handler(self.ctx, session, message))

    def _quick_mode(self, session: Session, message: Message) -> None:
        tunnel, message_id = self.ctx.tunnel(session), message.header.message_id
        if isinstance(session.sa.phase1, AggressiveAnswered) and message.datagram.remote == session.sa.endpoint.remote:
            aggressive_mode.ask_again(self.ctx, session)
        if tunnel is None or not session.sa.established or not message_id:
            return
        quick = session.sa.quick.get(message_id)
        if quick is None:
            unfinished = len(quick_mode.in_progress(session, ours=False))
            room = unfinished < quick_mode.MAX_AT_ONCE and len(session.sa.children) < quick_mode.MAX_PAIRS_ENDING
            if message_id not in session.sa.used and room:
                step = quick_mode.respond(self.ctx, session, tunnel, message)
                self._run(session, f"quick {message_id}", lambda: step, message)
        elif retransmission.is_duplicate(quick.flight, message.data):
            self._repeat(session, quick.flight, message)
        elif (handler := quick_mode.TRANSITIONS.get(type(quick.state))) is not None:
            self._run(
                session, f"quick {message_id}", lambda: handler(self.ctx, session, tunnel, quick, message), message
            )

    def _informational(self, session: Session | None, message: Message) -> None:
        if session is not None and session.sa.established and message.header.encrypted:
            informational.protected(self.ctx, session, message)
        else:
            informational.unprotected(self.ctx, session, message)

    def _run(
        self, session: Session, key: str, start: Callable[[], Step[None] | None], message: Message | None = None
    ) -> None:
        """Hand a message to its row of the table, unless the one before it is still being worked on."""
        if self.world.steps.busy(session.id, key):
            return
        heard = session.heard
        try:
            step = start()
        except WireError as error:
            self._unacceptable(session, key, error)
            step = None
        if step is not None:
            self._advance(session, key, step, None)
        if message is not None and session.heard != heard and session.id in self.ctx.sessions:
            informational.follow(self.ctx, session, message)
        self.ctx.touch(session)

    def _repeat(self, session: Session, flight: Flight, message: Message) -> None:
        """The peer has not got our answer: say it again, to where it was said."""
        data = retransmission.again(flight)
        if data is not None:
            self.ctx.send(message.endpoint if session.sa.half_open else session.sa.endpoint, data)
            self.ctx.touch(session)

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
            tending.attempt(self.ctx, self, tunnel)

    def given_up(self, owners: list[str]) -> None:
        """Questions of these were left unanswered."""
        for owner in owners:
            session = self.ctx.sessions.get(owner)
            if session is not None:
                self._unanswered(session, "question", Unanswered("no answer"))

    def settle(self) -> None:
        """End a step: tend what it touched, and keep what has changed."""
        ctx = self.ctx
        for _ in range(16):  # tending one tunnel touches no other, so a few rounds suffice
            if not ctx.tended:
                break
            names, ctx.tended = ctx.tended, set()
            for name in names:
                tunnel = self.world.tunnels.get(name)
                if tunnel is not None:
                    tending.tend(ctx, tunnel)
        for session in ctx.touched.values():
            self._keep(session)
        ctx.touched.clear()
        ctx.tended.clear()
        self._done = ""
        self.world.outbox.finish_step()

    def _keep(self, session: Session) -> None:
        if session.proven:  # a first message alone costs nobody anything, nor us a checkpoint
            data = _encode(session.sa)
            if len(data) > MAX_CHECKPOINT:
                self._outgrown(session)
            elif data != session.saved:
                session.saved = data
                self.world.outbox.put(SaveCheckpoint(session.id, data))
        # What has just done all that was due is not due again at once, whatever its deadlines say.
        soonest = self.world.now + (TICK if session.id == self._done else 0.0)
        self.world.timers.set(session.id, max(lifecycle.deadline(session), soonest))

    def _outgrown(self, session: Session) -> None:
        """Too much has happened to keep an SA: what was kept is out of date, which is worse than nothing."""
        if session.saved:
            session.saved = b""
            self.world.outbox.put(DropCheckpoint(session.id))
        if session.sa.rekey_at is not None:
            session.sa.rekey_at = self.world.now

    # -- tunnels come and go ------------------------------------------------------------------------------

    def configured(self) -> None:
        """The tunnels are known: take up what was restored before."""
        self._configured = True
        for tunnel in self.world.tunnels.values():
            offers.warn(self.world, tunnel)
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

    def _take_up(self, id_: str, sa: IsakmpSA, data: bytes) -> None:
        """Go on with an SA; what is not configured any more is ended properly."""
        self.world.working(id_)
        session = self.ctx.add(sa)
        session.saved = data
        tunnel = self.ctx.tunnel(session)
        if isinstance(sa.phase1, KeyWanted):
            self.ctx.remove(session)
            return
        if sa.half_open:
            return
        if tunnel is None or tunnel.fingerprint != sa.fingerprint:
            self.world.log(
                "info", sa.tunnel, "no-longer-configured", f"{sa.endpoint.remote}: its rule has changed or gone"
            )
            children.destroy(self.ctx, session, tell=True)
            return
        self.ctx.contacted.add(sa.endpoint.remote)
        if children.newest(self.ctx, tunnel.name) is not None:
            tunnel.up(self.world.now)

    def abandon(self, id_: str) -> None:
        """Forget a session without a word to anybody."""
        self._unclaimed.pop(id_, None)
        session = self.ctx.sessions.get(id_)
        if session is not None:
            session.saved = b""
            self.ctx.remove(session)

    def drop(self, tunnel: Tunnel, reason: str) -> None:
        """End everything of a tunnel, and say so to the peer."""
        for session in self.ctx.of(tunnel.name):
            self.world.working(session.id)
        tending.drop_all(self.ctx, tunnel, reason, tell=True)

    def rekey(self, tunnel: Tunnel, what: SAKind) -> str:
        """Let the time of a rekey be now; gives why that cannot be, or ""."""
        session, pair = self.ctx.newest(tunnel.name), children.newest(self.ctx, tunnel.name)
        if session is None:
            return f"{tunnel.name} has no established ISAKMP SA"
        if what == "child" and pair is None:
            return f"{tunnel.name} has no ESP SAs"
        aged = pair[1] if what == "child" and pair is not None else session.sa
        session = pair[0] if what == "child" and pair is not None else session
        self.world.working(session.id)
        aged.rekey_at = self.world.now
        self.ctx.touch(session)
        return ""

    # -- events of the data plane -------------------------------------------------------------------------

    def expired(self, event: Expire) -> None:
        """An SA has reached a limit, or somebody has removed it."""
        for session in list(self.ctx.sessions.values()):
            for child in list(session.sa.children):
                if event.sa.spi == (child.spi_in if event.sa.direction == "in" else child.spi_out):
                    self.world.working(session.id)
                    self._child_expired(session, event)
                    return

    def _child_expired(self, session: Session, event: Expire) -> None:
        spi, inbound = event.sa.spi, event.sa.direction == "in"
        child = next(each for each in session.sa.children if spi == (each.spi_in if inbound else each.spi_out))
        tunnel = self.ctx.tunnel(session)
        self.ctx.touch(session)
        if event.kind == "soft":
            if child.rekey_at is not None:
                child.rekey_at = min(child.rekey_at, self.world.now)
            return
        if tunnel is not None and tunnel.up_since is not None:
            tunnel.reason = "the SAs were removed here" if event.kind == "deleted" else "the SAs' lifetime is over"
        if not inbound:
            child.installed = False
        if not child.stale:
            children.tell_deleted(self.ctx, session, [child])
        children.remove(self.ctx, session, child, inbound=not inbound)

    def mapped(self, event: NewMapping) -> None:
        """ESP that was authenticated came from a new address: the NAT before the peer has moved it."""
        found = children.find_inbound(self.ctx, event.spi)
        if found is not None and found[1].udp:
            session = found[0]
            self.world.working(session.id)
            where = replace(session.sa.endpoint, remote=event.source, remote_port=event.port)
            if where != session.sa.endpoint:
                children.move(self.ctx, session, where)
                self.world.log(
                    "info", session.sa.tunnel, "peer-moved", f"the peer moved to {event.source} port {event.port}"
                )

    def installed(self) -> list[InstalledSA]:
        """What the data plane is believed to have."""
        found = []
        for session in self.ctx.sessions.values():
            tunnel = self.ctx.tunnel(session)
            if tunnel is not None:
                for child in session.sa.children:
                    where, iface = child.endpoint, tunnel.connection.iface
                    found.append(InstalledSA(child.spi_in, "in", iface, where.remote, where.local))
                    if child.installed:
                        found.append(InstalledSA(child.spi_out, "out", iface, where.local, where.remote))
        return found
