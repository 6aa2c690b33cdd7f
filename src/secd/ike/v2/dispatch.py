"""Which datagram belongs to which exchange, and who answers it."""

from __future__ import annotations

from secd.ike.crypto.errors import NotAuthentic
from secd.ike.crypto.ikev2_messages import Opened
from secd.ike.nat import NAT_T_PORT
from secd.ike.steps import Step, Unanswered
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import (
    auth,
    auth_answer,
    between,
    child,
    exchange,
    failures,
    followup,
    informational,
    initial,
    liveness,
    mobike,
    pairs,
    rekey,
)
from secd.ike.v2.context import Context, Message, Runner, Session
from secd.ike.v2.cookies import Cookies
from secd.ike.v2.state import AuthSent, Between, Closing, CreateChild, Established, InitAnswered, InitSent, RekeyIke
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, NotifyType, PayloadType
from secd.ike.wire.ikev2.message import NO_SPI, Chain, Header, encode_message, parse_header
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.sadb.messages import Datagram


def receive(ctx: Context, runner: Runner, cookies: Cookies, datagram: Datagram) -> None:
    """An IKEv2 message from anybody."""
    try:
        message = Message(datagram, parse_header(datagram.data))
        session = ctx.find(message.header, datagram.remote)
        if session is not None:
            ctx.world.working(session.id)
        if message.header.exchange == ExchangeType.IKE_SA_INIT:
            _initial(ctx, runner, cookies, session, message)
        elif session is None:
            _unknown(ctx, message)
        else:
            _protected(ctx, runner, session, message)
    except WireError as error:
        ctx.world.log_stranger("info", "unacceptable", f"message from {datagram.remote}: {error}")
    except NotAuthentic as error:
        ctx.world.log_stranger("debug", "not-authentic", f"message from {datagram.remote}: {error}")


def _initial(ctx: Context, runner: Runner, cookies: Cookies, session: Session | None, message: Message) -> None:
    header = message.header
    if header.message_id or header.from_initiator == header.response:
        return
    if header.response:
        if session is not None and isinstance(session.sa.phase, InitSent):
            _run(ctx, runner, session, "response", initial.take_answer(ctx, session, message))
    elif session is not None:
        exchange.repeat_answer(ctx, session, message)
    elif header.responder_spi == NO_SPI:
        initial.respond(ctx, runner, cookies, message)


def _unknown(ctx: Context, message: Message) -> None:
    """A protected message of no IKE SA of ours, which we may have forgotten: the peer should know (§2.21)."""
    header, where = message.header, message.datagram.remote
    name = name_of(ExchangeType, header.exchange)
    text = f"{name} from {where}: there is no such IKE SA"
    if header.response:
        for other in list(ctx.sessions.values()):
            if other.sa.spi_i == header.initiator_spi and other.sa.spi_r == header.responder_spi:
                liveness.hurry(ctx, other)
        return
    if ctx.world.log_stranger("info", "unknown-sa", text):
        flags = Flag.RESPONSE | (0 if header.from_initiator else Flag.INITIATOR)
        answer = Header(header.initiator_spi, header.responder_spi, header.exchange, flags, header.message_id)
        notification = NotifyPayload(NotifyType.INVALID_IKE_SPI)
        ctx.send(message.endpoint, encode_message(answer, [notification]))


def _protected(ctx: Context, runner: Runner, session: Session, message: Message) -> None:
    """A message of an IKE SA: no other than the next of its direction, and authentic, gets any further."""
    sa, header = session.sa, message.header
    spis = header.initiator_spi, header.responder_spi
    if header.from_initiator == session.initiator or spis != (sa.spi_i, sa.spi_r):
        return
    if header.response:
        expected = sa.request.message_id if sa.request is not None else -1
        if header.message_id != expected or ctx.world.steps.busy(session.id, "response"):
            return
    elif header.message_id == sa.next_in - 1:
        exchange.repeat_answer(ctx, session, message)
        return
    elif header.message_id != sa.next_in or ctx.world.steps.busy(session.id, "answer"):
        return
    try:
        opened = exchange.receive(session, message)
    except NotAuthentic:
        if header.response and header.next_payload == PayloadType.N:
            _hint(ctx, session, message)
        raise
    except WireError as error:
        _malformed(ctx, session, message, error)
        return
    if opened is not None:
        _authentic(ctx, runner, session, message, opened)


def _hint(ctx: Context, session: Session, message: Message) -> None:
    """An answer in clear: perhaps the peer has forgotten the IKE SA.  It is asked sooner, and nothing else."""
    chain = message.clear()
    if chain.notification(NotifyType.INVALID_IKE_SPI) is not None:
        liveness.hurry(ctx, session)


def _malformed(ctx: Context, session: Session, message: Message, error: WireError) -> None:
    """Authentic, and yet not what it must be: the peer is told (RFC 7296 §2.21.3)."""
    text = f"message of {message.datagram.remote}: {error}"
    ctx.world.log_stranger("info", "unacceptable", text, session.sa.tunnel)
    if message.header.response:
        failures.fruitless(ctx, session, text)
    elif isinstance(session.sa.phase, InitAnswered):
        auth_answer.reject(ctx, session, message)
    else:
        exchange.answer(ctx, session, message, [NotifyPayload(int(error.notify), error.data)])
    ctx.touch(session)


def _authentic(ctx: Context, runner: Runner, session: Session, message: Message, opened: Opened) -> None:
    session.heard = ctx.world.now
    _follow(ctx, session, message)
    rekey.confirm(ctx, session)
    if message.header.response:
        mobike.arrived(ctx, session, message)
        _answered(ctx, runner, session, message, opened)
    else:
        _asked(ctx, runner, session, message, opened)
    ctx.touch(session)


def _follow(ctx: Context, session: Session, message: Message) -> None:
    """An authentic message that is new came from somewhere else: the NAT before the peer has moved it (§2.23).

    Only by what comes to port 4500, where alone ESP in UDP can go.  Not with MOBIKE, where only UPDATE_SA_ADDRESSES
    moves it, so that any path can be tried out (RFC 4555 §3.8).
    """
    sa = session.sa
    follows = sa.nat.there and not sa.peer.mobike and sa.established and message.endpoint.local_port == NAT_T_PORT
    if follows and message.endpoint != sa.endpoint:
        was = sa.endpoint
        for each in ctx.of(sa.tunnel):
            if each.sa.endpoint == was:
                pairs.move(ctx, each, message.endpoint)
        ctx.log(
            session, "peer-moved",
            f"the peer moved from {was.remote} port {was.remote_port} to {message.datagram.remote} port "
            f"{message.datagram.remote_port}",
        )  # fmt: skip


def _asked(ctx: Context, runner: Runner, session: Session, message: Message, opened: Opened) -> None:
    sa, chain, exchange_type = session.sa, opened.chain, message.header.exchange
    if isinstance(sa.phase, InitAnswered):
        if exchange_type == ExchangeType.IKE_INTERMEDIATE:
            _answer(ctx, runner, session, message, between.respond(ctx, session, message, opened))
        elif exchange_type == ExchangeType.IKE_AUTH and between.all_done(session):
            _answer(ctx, runner, session, message, auth_answer.respond(ctx, session, message, chain))
    elif not isinstance(sa.phase, Established | Closing):
        return
    elif exchange_type == ExchangeType.INFORMATIONAL:
        informational.respond(ctx, session, message, chain)
    elif exchange_type in (ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_FOLLOWUP_KE):
        tunnel = ctx.tunnel(session)
        if tunnel is None or not sa.established:
            exchange.answer(ctx, session, message, [NotifyPayload(NotifyType.TEMPORARY_FAILURE)])
        elif exchange_type == ExchangeType.IKE_FOLLOWUP_KE:
            _answer(ctx, runner, session, message, _follow_up(ctx, session, tunnel, message, chain))
        elif rekey.wanted_by(chain):
            _answer(ctx, runner, session, message, rekey.respond(ctx, session, tunnel, message, chain))
        else:
            _answer(ctx, runner, session, message, child.respond(ctx, session, tunnel, message, chain))
    else:
        exchange.answer(ctx, session, message, [NotifyPayload(NotifyType.INVALID_SYNTAX)])


def _follow_up(ctx: Context, session: Session, tunnel: Tunnel, message: Message, chain: Chain) -> Step[None]:
    """A round of additional key exchanges; after the last one there is something new."""
    pending, body, last = yield from followup.respond(ctx, session, chain)
    if not last:
        exchange.answer(ctx, session, message, body)
    elif pending.agreed.ike is not None:
        rekey.respond_last(ctx, session, tunnel, pending, followup.Answer(message, body))
    else:
        child.respond_last(ctx, session, tunnel, pending, followup.Answer(message, body))


def _answer(ctx: Context, runner: Runner, session: Session, message: Message, step: Step[None]) -> None:
    _run(ctx, runner, session, "answer", _or_refuse(ctx, session, message, step))


def _or_refuse(ctx: Context, session: Session, message: Message, step: Step[None]) -> Step[None]:
    """Run `step`; a `WireError` in it is the answer to the peer, whose message is authentic."""
    try:
        yield from step
    except WireError as error:
        _malformed(ctx, session, message, error)
    except Unanswered as error:
        ctx.world.log_stranger("error", "computation", str(error), session.sa.tunnel)
        _malformed(ctx, session, message, WireError(str(error), NotifyType.TEMPORARY_FAILURE))


def _answered(ctx: Context, runner: Runner, session: Session, message: Message, opened: Opened) -> None:
    sa, chain = session.sa, opened.chain
    tunnel, request = ctx.tunnel(session), sa.request
    if request is None:
        return
    purpose = request.purpose
    if isinstance(sa.phase, AuthSent):
        _run(ctx, runner, session, "response", auth.take_answer(ctx, session, message, chain))
    elif isinstance(sa.phase, Between) and tunnel is not None:
        _run(ctx, runner, session, "response", between.take_answer(ctx, session, tunnel, opened))
    elif isinstance(purpose, CreateChild) and tunnel is not None:
        _run(ctx, runner, session, "response", child.take_answer(ctx, session, tunnel, purpose, chain))
    elif isinstance(purpose, RekeyIke) and tunnel is not None:
        _run(ctx, runner, session, "response", rekey.take_answer(ctx, session, tunnel, purpose, chain))
    else:
        informational.take_answer(ctx, session, purpose, message, chain)


def _run(ctx: Context, runner: Runner, session: Session, key: str, step: Step[None]) -> None:
    """Hand a message to its step, unless the one before it is still being worked on."""
    runner.begin(session, key, step)
    ctx.touch(session)
