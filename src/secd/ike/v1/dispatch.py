"""Which datagram belongs to which exchange, and which row of its table is next."""

from __future__ import annotations

from collections.abc import Callable

from secd.ike import retransmission
from secd.ike.retransmission import Flight
from secd.ike.steps import Step
from secd.ike.v1 import aggressive_mode, exchange, informational, main_mode, quick_mode, transaction
from secd.ike.v1.context import Context, Message, Runner, Session, Told
from secd.ike.v1.state import AggressiveAnswered
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import ExchangeType, name_of
from secd.ike.wire.isakmp import NO_COOKIE, parse_header
from secd.sadb.messages import Datagram


def receive(ctx: Context, runner: Runner, datagram: Datagram) -> None:
    """An IKEv1 message from anybody."""
    try:
        header = parse_header(datagram.data)
    except WireError as error:
        ctx.world.log_stranger("debug", "malformed", f"message from {datagram.remote}: {error}")
        return
    message = Message(datagram, header)
    session = _session(ctx, message)
    if session is not None:
        ctx.world.working(session.id)
    try:
        if header.exchange in (ExchangeType.IDENTITY_PROTECTION, ExchangeType.AGGRESSIVE):
            _phase1(ctx, runner, session, message)
        elif header.exchange == ExchangeType.INFORMATIONAL:
            _informational(ctx, session, message)
        elif header.exchange == ExchangeType.QUICK and session is not None:
            _quick_mode(ctx, runner, session, message)
        elif header.exchange == ExchangeType.TRANSACTION and session is not None:
            transaction.refuse(ctx, session, message)
        elif session is None:
            name = name_of(ExchangeType, header.exchange).lower()
            text = f"{name} exchange from {datagram.remote}: there is no such SA, or no such exchange here"
            ctx.world.log_stranger("info", "unknown-sa", text)
    except WireError as error:
        ctx.world.log_stranger("info", "unacceptable", f"message from {datagram.remote}: {error}")


def _session(ctx: Context, message: Message) -> Session | None:
    """Whom the cookies name; the responder's is not known to both sides from the beginning."""
    header = message.header
    session = ctx.by_cookie(header.initiator_cookie)
    if session is None or header.responder_cookie == session.sa.rcookie:
        return session
    begins = NO_COOKIE in (header.responder_cookie, session.sa.rcookie)
    return session if begins and message.datagram.remote == session.sa.endpoint.remote else None


def _phase1(ctx: Context, runner: Runner, session: Session | None, message: Message) -> None:
    aggressive = message.header.exchange == ExchangeType.AGGRESSIVE
    if message.header.message_id:
        raise WireError("phase 1 with a message id")
    if session is None:
        begins = message.header.responder_cookie == NO_COOKIE and not message.header.encrypted
        if not begins or ctx.by_cookie(message.header.initiator_cookie) is not None:
            return
        if aggressive:
            aggressive_mode.respond(ctx, runner, message)
        else:
            main_mode.respond(ctx, message)
        return
    sa = session.sa
    if retransmission.is_duplicate(sa.flight, message.data):
        _repeat(ctx, session, sa.flight, message)
        return
    mode = aggressive_mode if aggressive else main_mode
    table = mode.INITIATOR if sa.role == "initiator" else mode.RESPONDER
    handler = table.get(type(sa.phase1))
    if handler is None:
        return
    if not message.header.encrypted and message.datagram.remote != sa.endpoint.remote:
        raise WireError(f"from another address than {sa.endpoint.remote}")
    _run(ctx, runner, session, exchange.KEY, lambda: handler(ctx, session, message))


def _quick_mode(ctx: Context, runner: Runner, session: Session, message: Message) -> None:
    tunnel, message_id = ctx.tunnel(session), message.header.message_id
    if isinstance(session.sa.phase1, AggressiveAnswered) and message.datagram.remote == session.sa.endpoint.remote:
        aggressive_mode.ask_again(ctx, session)
    if tunnel is None or not session.sa.established or not message_id:
        return
    quick = session.sa.quick.get(message_id)
    if quick is None:
        unfinished = len(quick_mode.in_progress(session, ours=False))
        room = unfinished < quick_mode.MAX_AT_ONCE and len(session.sa.children) < quick_mode.MAX_PAIRS_ENDING
        if message_id not in session.sa.used and room:
            step = quick_mode.respond(ctx, session, tunnel, message)
            _run(ctx, runner, session, f"quick {message_id}", lambda: step, moves=message)
    elif retransmission.is_duplicate(quick.flight, message.data):
        _repeat(ctx, session, quick.flight, message)
    elif (handler := quick_mode.TRANSITIONS.get(type(quick.state))) is not None:
        key = f"quick {message_id}"
        _run(ctx, runner, session, key, lambda: handler(ctx, session, tunnel, quick, message), moves=message)


def _informational(ctx: Context, session: Session | None, message: Message) -> None:
    if session is not None and session.sa.established and message.header.encrypted:
        informational.protected(ctx, session, message)
    else:
        informational.unprotected(ctx, session, message)


def _run(
    ctx: Context,
    runner: Runner,
    session: Session,
    key: str,
    start: Callable[[], Step[None] | None],
    *,
    moves: Message | None = None,
) -> None:
    """Hand a message to its row of the table, unless the one before it is still being worked on.

    `moves`: if it turns out to be authentic, the peer is where it came from.
    """
    if ctx.world.steps.busy(session.id, key):
        return
    heard = session.heard
    try:
        step = start()
    except WireError as error:
        unacceptable(ctx, session, key, error)
        step = None
    if step is not None:
        runner.begin(session, key, step)
    if moves is not None and session.heard != heard and session.id in ctx.sessions:
        informational.follow(ctx, session, moves)
    ctx.touch(session)


def _repeat(ctx: Context, session: Session, flight: Flight, message: Message) -> None:
    """The peer has not got our answer: say it again, to where it was said."""
    data = retransmission.again(flight)
    if data is not None:
        ctx.send(message.endpoint if session.sa.half_open else session.sa.endpoint, data)
        ctx.touch(session)


def unacceptable(ctx: Context, session: Session, key: str, error: WireError) -> None:
    """A message was passed over; it may have been forged, so nothing else happens."""
    if isinstance(error, Told):
        return
    where = session.sa.endpoint.remote
    ctx.world.log_stranger("info", "unacceptable", f"{key} message from {where}: {error}", session.sa.tunnel)
