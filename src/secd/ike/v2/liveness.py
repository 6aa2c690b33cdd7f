"""Is the peer there (RFC 7296 §2.4)?  An empty INFORMATIONAL, when nothing was heard for the connection's interval.

What counts as heard: ESP on any pair of the IKE SA, and authenticated messages.  A request of another kind asks as
well.  Somebody's word that the peer has forgotten us, which anybody can send, makes us ask at once, and no more.
"""

from __future__ import annotations

from secd.ike.steps import Step, last_use
from secd.ike.v2 import exchange
from secd.ike.v2.context import Context, Session

KEY = "look"
#: Seconds within which the peer was heard, so that nobody's word makes us ask.
FRESH = 1.0


def schedule(ctx: Context, session: Session) -> None:
    """Look after the peer of every session that is in use."""
    tunnel = ctx.tunnel(session)
    wanted = tunnel.connection.dpd if tunnel is not None else None
    if wanted is None or not session.sa.established or session.sa.successor or session.sa.delete_at is not None:
        session.look_at = None
        session.probe = False
    elif session.look_at is None and not session.probe and not ctx.world.steps.busy(session.id, KEY):
        session.look_at = ctx.world.now + wanted.interval


def hurry(ctx: Context, session: Session) -> None:
    """Somebody says that the peer has forgotten us: ask it, unless it was heard from just before."""
    if session.sa.established and session.sa.request is not None:
        exchange.hurry(ctx, session)
    elif session.look_at is not None and ctx.world.now - session.heard >= FRESH:
        session.look_at = ctx.world.now
        session.hurried = True
        ctx.touch(session)


def look(ctx: Context, session: Session) -> Step[None]:
    """See whether anything came from the peer; if not, it is to be asked."""
    tunnel = ctx.tunnel(session)
    wanted = tunnel.connection.dpd if tunnel is not None else None
    if wanted is None:
        return
    hurried, session.hurried = session.hurried, False
    begun, quiet = ctx.world.now, float("inf")
    for child in list(session.sa.children):
        if child.gone_at is None:
            idle = yield from last_use(child.spi_in, child.endpoint.local)
            quiet = min(quiet, float("inf") if idle is None else idle)
    now = ctx.world.now
    quiet = min(quiet + (now - begun), now - session.heard)
    if quiet < wanted.interval and not hurried:
        session.look_at = now + max(1.0, wanted.interval - quiet)
    elif session.sa.request is None:
        session.probe = True
        session.look_at = None
    else:  # the answer to what is under way will tell
        session.look_at = now + wanted.interval
    ctx.touch(session)
