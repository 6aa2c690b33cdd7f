"""A tunnel as a whole: who holds its pairs, whether somebody is at work on it, and bringing it up again.

`tend` derives all it does from the state as it stands after a step, so it does not matter what the step was.
"""

from __future__ import annotations

from secd.ike import tending
from secd.ike.connection import Connection
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children, dpd, offers, opening, quick_mode
from secd.ike.v1.context import Context, Runner, Session
from secd.ike.v1.state import AggressiveSent, Gone, KeySent, KeyWanted, OfferSent

#: ISAKMP SAs of one tunnel.
MAX_SESSIONS = 4


def drop_all(ctx: Context, tunnel: Tunnel, reason: str, *, tell: bool) -> None:
    """End everything of a tunnel."""
    for session in ctx.of(tunnel.name):
        children.destroy(ctx, session, tell=tell)
    tunnel.down(reason, ctx.world.now)
    ctx.tend(tunnel.name)


def tend(ctx: Context, tunnel: Tunnel) -> None:
    """Look at a tunnel after a step."""
    if ctx.newest_pair(tunnel.name) is None:
        for session in ctx.of(tunnel.name):
            quick_mode.wait_no_longer(ctx, session)
    _gather(ctx, tunnel)
    for session in ctx.of(tunnel.name):
        dpd.schedule(ctx, session)
        tending.keep_mapping(ctx, session)
    tending.report(ctx, tunnel)
    if ctx.newest_pair(tunnel.name) is not None and ctx.newest(tunnel.name) is not None:
        tunnel.attempt_at = None
    else:
        _bring_up(ctx, tunnel)
    ctx.world.timers.set(f"tunnel {tunnel.name}", tunnel.attempt_at)


def attempt(ctx: Context, runner: Runner, tunnel: Tunnel) -> None:
    """The time has come to try to bring a tunnel up."""
    tunnel.attempt_at = None
    ctx.tend(tunnel.name)
    pair, newest = ctx.newest_pair(tunnel.name), ctx.newest(tunnel.name)
    if _busy(ctx, tunnel) or (pair is not None and newest is not None):
        return
    if newest is not None:
        newest.tried = True
        runner.begin(newest, "quick", quick_mode.start(ctx, newest, tunnel))
        return
    where = tending.destination(ctx, tunnel, _obstacle(tunnel.connection))
    if where is None:
        return
    opening.start(ctx, runner, tunnel, where if pair is None else pair[0].sa.endpoint, rekeying=pair is not None)


def _obstacle(connection: Connection) -> str:
    """Why a connection cannot be tried at all."""
    if offers.is_exposed(connection):
        return f"{connection.origin}: aggressive mode with `psk` was not asked for by `aggressive-psk`; write `main`"
    if connection.exchange == "aggressive" and connection.srcid is None and connection.local is None:
        return f"{connection.origin}: aggressive mode begins with our name; write `srcid NAME` or `local ADDRESS`"
    if not offers.offered(connection):
        return f"{connection.origin}: no `{connection.exchange}` proposal can be used"
    return ""


def _bring_up(ctx: Context, tunnel: Tunnel) -> None:
    """There is no usable pair, or no ISAKMP SA: somebody has to be at work, or an attempt planned."""
    if _busy(ctx, tunnel) or not (tunnel.starts or tunnel.once):
        tunnel.attempt_at = None
        return
    newest = ctx.newest(tunnel.name)
    if newest is not None and not newest.tried:  # the attempt goes on: no pause between phase 1 and phase 2
        tunnel.attempt_at = ctx.world.now
    tending.plan(ctx, tunnel)


def _gather(ctx: Context, tunnel: Tunnel) -> None:
    """The newest session holds the pairs; phases 1 that it makes needless, and dead sessions without pairs, go."""
    newest = ctx.newest(tunnel.name)
    if newest is not None:
        others = [each for each in ctx.of(tunnel.name) if each is not newest]
        children.adopt(ctx, newest, others)
        _replace_stale(ctx, newest)
        for other in others:
            ours = other.sa.role == "initiator"
            early = ours and isinstance(other.sa.phase1, OfferSent | KeySent | KeyWanted | AggressiveSent)
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


def unfinished(ctx: Context, tunnel: Tunnel) -> bool:
    """Whether a phase 1 of ours is under way."""
    return any(
        each.sa.role == "initiator" and not each.sa.established and not isinstance(each.sa.phase1, Gone)
        for each in ctx.of(tunnel.name)
    )


def at_work(ctx: Context, session: Session) -> bool:
    """Whether a quick mode is under way, of either side."""
    return bool(quick_mode.in_progress(session)) or ctx.world.steps.busy(session.id, "quick")


def _busy(ctx: Context, tunnel: Tunnel) -> bool:
    return unfinished(ctx, tunnel) or any(at_work(ctx, each) for each in ctx.of(tunnel.name) if each.sa.established)
