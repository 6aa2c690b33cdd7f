"""What the data plane says of the SAs of a pair, and what comes of it."""

from __future__ import annotations

from functools import partial

from secd.ike import esp
from secd.ike.v1 import children
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import Child
from secd.sadb.messages import Direction, Expire, NewMapping


def refused(ctx: Context, owner: str, spi: int, direction: Direction, why: str) -> None:
    """It did not take an SA: without it the pair is of no use."""

    def end(session: Session, child: Child) -> None:
        children.tell_deleted(ctx, session, [child])
        children.remove(ctx, session, child, inbound=direction != "in")

    esp.refused(ctx, owner, spi, direction, why, end=end)


def expired(ctx: Context, event: Expire) -> None:
    """An SA has reached a limit, or somebody has removed it."""
    for session, child in ctx.pairs_with(event.sa.spi, event.sa.direction):
        tunnel = ctx.tunnel(session)
        another = tunnel is not None and tunnel.connection.iface != event.sa.iface  # whose peer chose the same SPI
        if not another and (child.installed or event.sa.direction == "in"):
            ctx.world.working(session.id)
            _child_expired(ctx, session, child, event)
            return


def _child_expired(ctx: Context, session: Session, child: Child, event: Expire) -> None:
    if esp.is_aged(ctx, session, child, event):
        return
    tunnel, inbound = ctx.tunnel(session), event.sa.direction == "in"
    if tunnel is not None and tunnel.up_since is not None:
        tunnel.reason = esp.end_reason(event)
    if not inbound:
        child.installed = False
    if not child.stale:
        children.tell_deleted(ctx, session, [child])
    children.remove(ctx, session, child, inbound=not inbound)


def mapped(ctx: Context, event: NewMapping) -> None:
    """ESP that was authenticated came from a new address: the NAT before the peer has moved it."""
    for session, child in ctx.pairs_with(event.spi, "in")[:1]:
        if child.udp:
            esp.follow(ctx, session, event, partial(children.move, ctx, session))
