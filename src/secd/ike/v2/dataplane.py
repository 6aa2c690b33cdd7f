"""What the data plane says of SAs, and what it is believed to have."""

from __future__ import annotations

from msgspec.structs import replace

from secd.ike.contract import InstalledSA
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import pairs
from secd.ike.v2.context import Context, Session
from secd.ike.v2.state import Child
from secd.sadb.messages import Expire, NewMapping


def refused(ctx: Context, owner: str, spi: int, direction: str, why: str) -> None:
    """The data plane did not take an SA: without it the pair is of no use."""
    found = ctx.sessions.get(owner)
    for session in [found] if found is not None else list(ctx.sessions.values()):
        for each in list(session.sa.children):
            if spi == (each.spi_in if direction == "in" else each.spi_out):
                ctx.world.working(session.id)
                ctx.world.log("error", session.sa.tunnel, "sa-refused", f"SPI 0x{spi:08x} {direction}: {why}")
                each.installed = each.installed and direction != "out"
                each.lost = each.lost or direction == "in"
                pairs.discard_outbound(ctx, session, each)
                pairs.end(ctx, session, each)
                tunnel = ctx.tunnel(session)
                if tunnel is not None:
                    tunnel.failed(f"the data plane refused an SA: {why}", ctx.world.now, ctx.world.random)


def expired(ctx: Context, event: Expire) -> None:
    """An SA has reached a limit, or somebody has removed it."""
    inbound = event.sa.direction == "in"
    for session in list(ctx.sessions.values()):
        tunnel = ctx.tunnel(session)
        if tunnel is not None and tunnel.connection.iface == event.sa.iface:
            for each in list(session.sa.children):
                if event.sa.spi == (each.spi_in if inbound else each.spi_out):
                    ctx.world.working(session.id)
                    _child_expired(ctx, session, tunnel, each, event)
                    return


def _child_expired(ctx: Context, session: Session, tunnel: Tunnel, child_: Child, event: Expire) -> None:
    ctx.touch(session)
    if event.kind == "soft":
        if child_.rekey_at is not None:
            child_.rekey_at = min(child_.rekey_at, ctx.world.now)
        return
    if tunnel.up_since is not None and child_.usable:
        tunnel.reason = "the SAs were removed here" if event.kind == "deleted" else "the SAs' lifetime is over"
    if event.sa.direction == "out":
        child_.installed = False
    else:
        child_.lost = True
    pairs.discard_outbound(ctx, session, child_)
    if child_.gone_at is not None or not session.sa.established:
        pairs.remove(ctx, session, child_)
    else:
        pairs.end(ctx, session, child_)


def mapped(ctx: Context, event: NewMapping) -> None:
    """ESP that was authenticated came from a new address: the NAT before the peer has moved it."""
    found = pairs.find_inbound(ctx, event.spi)
    if found is not None and found[1].udp and found[0].sa.nat.there:
        session = found[0]
        ctx.world.working(session.id)
        where = replace(session.sa.endpoint, remote=event.source, remote_port=event.port)
        if where != session.sa.endpoint:
            pairs.move(ctx, session, where)
            ctx.log(session, "peer-moved", f"the peer moved to {event.source} port {event.port}")


def installed(ctx: Context) -> list[InstalledSA]:
    """What the data plane is believed to have."""
    found = []
    for session in ctx.sessions.values():
        tunnel = ctx.tunnel(session)
        if tunnel is not None:
            for each in session.sa.children:
                where, iface = each.endpoint, tunnel.connection.iface
                if not each.lost:
                    found.append(InstalledSA(each.spi_in, "in", iface, where.remote, where.local))
                if each.installed:
                    found.append(InstalledSA(each.spi_out, "out", iface, where.local, where.remote))
    return found
