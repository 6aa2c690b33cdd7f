"""What becomes of a pair in time: it is rekeyed, retired when its successor is in use, and ends."""

from __future__ import annotations

from secd.ike.steps import Step, last_use
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children, opening, quick_mode, tending
from secd.ike.v1.context import Context, Runner, Session
from secd.ike.v1.state import Child

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
#: Seconds by which a delete is put off while a quick mode is under way: strongSwan keeps the state of three exchanges
#: at a time (`max_ikev1_exchanges`), and one that it has to forget never comes to its end.
POLITE = 1.0


def on_time(ctx: Context, runner: Runner, session: Session, child: Child) -> None:
    """Do what has become due for a pair."""
    now = ctx.world.now
    _put_off(ctx, session, child)
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


def _put_off(ctx: Context, session: Session, child: Child) -> None:
    """Say nothing of a pair that has been replaced while a quick mode is under way."""
    now, carrier = ctx.world.now, ctx.newest(session.sa.tunnel)
    if carrier is None or not quick_mode.in_progress(carrier):
        return
    if child.retire_at is not None and child.retire_at <= now:
        child.retire_at = now + POLITE
    if child.gone_at is not None and child.gone_at <= now and not child.stale:
        child.gone_at = now + POLITE


def _retire(ctx: Context, session: Session, child: Child) -> Step[None]:
    """End a pair that was replaced, once its successor is in use, or has had the time to be."""
    newest = ctx.newest_pair(session.sa.tunnel)
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
    newest = ctx.newest_pair(session.sa.tunnel)
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
    return next((holder for holder, each in ctx.pairs(session.sa.tunnel) if each is child), None)


def _rekey(ctx: Context, runner: Runner, session: Session, child: Child) -> None:
    """Replace a pair, if it is the newest; the others are left to end."""
    tunnel, now = ctx.tunnel(session), ctx.world.now
    newest = ctx.newest_pair(session.sa.tunnel)
    if tunnel is None or newest is None or newest[1] is not child:
        child.rekey_at = None
        return
    child.rekey_at = now + AGAIN
    carrier = ctx.newest(tunnel.name)
    if carrier is None:
        if not tending.unfinished(ctx, tunnel):
            opening.start(ctx, runner, tunnel, session.sa.endpoint, rekeying=True)
    elif not tending.at_work(ctx, carrier):
        runner.begin(carrier, "quick", _quick(ctx, carrier, tunnel, child))


def _quick(ctx: Context, session: Session, tunnel: Tunnel, child: Child) -> Step[None]:
    yield from quick_mode.start(ctx, session, tunnel, child.spi_in)
    child.rekey_at = None
    holder = _holder(ctx, session, child)
    if holder is not None:
        ctx.touch(holder)
