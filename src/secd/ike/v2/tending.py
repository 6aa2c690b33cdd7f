"""A tunnel as a whole: one IKE SA and one pair in the end, and somebody at work while there is none.

`tend` derives all it does from the state as it stands after a step, so it does not matter what the step was.
"""

from __future__ import annotations

from secd.ike import tending
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import aging, ending, informational, liveness, requests, suites
from secd.ike.v2 import child as creation
from secd.ike.v2.context import Context, Runner, Session, settings
from secd.ike.v2.state import Established, InitSent, Starting

#: IKE SAs of a tunnel beside the newest, those included that are about to end.
MAX_SAS = 16


def tend(ctx: Context, runner: Runner, tunnel: Tunnel) -> None:
    """Look at a tunnel after a step."""
    newest = ctx.newest(tunnel.name)
    _make_room(ctx, tunnel, newest)
    _gather(ctx, tunnel, newest)
    for session in ctx.of(tunnel.name):
        requests.next_request(ctx, runner, session)
        liveness.schedule(ctx, session)
        tending.keep_mapping(ctx, session)
    aging.look_at_duplicates(ctx, tunnel)
    tending.report(ctx, tunnel)
    if ctx.newest_pair(tunnel.name) is not None:
        tunnel.attempt_at = None
    else:
        _bring_up(ctx, tunnel)
    ctx.world.timers.set(f"tunnel {tunnel.name}", tunnel.attempt_at)


def attempt(ctx: Context, runner: Runner, tunnel: Tunnel) -> None:
    """The time has come to try to bring a tunnel up."""
    tunnel.attempt_at = None
    ctx.tend(tunnel.name)
    newest = ctx.newest(tunnel.name)
    if _busy(ctx, tunnel) or ctx.newest_pair(tunnel.name) is not None:
        return
    if newest is not None and not newest.exhausted:
        name, newest.group = newest.group, None
        runner.begin(newest, "request", creation.start(ctx, newest, tunnel, 0, name))
        return
    where = tending.destination(ctx, tunnel, _obstacle(tunnel))
    if where is not None:
        requests.start(ctx, runner, tunnel, where, replaces=newest is not None)


def _obstacle(tunnel: Tunnel) -> str:
    """Why a connection cannot be tried at all."""
    origin = tunnel.connection.origin
    if not suites.ike_alternatives(settings(tunnel).ikesa):
        return f"{origin}: no `ikesa` can be used"
    if not creation.alternatives(tunnel, key_exchange=True):
        return f"{origin}: no `childsa` can be used"
    return ""


def _bring_up(ctx: Context, tunnel: Tunnel) -> None:
    """There is no usable pair: use one that was held back, else somebody has to be at work, or an attempt planned."""
    informational.activate_held(ctx, tunnel.name)
    if _busy(ctx, tunnel) or not tunnel.starts:
        tunnel.attempt_at = None
        return
    tending.plan(ctx, tunnel)


def _make_room(ctx: Context, tunnel: Tunnel, newest: Session | None) -> None:
    """Whoever has the keys may begin one IKE SA after the other: the oldest go, at once."""
    held = [each for each in ctx.of(tunnel.name) if each is not newest]
    for each in held[: max(0, len(held) - MAX_SAS)]:
        ending.goodbye(ctx, each, repeat=False)


def _gather(ctx: Context, tunnel: Tunnel, newest: Session | None) -> None:
    """Attempts that the newest IKE SA makes needless go; what it was made to replace, or is one too many, ends."""
    if newest is None:
        return
    for other in ctx.of(tunnel.name):
        if other is newest:
            continue
        early = isinstance(other.sa.phase, Starting | InitSent) and other.initiator
        if early and (not other.sa.replaces or newest.since > other.sa.created):
            ctx.remove(other)
        elif other.sa.established and other.sa.delete_at is None and not other.sa.successor:
            _one_too_many(ctx, newest, other)


def _one_too_many(ctx: Context, newest: Session, other: Session) -> None:
    """Two IKE SAs of one tunnel: the older one goes; of two made at once the one with the lower SPIs."""
    if isinstance(other.sa.phase, Established) and not other.sa.phase.confirmed:
        return
    usable = any(each.usable for each in newest.sa.children)
    if newest.sa.replaces and usable and newest.initiator:
        other.sa.delete_at = ctx.world.now
    elif newest.since - other.since >= aging.AT_ONCE or newest.sa.role == other.sa.role:
        if not other.sa.children and usable:
            other.sa.delete_at = ctx.world.now + aging.CHECK
    else:
        loser = min(newest, other, key=lambda each: (each.sa.spi_i, each.sa.spi_r))
        if any(each.usable for each in (other if loser is newest else newest).sa.children):
            loser.sa.delete_at = ctx.world.now + (aging.ONE_TOO_MANY if loser.initiator else aging.CHECK)
    ctx.touch(other)


def _busy(ctx: Context, tunnel: Tunnel) -> bool:
    return requests.unfinished(ctx, tunnel) or any(_at_work(ctx, each) for each in ctx.of(tunnel.name))


def _at_work(ctx: Context, session: Session) -> bool:
    """Whether something is under way before whose end no pair can be asked for, or that makes one."""
    steps, sa = ctx.world.steps, session.sa
    if not sa.established:
        return False
    waits = sa.request is not None or bool(sa.successor)
    return waits or steps.busy(session.id, "request") or steps.busy(session.id, "answer")
