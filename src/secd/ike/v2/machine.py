"""IKEv2: which datagram belongs to which exchange, and what runs when."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from secd.ike.contract import Answer, InstalledSA, SAKind, SaveCheckpoint
from secd.ike.crypto.errors import NotAuthentic
from secd.ike.crypto.ikev2_messages import Opened
from secd.ike.steps import Step, Unanswered
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import (
    auth,
    between,
    child,
    ending,
    exchange,
    followup,
    informational,
    initial,
    lifecycle,
    liveness,
    mobike,
    pairs,
    rekey,
)
from secd.ike.v2.context import Context, Message, Session
from secd.ike.v2.cookies import Cookies
from secd.ike.v2.state import (
    AuthSent,
    Between,
    Child,
    Closed,
    Closing,
    CreateChild,
    Established,
    IkeSA,
    InitAnswered,
    InitSent,
    RekeyIke,
    Starting,
)
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, NotifyType, PayloadType
from secd.ike.wire.ikev2.message import NO_SPI, Chain, Header, encode_message, parse_header
from secd.ike.wire.ikev2.notify import NotifyPayload
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
        """A message, or what is in it, is not as it has to be."""
        sa = session.sa
        text = f"{key} of {sa.endpoint.remote}: {error}"
        self.world.log_stranger("info", "unacceptable", text, sa.tunnel)
        if isinstance(sa.phase, InitSent):
            return  # in clear: anybody may have sent it, and the true answer may still come
        if isinstance(sa.phase, Starting):
            self.ctx.remove(session)
        elif key == "response":
            self._fruitless(session, text)

    def _unanswered(self, session: Session, key: str, error: Unanswered) -> None:
        """Somebody in this house could not do its part."""
        sa = session.sa
        self.world.log_stranger("error", "computation", f"{key}: {error}", sa.tunnel)
        if sa.half_open:
            self.ctx.remove(session)
        elif key in ("request", "response"):
            self._fruitless(session, str(error))
        self.ctx.touch(session)

    def _fruitless(self, session: Session, reason: str) -> None:
        """An exchange of ours came to nothing."""
        sa, tunnel = session.sa, self.ctx.tunnel(session)
        if not sa.established:
            if tunnel is not None:
                tunnel.failed(reason, self.world.now, self.world.random)
            self.ctx.remove(session)
            return
        request, sa.request = sa.request, None
        if request is not None and isinstance(request.purpose, RekeyIke):
            sa.rekey_at = self.world.now + child.REFUSED
        elif request is not None and isinstance(request.purpose, CreateChild) and request.purpose.replaces:
            found = pairs.find(self.ctx, sa.tunnel, spi_in=request.purpose.replaces)
            if found is not None and not found[1].replaced:
                found[1].rekey_at = self.world.now + child.REFUSED
        if tunnel is not None and pairs.newest(self.ctx, sa.tunnel) is None:
            tunnel.failed(reason, self.world.now, self.world.random)

    def _refused(self, owner: str, spi: int, direction: str, why: str) -> None:
        """The data plane did not take an SA: without it the pair is of no use."""
        found = self.ctx.sessions.get(owner)
        for session in [found] if found is not None else list(self.ctx.sessions.values()):
            for each in list(session.sa.children):
                if spi == (each.spi_in if direction == "in" else each.spi_out):
                    self.world.working(session.id)
                    self.world.log("error", session.sa.tunnel, "sa-refused", f"SPI 0x{spi:08x} {direction}: {why}")
                    each.installed = each.installed and direction != "out"
                    each.lost = each.lost or direction == "in"
                    pairs.discard_outbound(self.ctx, session, each)
                    pairs.end(self.ctx, session, each)
                    tunnel = self.ctx.tunnel(session)
                    if tunnel is not None:
                        tunnel.failed(f"the data plane refused an SA: {why}", self.world.now, self.world.random)

    # -- datagrams ----------------------------------------------------------------------------------------

    def receive(self, datagram: Datagram) -> None:
        """An IKEv2 message from anybody."""
        try:
            message = Message(datagram, parse_header(datagram.data))
            session = self.ctx.find(message.header, datagram.remote)
            if session is not None:
                self.world.working(session.id)
            if message.header.exchange == ExchangeType.IKE_SA_INIT:
                self._initial(session, message)
            elif session is None:
                self._unknown(message)
            else:
                self._protected(session, message)
        except WireError as error:
            self.world.log_stranger("info", "unacceptable", f"message from {datagram.remote}: {error}")
        except NotAuthentic as error:
            self.world.log_stranger("debug", "not-authentic", f"message from {datagram.remote}: {error}")

    def _initial(self, session: Session | None, message: Message) -> None:
        header = message.header
        if header.message_id or header.from_initiator == header.response:
            return
        if header.response:
            if session is not None and isinstance(session.sa.phase, InitSent):
                self._run(session, "response", initial.take_answer(self.ctx, session, message))
        elif session is not None:
            exchange.repeat_answer(self.ctx, session, message)
        elif header.responder_spi == NO_SPI:
            initial.respond(self.ctx, self, self._cookies, message)

    def _unknown(self, message: Message) -> None:
        """A protected message of no IKE SA of ours, which we may have forgotten: the peer should know (§2.21)."""
        header, where = message.header, message.datagram.remote
        name = name_of(ExchangeType, header.exchange)
        text = f"{name} from {where}: there is no such IKE SA"
        if header.response:
            for other in list(self.ctx.sessions.values()):
                if other.sa.spi_i == header.initiator_spi and other.sa.spi_r == header.responder_spi:
                    liveness.hurry(self.ctx, other)
            return
        if self.world.log_stranger("info", "unknown-sa", text):
            flags = Flag.RESPONSE | (0 if header.from_initiator else Flag.INITIATOR)
            answer = Header(header.initiator_spi, header.responder_spi, header.exchange, flags, header.message_id)
            notification = NotifyPayload(NotifyType.INVALID_IKE_SPI)
            self.ctx.send(message.endpoint, encode_message(answer, [notification]))

    def _protected(self, session: Session, message: Message) -> None:
        """A message of an IKE SA: no other than the next of its direction, and authentic, gets any further."""
        sa, header = session.sa, message.header
        if header.from_initiator == session.initiator or (header.initiator_spi, header.responder_spi) != _spis(sa):
            return
        if header.response:
            expected = sa.request.message_id if sa.request is not None else -1
            if header.message_id != expected or self.world.steps.busy(session.id, "response"):
                return
        elif header.message_id == sa.next_in - 1:
            exchange.repeat_answer(self.ctx, session, message)
            return
        elif header.message_id != sa.next_in or self.world.steps.busy(session.id, "answer"):
            return
        try:
            opened = exchange.receive(session, message)
        except NotAuthentic:
            if header.response and header.next_payload == PayloadType.N:
                self._hint(session, message)
            raise
        except WireError as error:
            self._malformed(session, message, error)
            return
        if opened is not None:
            self._authentic(session, message, opened)

    def _hint(self, session: Session, message: Message) -> None:
        """An answer in clear: perhaps the peer has forgotten the IKE SA.  It is asked sooner, and nothing else."""
        chain = message.clear()
        if chain.notification(NotifyType.INVALID_IKE_SPI) is not None:
            liveness.hurry(self.ctx, session)

    def _malformed(self, session: Session, message: Message, error: WireError) -> None:
        """Authentic, and yet not what it must be: the peer is told (RFC 7296 §2.21.3)."""
        text = f"message of {message.datagram.remote}: {error}"
        self.world.log_stranger("info", "unacceptable", text, session.sa.tunnel)
        if message.header.response:
            self._fruitless(session, text)
        elif isinstance(session.sa.phase, InitAnswered):
            auth.reject(self.ctx, session, message)
        else:
            exchange.answer(self.ctx, session, message, [NotifyPayload(int(error.notify), error.data)])
        self.ctx.touch(session)

    def _authentic(self, session: Session, message: Message, opened: Opened) -> None:
        session.heard = self.world.now
        self._follow(session, message)
        rekey.confirm(self.ctx, session)
        if message.header.response:
            mobike.arrived(self.ctx, session, message)
            self._answered(session, message, opened)
        else:
            self._asked(session, message, opened)
        self.ctx.touch(session)

    def _asked(self, session: Session, message: Message, opened: Opened) -> None:
        sa, chain, exchange_type = session.sa, opened.chain, message.header.exchange
        if isinstance(sa.phase, InitAnswered):
            if exchange_type == ExchangeType.IKE_INTERMEDIATE:
                self._answer(session, message, between.respond(self.ctx, session, message, opened))
            elif exchange_type == ExchangeType.IKE_AUTH and between.all_done(session):
                self._answer(session, message, auth.respond(self.ctx, session, message, chain))
        elif not isinstance(sa.phase, Established | Closing):
            return
        elif exchange_type == ExchangeType.INFORMATIONAL:
            informational.respond(self.ctx, session, message, chain)
        elif exchange_type in (ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_FOLLOWUP_KE):
            tunnel = self.ctx.tunnel(session)
            if tunnel is None or not sa.established:
                exchange.answer(self.ctx, session, message, [NotifyPayload(NotifyType.TEMPORARY_FAILURE)])
            elif exchange_type == ExchangeType.IKE_FOLLOWUP_KE:
                self._answer(session, message, self._follow_up(session, tunnel, message, chain))
            elif rekey.wanted_by(chain):
                self._answer(session, message, rekey.respond(self.ctx, session, tunnel, message, chain))
            else:
                self._answer(session, message, child.respond(self.ctx, session, tunnel, message, chain))
        else:
            exchange.answer(self.ctx, session, message, [NotifyPayload(NotifyType.INVALID_SYNTAX)])

    def _follow_up(self, session: Session, tunnel: Tunnel, message: Message, chain: Chain) -> Step[None]:
        """A round of additional key exchanges; after the last one there is something new."""
        pending, body, last = yield from followup.respond(self.ctx, session, chain)
        if not last:
            exchange.answer(self.ctx, session, message, body)
        elif pending.agreed.ike is not None:
            rekey.respond_last(self.ctx, session, tunnel, pending, followup.Answer(message, body))
        else:
            child.respond_last(self.ctx, session, tunnel, pending, followup.Answer(message, body))

    def _answer(self, session: Session, message: Message, step: Step[None]) -> None:
        self._run(session, "answer", self._or_refuse(session, message, step))

    def _or_refuse(self, session: Session, message: Message, step: Step[None]) -> Step[None]:
        """Run `step`; a `WireError` in it is the answer to the peer, whose message is authentic."""
        try:
            yield from step
        except WireError as error:
            self._malformed(session, message, error)
        except Unanswered as error:
            self.world.log_stranger("error", "computation", str(error), session.sa.tunnel)
            self._malformed(session, message, WireError(str(error), NotifyType.TEMPORARY_FAILURE))

    def _answered(self, session: Session, message: Message, opened: Opened) -> None:
        sa, chain, ctx = session.sa, opened.chain, self.ctx
        tunnel, request = ctx.tunnel(session), session.sa.request
        if request is None:
            return
        purpose = request.purpose
        if isinstance(sa.phase, AuthSent):
            self._run(session, "response", auth.take_answer(ctx, session, message, chain))
        elif isinstance(sa.phase, Between) and tunnel is not None:
            self._run(session, "response", between.take_answer(ctx, session, tunnel, opened))
        elif isinstance(purpose, CreateChild) and tunnel is not None:
            self._run(session, "response", child.take_answer(ctx, session, tunnel, purpose, chain))
        elif isinstance(purpose, RekeyIke) and tunnel is not None:
            self._run(session, "response", rekey.take_answer(ctx, session, tunnel, purpose, chain))
        else:
            informational.take_answer(ctx, session, purpose, message, chain)

    def _run(self, session: Session, key: str, step: Step[None]) -> None:
        """Hand a message to its step, unless the one before it is still being worked on."""
        self.begin(session, key, step)
        self.ctx.touch(session)

    def _follow(self, session: Session, message: Message) -> None:
        """An authentic message that is new came from somewhere else: the NAT before the peer has moved it (§2.23)."""
        sa = session.sa
        if sa.nat.there and sa.established and message.endpoint != sa.endpoint:
            was = sa.endpoint
            for each in self.ctx.of(sa.tunnel):
                if each.sa.endpoint == was:
                    pairs.move(self.ctx, each, message.endpoint)
            self.ctx.log(
                session, "peer-moved",
                f"the peer moved from {was.remote} port {was.remote_port} to {message.datagram.remote} port "
                f"{message.datagram.remote_port}",
            )  # fmt: skip

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
                self._unanswered(session, "question", Unanswered("no answer"))

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
        inbound = event.sa.direction == "in"
        for session in list(self.ctx.sessions.values()):
            tunnel = self.ctx.tunnel(session)
            if tunnel is not None and tunnel.connection.iface == event.sa.iface:
                for each in list(session.sa.children):
                    if event.sa.spi == (each.spi_in if inbound else each.spi_out):
                        self.world.working(session.id)
                        self._child_expired(session, tunnel, each, event)
                        return

    def _child_expired(self, session: Session, tunnel: Tunnel, child_: Child, event: Expire) -> None:
        self.ctx.touch(session)
        if event.kind == "soft":
            if child_.rekey_at is not None:
                child_.rekey_at = min(child_.rekey_at, self.world.now)
            return
        if tunnel.up_since is not None and child_.usable:
            tunnel.reason = "the SAs were removed here" if event.kind == "deleted" else "the SAs' lifetime is over"
        if event.sa.direction == "out":
            child_.installed = False
        else:
            child_.lost = True
        pairs.discard_outbound(self.ctx, session, child_)
        if child_.gone_at is not None or not session.sa.established:
            pairs.remove(self.ctx, session, child_)
        else:
            pairs.end(self.ctx, session, child_)

    def mapped(self, event: NewMapping) -> None:
        """ESP that was authenticated came from a new address: the NAT before the peer has moved it."""
        found = pairs.find_inbound(self.ctx, event.spi)
        if found is not None and found[1].udp and found[0].sa.nat.there:
            session = found[0]
            self.world.working(session.id)
            where = replace(session.sa.endpoint, remote=event.source, remote_port=event.port)
            if where != session.sa.endpoint:
                pairs.move(self.ctx, session, where)
                self.ctx.log(session, "peer-moved", f"the peer moved to {event.source} port {event.port}")

    def installed(self) -> list[InstalledSA]:
        """What the data plane is believed to have."""
        found = []
        for session in self.ctx.sessions.values():
            tunnel = self.ctx.tunnel(session)
            if tunnel is not None:
                for each in session.sa.children:
                    where, iface = each.endpoint, tunnel.connection.iface
                    if not each.lost:
                        found.append(InstalledSA(each.spi_in, "in", iface, where.remote, where.local))
                    if each.installed:
                        found.append(InstalledSA(each.spi_out, "out", iface, where.local, where.remote))
        return found


def _spis(sa: IkeSA) -> tuple[bytes, bytes]:
    return sa.spi_i, sa.spi_r
