"""What came to nothing: a message that is not as it has to be, a computation that nobody did, an exchange of ours."""

from __future__ import annotations

from secd.ike.steps import Unanswered
from secd.ike.v2 import child, ending, pairs
from secd.ike.v2.context import Context, Session
from secd.ike.v2.state import Closing, CreateChild, InitSent, RekeyIke, Starting
from secd.ike.wire.cursor import WireError


def unacceptable(ctx: Context, session: Session, key: str, error: WireError) -> None:
    """A message, or what is in it, is not as it has to be."""
    sa = session.sa
    text = f"{key} of {sa.endpoint.remote}: {error}"
    ctx.world.log_stranger("info", "unacceptable", text, sa.tunnel)
    if isinstance(sa.phase, InitSent):
        return  # in clear: anybody may have sent it, and the true answer may still come
    if isinstance(sa.phase, Starting):
        ctx.remove(session)
    elif key == "response":
        fruitless(ctx, session, text)


def uncomputed(ctx: Context, session: Session, key: str, error: Unanswered) -> None:
    """Somebody in this house could not do its part."""
    sa = session.sa
    ctx.world.log_stranger("error", "computation", f"{key}: {error}", sa.tunnel)
    if sa.half_open:
        ctx.remove(session)
    elif key in ("request", "response"):
        fruitless(ctx, session, str(error))
    ctx.touch(session)


def fruitless(ctx: Context, session: Session, reason: str) -> None:
    """An exchange of ours came to nothing."""
    sa, tunnel = session.sa, ctx.tunnel(session)
    if isinstance(sa.phase, Closing):  # the answer to our delete, whatever it says; what still drains stays for that
        ending.close(ctx, session)
        return
    if not sa.established:
        if tunnel is not None:
            tunnel.failed(reason, ctx.world.now, ctx.world.random)
        ctx.remove(session)
        return
    request, sa.request = sa.request, None
    if request is not None and isinstance(request.purpose, RekeyIke):
        sa.rekey_at = ctx.world.now + child.REFUSED
    elif request is not None and isinstance(request.purpose, CreateChild) and request.purpose.replaces:
        found = pairs.find(ctx, sa.tunnel, spi_in=request.purpose.replaces)
        if found is not None and not found[1].replaced:
            found[1].rekey_at = ctx.world.now + child.REFUSED
    if tunnel is not None and ctx.newest_pair(sa.tunnel) is None:
        tunnel.failed(reason, ctx.world.now, ctx.world.random)
