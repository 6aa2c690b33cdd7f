"""What happens to a session by itself: repeats, the rekey and the end of phase 1, dead peer detection, keepalives."""

from __future__ import annotations

from collections.abc import Iterator

from secd.ike import nat
from secd.ike.retransmission import again, due, jitter
from secd.ike.steps import Step, last_use
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import aging, children, dpd, exchange, informational, opening, quick_mode, tending
from secd.ike.v1.context import Context, Runner, Session
from secd.ike.v1.state import AnswerSent, ConfirmationSent, Finished, Gone, ProposalSent, QuickMode


def deadline(session: Session) -> float:
    """When `on_time` has something to do for `session`."""
    return min(_deadlines(session))


def _deadlines(session: Session) -> Iterator[float]:
    sa = session.sa
    yield sa.expires
    yield from (
        each
        for each in (sa.flight.next, sa.rekey_at, sa.retire_at, session.dpd_at, session.keepalive_at)
        if each is not None
    )
    for quick in sa.quick.values():
        yield quick.deadline
        if quick.flight.next is not None:
            yield quick.flight.next
        if isinstance(quick.state, ConfirmationSent):
            yield quick.state.look_at
    for child in sa.children:
        yield child.expires + aging.GRACE
        yield from (
            each for each in (child.rekey_at, child.retire_at, child.gone_at, child.check_at) if each is not None
        )


def on_time(ctx: Context, runner: Runner, session: Session) -> None:
    """Do what has become due."""
    now = ctx.world.now
    ctx.touch(session)
    if session.sa.expires <= now:
        _expired(ctx, session)
    for part in (_repeat, _quick_modes, _children, _phase1, _watch):
        if session.id not in ctx.sessions:
            return
        part(ctx, runner, session)


def _expired(ctx: Context, session: Session) -> None:
    sa = session.sa
    if sa.established:
        ctx.inform(session, [children.delete_payload(session)])
        informational.end(ctx, session, "the ISAKMP SA's lifetime is over")
    elif isinstance(sa.phase1, Gone):
        children.destroy(ctx, session, tell=True)
    else:
        _phase1_failed(ctx, session)


def _phase1_failed(ctx: Context, session: Session) -> None:
    opening.gave_up(ctx, session)
    tunnel = ctx.tunnel(session)
    if session.sa.rekeying and tunnel is not None:
        for other in ctx.of(tunnel.name):
            if other.sa.established:
                other.sa.rekey_at = ctx.world.now + jitter(ctx.world.random, 2 * aging.AGAIN)
                ctx.touch(other)
    ctx.remove(session)


def _repeat(ctx: Context, runner: Runner, session: Session) -> None:
    flight = session.sa.flight
    if flight.next is not None and flight.next <= ctx.world.now and not ctx.world.steps.busy(session.id, exchange.KEY):
        data = opening.repeat(ctx, session)
        if data is None and session.sa.role == "initiator":
            _phase1_failed(ctx, session)
        elif data is not None:
            ctx.send(session.sa.endpoint, data)
    elif flight.next is not None and flight.next <= ctx.world.now:
        flight.next = ctx.world.now + aging.AGAIN


def _quick_modes(ctx: Context, runner: Runner, session: Session) -> None:
    now = ctx.world.now
    for message_id, quick in list(session.sa.quick.items()):
        data: bytes | None = b""
        if isinstance(quick.state, Finished) and quick.flight.next is not None and quick.flight.next <= now:
            quick.flight.next = None
            runner.begin(session, f"confirm {message_id}", _repeat_unless_used(ctx, session, quick, quick.state.unseen))
        elif isinstance(quick.state, ProposalSent) and quick.state.disowned:
            _begin_again(ctx, runner, session, message_id, quick.state)
        elif quick.flight.next is not None and quick.flight.next <= now:
            data = due(quick.flight, now, ctx.world.random)
            if data is not None:
                ctx.send(session.sa.endpoint, data)
                runner.begin(session, f"confirm {message_id}", _look_for_use(ctx, session, quick))
        if isinstance(quick.state, ConfirmationSent) and quick.state.look_at <= now:
            quick.state.look_at = _next_look(quick, quick.state, now)
            runner.begin(session, f"confirm {message_id}", _look_for_use(ctx, session, quick))
        if data is None or quick.deadline <= now:
            _quick_mode_over(ctx, session, message_id)
        if session.id not in ctx.sessions:
            return


def _begin_again(ctx: Context, runner: Runner, session: Session, message_id: int, state: ProposalSent) -> None:
    """A new quick mode in place of a disowned one, which stays until it begins."""
    flight, tunnel = session.sa.quick[message_id].flight, ctx.tunnel(session)
    if tunnel is not None and flight.next is not None and flight.next <= ctx.world.now:
        flight.next = ctx.world.now + aging.AGAIN
        step = quick_mode.start(ctx, session, tunnel, state.replaces, instead=message_id)
        runner.begin(session, "quick", step)


def _next_look(quick: QuickMode, state: ConfirmationSent, now: float) -> float:
    """After half of the time that has passed since message 3, but not past the limit."""
    at = now + max(quick_mode.LOOK, (now - quick_mode.confirmed_at(quick)) / 2)
    return max(min(at, state.limit), now + quick_mode.LOOK) if now < state.limit else at


def _look_for_use(ctx: Context, session: Session, quick: QuickMode) -> Step[None]:
    """ESP on the new inbound SA says, as well as message 3 would, that the peer has the pair.

    ESP on the one before, and none on this, says that it has not: message 3 goes again.
    """
    if not isinstance(quick.state, AnswerSent | ConfirmationSent):
        return
    used = (yield from last_use(quick.state.spi, session.sa.endpoint.local)) is not None
    older = ctx.newest_pair(session.sa.tunnel)
    idle = None
    if isinstance(quick.state, ConfirmationSent) and not used and older is not None:
        idle = yield from last_use(older[1].spi_in, older[1].endpoint.local)
    tunnel, state, now = ctx.tunnel(session), quick.state, ctx.world.now
    if tunnel is None or not isinstance(state, AnswerSent | ConfirmationSent):
        return
    begun = quick_mode.confirmed_at(quick)
    waited, lags, over, patience = now - begun, False, False, quick_mode.LAG
    if isinstance(state, ConfirmationSent):
        lags = idle is not None and idle < quick_mode.LAG
        patience = min(patience, (state.limit - begun) / 4)  # of a pair that ends soon
        long = lags and older is not None and older[1].expires - now > quick_mode.HOLD
        over = state.limit <= now and not (long and waited < quick_mode.LONG_HOLD)
    if lags and waited >= patience and (data := again(quick.flight)) is not None:
        ctx.send(session.sa.endpoint, data)
    if used or over:
        quick_mode.confirm(ctx, session, tunnel, quick, state)


def _repeat_unless_used(ctx: Context, session: Session, quick: QuickMode, spi: int) -> Step[None]:
    """Some responders (strongSwan) send nothing before they have read message 3, and do not repeat message 2."""
    if (yield from last_use(spi, session.sa.endpoint.local)) is not None:
        return
    data = due(quick.flight, ctx.world.now, ctx.world.random, tries=quick_mode.UNSEEN_TRIES)
    if data:
        ctx.send(session.sa.endpoint, data)
    ctx.touch(session)


def _quick_mode_over(ctx: Context, session: Session, message_id: int) -> None:
    """Remembered long enough, or not answered; then the peer may have forgotten the ISAKMP SA too."""
    quick = session.sa.quick[message_id]
    begun = quick.deadline - quick_mode.LIMIT
    if quick not in quick_mode.in_progress(session):
        del session.sa.quick[message_id]
        return
    ours = quick in quick_mode.in_progress(session, ours=True)
    quick_mode.give_up(ctx, session, message_id, f"no answer from {session.sa.endpoint.remote} to quick mode")
    if ours and session.heard <= begun:
        informational.end(ctx, session, "the peer does not answer")


def _phase1(ctx: Context, runner: Runner, session: Session) -> None:
    sa, now, tunnel = session.sa, ctx.world.now, ctx.tunnel(session)
    if not sa.established or tunnel is None:
        return
    if sa.retire_at is not None and sa.retire_at <= now:
        ctx.inform(session, [children.delete_payload(session)])
        informational.end(ctx, session, "replaced")
        return
    if sa.rekey_at is not None and sa.rekey_at <= now:
        sa.rekey_at = None
        if ctx.newest(tunnel.name) is session and not tending.unfinished(ctx, tunnel):
            opening.start(ctx, runner, tunnel, sa.endpoint, rekeying=True)


def _children(ctx: Context, runner: Runner, session: Session) -> None:
    for child in list(session.sa.children):
        if child in session.sa.children:
            aging.on_time(ctx, runner, session, child)


def _watch(ctx: Context, runner: Runner, session: Session) -> None:
    """Dead peer detection and keepalives, by the newest session of each tunnel."""
    now, tunnel = ctx.world.now, ctx.tunnel(session)
    newest = tunnel is not None and ctx.newest(tunnel.name) is session
    if session.dpd_at is not None and session.dpd_at <= now:
        session.dpd_at = None
        settings = tunnel.connection.dpd if tunnel is not None else None
        if newest and tunnel is not None and settings is not None:
            runner.begin(session, dpd.KEY, _dead_or_alive(ctx, session, tunnel))
        else:
            dpd.schedule(ctx, session)
    if session.keepalive_at is not None and session.keepalive_at <= now:
        session.keepalive_at = now + nat.KEEPALIVE if session.sa.nat.here else None
        if newest:
            ctx.send(session.sa.endpoint, nat.KEEPALIVE_DATA)


def _dead_or_alive(ctx: Context, session: Session, tunnel: Tunnel) -> Step[None]:
    settings = tunnel.connection.dpd
    if settings is None:
        return
    alive = yield from dpd.check(ctx, session, tunnel, settings)
    if not alive:
        peer = session.sa.endpoint.remote
        reason = f"{peer} does not answer: {settings.tries} questions whether it is there were left unanswered"
        ctx.world.log("warning", tunnel.name, "peer-dead", reason)
        tending.drop_all(ctx, tunnel, reason, tell=False)
