"""Pairs that get old: put to use, looked at, and taken out.

Beside the newest pair of a tunnel another one is not needed: it ends when the peer should have ended it, or is idle.
"""

from __future__ import annotations

from secd.ike.steps import Step, last_use
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import pairs
from secd.ike.v2.context import Context, Runner, Session
from secd.ike.v2.state import Child

#: Seconds after which a pair beside the newest is looked at; without a packet for so long it is not needed.
CHECK, IDLE = 60.0, 30.0
#: Seconds within which two IKE SAs, or pairs, count as made at once: then which of them goes must not depend on who
#: looks.
AT_ONCE = 10.0
#: Seconds after which one of two that were made at once is ended by its initiator, and else by the responder.
ONE_TOO_MANY = 5.0
#: Seconds that the data plane gets to end a pair by itself.
GRACE = 2.0


def on_time(ctx: Context, runner: Runner, session: Session, child: Child) -> None:
    """Do what has become due for a pair."""
    now = ctx.world.now
    if (child.gone_at is not None and child.gone_at <= now) or child.expires + GRACE <= now:
        if child.gone_at is None and session.sa.established:
            pairs.end(ctx, session, child)  # the peer hears of it; the data plane has ended it by itself
            child.expires = float("inf")
        else:
            pairs.remove(ctx, session, child)
    elif child.activate_at is not None and child.activate_at <= now:
        child.activate_at = now + pairs.LOOK
        runner.begin(session, f"use-{child.spi_in}", _is_in_use(ctx, session, child))
    elif child.check_at is not None and child.check_at <= now:
        child.check_at = now + IDLE
        runner.begin(session, f"check-{child.spi_in}", _is_needed(ctx, session, child))


def _is_in_use(ctx: Context, session: Session, child: Child) -> Step[None]:
    """Does the peer send on a new pair?  Then it can receive on it; and after a while it can in any case."""
    idle = yield from last_use(child.spi_in, child.endpoint.local)
    holder = _holder(ctx, session, child)
    if holder is None or child.outbound is None:
        return
    if idle is not None or ctx.world.now - child.created >= pairs.PATIENCE:
        pairs.activate(ctx, holder, child)


def _is_needed(ctx: Context, session: Session, child: Child) -> Step[None]:
    """A pair beside the newest: end it if the peer should have, or if it is idle.

    Of two that were made at once only the one with the lower SPIs goes by idleness, which both sides see alike.
    """
    newest = ctx.newest_pair(session.sa.tunnel)
    usable = [each for _, each in ctx.pairs(session.sa.tunnel) if each.usable and each is not child]
    if newest is None or not usable or (newest[1] is child and not child.replaced):
        child.check_at, child.replaced = None, False
        return
    idle = yield from last_use(child.spi_in, child.endpoint.local)
    holder = _holder(ctx, session, child)
    if holder is None or not holder.sa.established:
        return
    other = max(usable, key=lambda each: each.created)
    alike = abs(other.created - child.created) < AT_ONCE
    loses = not alike or _lower(child, other)
    if child.replaced or (loses and (idle is None or idle >= IDLE)):
        ctx.log(holder, "child-duplicate", f"SPI 0x{child.spi_in:08x} is not needed beside 0x{other.spi_in:08x}")
        pairs.end(ctx, holder, child)


def _holder(ctx: Context, session: Session, child: Child) -> Session | None:
    """Who has this pair now; it may have moved while a step waited."""
    found = pairs.find(ctx, session.sa.tunnel, spi_in=child.spi_in)
    return found[0] if found is not None and found[1] is child else None


def look_at_duplicates(ctx: Context, tunnel: Tunnel) -> None:
    """Pairs beside the newest: one that the other side made at the same time is one too many, others are looked at."""
    newest = ctx.newest_pair(tunnel.name)
    for session, child in list(ctx.pairs(tunnel.name)):
        if newest is None or child is newest[1] or not child.usable or child.check_at is not None:
            continue
        rival = newest[1]
        at_once = session is newest[0] and rival.created - child.created < AT_ONCE
        if at_once and child.ours != rival.ours and not child.replaced:
            loser = newest if _lower(rival, child) else (session, child)
            loser[1].replaced = True
            loser[1].check_at = ctx.world.now + (ONE_TOO_MANY if loser[1].ours else CHECK)
            ctx.touch(loser[0])
        elif child.delete_at is None:
            child.check_at = ctx.world.now + CHECK
            ctx.touch(session)


def _lower(one: Child, other: Child) -> bool:
    """Whether `one` has the lower SPIs, which both sides see alike."""
    return sorted((one.spi_in, one.spi_out)) < sorted((other.spi_in, other.spi_out))
