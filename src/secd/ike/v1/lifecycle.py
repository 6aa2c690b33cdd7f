"""What happens by itself: repeats, rekeys, ends, adoption, and bringing a tunnel up again.

`on_time` does what has become due for a session.  `tend` looks at a tunnel as it stands after a step and sees to it
that the newest session holds the children and that somebody is at work on a tunnel that is down; it derives all it
does from the state, so it does not matter what the step was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from secd.ike import nat
from secd.ike.connection import Connection, PreSharedKey
from secd.ike.contract import Send
from secd.ike.retransmission import due, jitter
from secd.ike.steps import Step, last_use
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children, dpd, informational, main_mode, quick_mode
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import AnswerSent, Child, ConfirmationSent, Endpoint, Gone, KeySent, OfferSent, QuickMode

#: Seconds for which the responder of a main mode leaves quick mode to the initiator.
COURTESY = 3.0
#: Seconds after which a rekey that could not begin is tried again.
AGAIN = 5.0
#: Seconds in which a peer that uses one pair and not the other has changed over.
CHANGED_OVER = 3.0
#: What retires a pair is that its successor's inbound SA is in use, or this old; older if the pair itself is in use.
PATIENCE = 20.0
LONG_PATIENCE = 60.0
#: Seconds without a packet after which a pair that the peer has replaced is not needed any more.
IDLE = 30.0
#: Seconds that the data plane gets to end a pair by itself.
GRACE = 2.0
#: ISAKMP SAs of one tunnel.
MAX_SESSIONS = 4


class Runner(Protocol):
    """Begins steps that wait."""

    def begin(self, session: Session, key: str, step: Step[None]) -> None:
        """Run `step` to its first question."""


# -- deadlines --------------------------------------------------------------------------------------------


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
        yield child.expires + GRACE
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
    main_mode.gave_up(ctx, session)
    tunnel = ctx.tunnel(session)
    if session.sa.rekeying and tunnel is not None:
        for other in ctx.of(tunnel.name):
            if other.sa.established:
                other.sa.rekey_at = ctx.world.now + jitter(ctx.world.random, 2 * AGAIN)
                ctx.touch(other)
    ctx.remove(session)


def _repeat(ctx: Context, runner: Runner, session: Session) -> None:
    flight = session.sa.flight
    if flight.next is not None and flight.next <= ctx.world.now and not ctx.world.steps.busy(session.id, "phase1"):
        data = due(flight, ctx.world.now, ctx.world.random)
        if data is None:
            _phase1_failed(ctx, session)
        else:
            ctx.send(session.sa.endpoint, data)
    elif flight.next is not None and flight.next <= ctx.world.now:
        flight.next = ctx.world.now + AGAIN


def _quick_modes(ctx: Context, runner: Runner, session: Session) -> None:
    now = ctx.world.now
    for message_id, quick in list(session.sa.quick.items()):
        data: bytes | None = b""
        if quick.flight.next is not None and quick.flight.next <= now:
            data = due(quick.flight, now, ctx.world.random)
            if data is not None:
                ctx.send(session.sa.endpoint, data)
                runner.begin(session, f"confirm {message_id}", _look_for_use(ctx, session, quick))
        if isinstance(quick.state, ConfirmationSent) and quick.state.look_at <= now:
            pause = max(quick_mode.LOOK, (now - quick.deadline + quick_mode.LINGER) / 2)  # half of what has passed
            quick.state.look_at = max(min(now + pause, quick.state.limit), now + quick_mode.LOOK)
            runner.begin(session, f"confirm {message_id}", _look_for_use(ctx, session, quick))
        if data is None or quick.deadline <= now:
            _quick_mode_over(ctx, session, message_id)
        if session.id not in ctx.sessions:
            return


def _look_for_use(ctx: Context, session: Session, quick: QuickMode) -> Step[None]:
    """ESP on the new inbound SA says, as well as message 3 would, that the peer has the pair."""
    if isinstance(quick.state, AnswerSent | ConfirmationSent):
        idle = yield from last_use(quick.state.spi, session.sa.endpoint.local)
        tunnel, state = ctx.tunnel(session), quick.state
        if tunnel is None or not isinstance(state, AnswerSent | ConfirmationSent):
            return
        if idle is not None or (isinstance(state, ConfirmationSent) and state.limit <= ctx.world.now):
            quick_mode.confirm(ctx, session, tunnel, quick, state)


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
        if ctx.newest(tunnel.name) is session and not _unfinished(ctx, tunnel):
            main_mode.start(ctx, tunnel, sa.endpoint, rekeying=True)


def _children(ctx: Context, runner: Runner, session: Session) -> None:
    for child in list(session.sa.children):
        if child in session.sa.children:
            _child(ctx, runner, session, child)


def _child(ctx: Context, runner: Runner, session: Session, child: Child) -> None:
    now = ctx.world.now
    if (child.gone_at is not None and child.gone_at <= now) or child.expires + GRACE <= now:
        if not child.stale:  # of a retired pair once more, in case the first was lost
            children.tell_deleted(ctx, session, [child])
        children.remove(ctx, session, child)
    elif child.retire_at is not None and child.retire_at <= now:
        child.retire_at = now + AGAIN
        runner.begin(session, f"retire-{child.spi_in}", _retire(ctx, session, child))
    elif child.rekey_at is not None and child.rekey_at <= now:
        _rekey(ctx, runner, session, child)
    elif child.check_at is not None and child.check_at <= now:
        child.check_at = now + 2 * AGAIN
        runner.begin(session, f"check-{child.spi_in}", _check(ctx, session, child))


def _retire(ctx: Context, session: Session, child: Child) -> Step[None]:
    """End a pair that was replaced, once its successor is in use, or has had the time to be."""
    newest = children.newest(ctx, session.sa.tunnel)
    if newest is None or newest[1] is child:
        child.retire_at = None
        return
    successor = newest[1]
    if ctx.world.now - successor.created < LONG_PATIENCE:
        used = yield from last_use(successor.spi_in, successor.endpoint.local)
        idle = yield from last_use(child.spi_in, child.endpoint.local)
        unconfirmed = used is None and idle is not None and idle < 2 * AGAIN  # the peer has not yet changed over
        if used is None and ctx.world.now - successor.created < (LONG_PATIENCE if unconfirmed else PATIENCE):
            return
    holder = _holder(ctx, session, child)
    if holder is None:
        return
    children.retire(ctx, holder, child)


def _check(ctx: Context, session: Session, child: Child) -> Step[None]:
    """A pair that the peer has replaced: end it when it is idle.

    After a simultaneous rekey each side may hold the other pair for the newest, and both must not go.  A peer that
    sends on our newest, and on this one no more, means the same.  Without traffic, of two pairs of about the same
    age only the one with the lower SPIs ends, which both sides see alike.
    """
    newest = children.newest(ctx, session.sa.tunnel)
    if newest is None or newest[1] is child:
        child.check_at = None
        return
    other = newest[1]
    idle = yield from last_use(child.spi_in, child.endpoint.local)
    of_other = yield from last_use(other.spi_in, other.endpoint.local)
    left = of_other is not None and of_other < CHANGED_OVER and (idle is None or idle >= CHANGED_OVER)
    old = other.created - child.created > quick_mode.SIMULTANEOUS
    if left or ((idle is None or idle >= IDLE) and (old or _spis(child) < _spis(other))):
        child.check_at = None
        child.retire_at = ctx.world.now
        holder = _holder(ctx, session, child)
        if holder is not None:
            ctx.touch(holder)


def _spis(child: Child) -> list[int]:
    return sorted((child.spi_in, child.spi_out))


def _holder(ctx: Context, session: Session, child: Child) -> Session | None:
    """Who has the pair now: it may have been adopted, or removed, while a question was under way."""
    return next((holder for holder, each in children.all_of(ctx, session.sa.tunnel) if each is child), None)


def _rekey(ctx: Context, runner: Runner, session: Session, child: Child) -> None:
    """Replace a pair, if it is the newest; the others are left to end."""
    tunnel, now = ctx.tunnel(session), ctx.world.now
    newest = children.newest(ctx, session.sa.tunnel)
    if tunnel is None or newest is None or newest[1] is not child:
        child.rekey_at = None
        return
    child.rekey_at = now + AGAIN
    carrier = ctx.newest(tunnel.name)
    if carrier is None:
        if not _unfinished(ctx, tunnel):
            main_mode.start(ctx, tunnel, session.sa.endpoint, rekeying=True)
    elif not _at_work(ctx, carrier):
        runner.begin(carrier, "quick", _quick(ctx, carrier, tunnel, child))


def _quick(ctx: Context, session: Session, tunnel: Tunnel, child: Child) -> Step[None]:
    yield from quick_mode.start(ctx, session, tunnel, child.spi_in)
    child.rekey_at = None
    holder = _holder(ctx, session, child)
    if holder is not None:
        ctx.touch(holder)


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
        where = session.sa.endpoint
        if newest:
            ctx.world.outbox.put(
                Send(where.local, where.local_port, where.remote, where.remote_port, nat.KEEPALIVE_DATA)
            )


def _dead_or_alive(ctx: Context, session: Session, tunnel: Tunnel) -> Step[None]:
    settings = tunnel.connection.dpd
    if settings is None:
        return
    alive = yield from dpd.check(ctx, session, tunnel, settings)
    if not alive:
        peer = session.sa.endpoint.remote
        reason = f"{peer} does not answer: {settings.tries} questions whether it is there were left unanswered"
        ctx.world.log("warning", tunnel.name, "peer-dead", reason)
        drop_all(ctx, tunnel, reason, tell=False)


# -- tunnels ----------------------------------------------------------------------------------------------


def drop_all(ctx: Context, tunnel: Tunnel, reason: str, *, tell: bool) -> None:
    """End everything of a tunnel."""
    for session in ctx.of(tunnel.name):
        children.destroy(ctx, session, tell=tell)
    tunnel.down(reason, ctx.world.now)
    ctx.tend(tunnel.name)


def tend(ctx: Context, tunnel: Tunnel) -> None:
    """Look at a tunnel after a step."""
    if children.newest(ctx, tunnel.name) is None:
        for session in ctx.of(tunnel.name):
            quick_mode.wait_no_longer(ctx, session)
    _gather(ctx, tunnel)
    for session in ctx.of(tunnel.name):
        dpd.schedule(ctx, session)
        if session.sa.established and session.sa.nat.here and session.keepalive_at is None:
            session.keepalive_at = ctx.world.now + nat.KEEPALIVE
    up = children.newest(ctx, tunnel.name) is not None
    if up and tunnel.up_since is None:
        ctx.world.log("info", tunnel.name, "up", f"{tunnel.connection.iface} is up")
        tunnel.up(ctx.world.now)
    elif not up and tunnel.up_since is not None:
        tunnel.down(tunnel.reason or "the SAs are gone", ctx.world.now)
        ctx.world.log("warning", tunnel.name, "down", f"{tunnel.connection.iface} is down: {tunnel.reason}")
    if up and ctx.newest(tunnel.name) is not None:
        tunnel.attempt_at = None
    else:
        _bring_up(ctx, tunnel)
    ctx.world.timers.set(f"tunnel {tunnel.name}", tunnel.attempt_at)


def attempt(ctx: Context, runner: Runner, tunnel: Tunnel) -> None:
    """The time has come to try to bring a tunnel up."""
    tunnel.attempt_at = None
    ctx.tend(tunnel.name)
    pair, newest = children.newest(ctx, tunnel.name), ctx.newest(tunnel.name)
    if _busy(ctx, tunnel) or (pair is not None and newest is not None):
        return
    if newest is not None:
        runner.begin(newest, "quick", quick_mode.start(ctx, newest, tunnel))
        return
    connection = tunnel.connection
    obstacle = _obstacle(connection)
    if obstacle or connection.peer is None:
        tunnel.failed(obstacle, ctx.world.now, ctx.world.random)
        ctx.world.log_once(tunnel, "error", "unsupported", obstacle)
        return
    where = Endpoint(connection.local or "", nat.IKE_PORT, connection.peer, nat.IKE_PORT)
    main_mode.start(ctx, tunnel, where if pair is None else pair[0].sa.endpoint, rekeying=pair is not None)


def _obstacle(connection: Connection) -> str:
    """Why a connection cannot be tried at all."""
    if connection.version != 1:
        return f"{connection.origin}: IKEv2 is not supported yet"
    if connection.exchange != "main":
        return f"{connection.origin}: aggressive mode is not supported yet; write `main`"
    if not isinstance(connection.auth, PreSharedKey):
        return f"{connection.origin}: signatures are not supported yet; write `psk KEY`"
    if not main_mode.offered(connection):
        return f"{connection.origin}: no `main` proposal can be used"
    return ""


def _bring_up(ctx: Context, tunnel: Tunnel) -> None:
    """There is no usable pair, or no ISAKMP SA: somebody has to be at work, or an attempt planned."""
    if _busy(ctx, tunnel) or not (tunnel.starts or tunnel.once):
        tunnel.attempt_at = None
        return
    tunnel.plan(ctx.world.now, ctx.world.random)
    newest = ctx.newest(tunnel.name)
    if newest is not None and newest.sa.role == "responder" and tunnel.attempt_at is not None:
        tunnel.attempt_at = max(tunnel.attempt_at, newest.since + COURTESY)


def _gather(ctx: Context, tunnel: Tunnel) -> None:
    """The newest session holds the pairs; main modes that it makes needless, and dead sessions without pairs, go."""
    newest = ctx.newest(tunnel.name)
    if newest is not None:
        others = [each for each in ctx.of(tunnel.name) if each is not newest]
        children.adopt(ctx, newest, others)
        _replace_stale(ctx, newest)
        for other in others:
            early = isinstance(other.sa.phase1, OfferSent | KeySent)
            if early and (not other.sa.rekeying or newest.since > other.sa.created):
                ctx.remove(other)
        _limit(ctx, [each for each in others if each.sa.established and each.id in ctx.sessions])
    for session in ctx.of(tunnel.name):
        if isinstance(session.sa.phase1, Gone) and not session.sa.children:
            ctx.remove(session)


def _replace_stale(ctx: Context, session: Session) -> None:
    """Pairs whose ISAKMP SA ended before there was another: the peer may have dropped them with it."""
    for child in session.sa.children:
        if child.stale and child.usable:
            child.stale = False
            child.rekey_at = ctx.world.now


def _limit(ctx: Context, established: list[Session]) -> None:
    for session in established[: max(0, len(established) + 1 - MAX_SESSIONS)]:
        children.destroy(ctx, session, tell=True)


def _unfinished(ctx: Context, tunnel: Tunnel) -> bool:
    """Whether a main mode of ours is under way."""
    return any(
        each.sa.role == "initiator" and not each.sa.established and not isinstance(each.sa.phase1, Gone)
        for each in ctx.of(tunnel.name)
    )


def _at_work(ctx: Context, session: Session) -> bool:
    """Whether a quick mode is under way, of either side."""
    return bool(quick_mode.in_progress(session)) or ctx.world.steps.busy(session.id, "quick")


def _busy(ctx: Context, tunnel: Tunnel) -> bool:
    return _unfinished(ctx, tunnel) or any(_at_work(ctx, each) for each in ctx.of(tunnel.name) if each.sa.established)
