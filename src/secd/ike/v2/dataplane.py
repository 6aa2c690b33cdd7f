"""What the data plane says of the SAs of a pair, and what comes of it."""

from __future__ import annotations

from functools import partial

from secd.ike import esp
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import pairs
from secd.ike.v2.context import Context, Session
from secd.ike.v2.state import Child
from secd.sadb.messages import Direction, Expire, NewMapping


def refused(ctx: Context, owner: str, spi: int, direction: Direction, why: str) -> None:
    """It did not take an SA: without it the pair is of no use."""

    def end(session: Session, child: Child) -> None:
        child.installed = child.installed and direction != "out"
        child.lost = child.lost or direction == "in"
        pairs.discard_outbound(ctx, session, child)
        pairs.end(ctx, session, child)

    esp.refused(ctx, owner, spi, direction, why, end=end)


def expired(ctx: Context, event: Expire) -> None:
    """An SA has reached a limit, or somebody has removed it."""
    for session, child in ctx.pairs_with(event.sa.spi, event.sa.direction):
        tunnel = ctx.tunnel(session)
        if tunnel is not None and tunnel.connection.iface == event.sa.iface:
            ctx.world.working(session.id)
            _child_expired(ctx, session, tunnel, child, event)
            return


def _child_expired(ctx: Context, session: Session, tunnel: Tunnel, child: Child, event: Expire) -> None:
    if esp.is_aged(ctx, session, child, event):
        return
    if tunnel.up_since is not None and child.usable:
        tunnel.reason = esp.end_reason(event)
    if event.sa.direction == "out":
        child.installed = False
    else:
        child.lost = True
    pairs.discard_outbound(ctx, session, child)
    if child.gone_at is not None or not session.sa.established:
        pairs.remove(ctx, session, child)
    else:
        pairs.end(ctx, session, child)


def mapped(ctx: Context, event: NewMapping) -> None:
    """ESP that was authenticated came from a new address: the NAT before the peer has moved it."""
    for session, child in ctx.pairs_with(event.spi, "in")[:1]:
        if child.udp and session.sa.nat.there:
            esp.follow(ctx, session, event, partial(pairs.move, ctx, session))
