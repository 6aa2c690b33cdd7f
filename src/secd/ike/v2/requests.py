"""What we ask of the peer next: one request at a time, ends first, then new keys, then questions."""

from __future__ import annotations

from secd.ike.endpoint import Endpoint
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import child as creation
from secd.ike.v2 import ending, informational, initial, mobike, rekey
from secd.ike.v2.context import Context, Runner, Session
from secd.ike.v2.state import Child, Closed, Closing, Established, InitAnswered


def next_request(ctx: Context, runner: Runner, session: Session) -> None:
    """Send what is due next, if nothing of ours is under way: ends first, then new keys, then questions."""
    sa, now, tunnel = session.sa, ctx.world.now, ctx.tunnel(session)
    if session.redirected and tunnel is not None:
        session.redirected = False
        start(ctx, runner, tunnel, sa.endpoint, replaces=True)
    if not sa.established or sa.request is not None or ctx.world.steps.busy(session.id, "request"):
        return
    if session.moved_to is not None:
        where, session.moved_to = session.moved_to, None
        mobike.tell(ctx, session, where)
        return
    ends = [each for each in sa.children if each.delete_at is not None and each.delete_at <= now and not each.told]
    if ends:
        ending.delete_children(ctx, session, ends)
    elif sa.delete_at is not None:
        if sa.delete_at <= now:
            heir = ending.successor(ctx, session)
            if heir is not None:
                ending.adopt(ctx, session, heir)
                informational.activate_held(ctx, sa.tunnel)
            ending.delete_ike(ctx, session)
    elif sa.successor or tunnel is None:
        return
    elif sa.rekey_at is not None and sa.rekey_at <= now:
        _renew_ike(ctx, runner, session, tunnel)
    elif (due := _due(ctx, session)) is not None:
        _renew_child(ctx, runner, session, tunnel, due)
    elif session.probe:
        mobike.question(ctx, session)


def _renew_ike(ctx: Context, runner: Runner, session: Session, tunnel: Tunnel) -> None:
    session.sa.rekey_at = None
    if ctx.newest(tunnel.name) is session:
        name, session.ike_group = session.ike_group, ""
        runner.begin(session, "request", rekey.start(ctx, session, tunnel, name))


def _due(ctx: Context, session: Session) -> Child | None:
    """The pair that is to be renewed now; one that is not the newest of its tunnel is left to itself."""
    newest = ctx.newest_pair(session.sa.tunnel)
    for each in session.sa.children:
        if each.rekey_at is not None and each.rekey_at <= ctx.world.now:
            each.rekey_at = None
            if each.usable and not each.replaced and newest is not None and newest[1] is each:
                return each
    return None


def _renew_child(ctx: Context, runner: Runner, session: Session, tunnel: Tunnel, child: Child) -> None:
    if session.exhausted:  # the peer makes no pair in this IKE SA any more: make another one
        child.rekey_at = ctx.world.now + creation.REFUSED
        start(ctx, runner, tunnel, session.sa.endpoint, replaces=True)
        return
    name, session.group = session.group, None
    runner.begin(session, "request", creation.start(ctx, session, tunnel, child.spi_in, name))


def start(ctx: Context, runner: Runner, tunnel: Tunnel, where: Endpoint, *, replaces: bool) -> None:
    """Begin an IKE SA, unless one of ours is under way."""
    if not unfinished(ctx, tunnel):
        initial.start(ctx, runner, tunnel, where, replaces=replaces)


def unfinished(ctx: Context, tunnel: Tunnel) -> bool:
    """Whether an attempt of ours is under way."""
    return any(
        each.initiator and not isinstance(each.sa.phase, Established | Closing | Closed | InitAnswered)
        for each in ctx.of(tunnel.name)
    )
