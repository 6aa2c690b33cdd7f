"""A tunnel of IKEv1 as `sec status` shows it."""

from __future__ import annotations

from secd.ike import status
from secd.ike.contract import ConnectionStatus, IKEStatus
from secd.ike.tunnel import Tunnel
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import Gone

_WORDS = {
    "OfferSent": "main mode: proposal sent",
    "KeySent": "main mode: key exchange sent",
    "IdentitySent": "main mode: identity sent",
    "OfferTaken": "main mode: proposal answered",
    "KeyAnswered": "main mode: key exchange answered",
    "KeyWanted": "aggressive mode: making a key pair",
    "AggressiveSent": "aggressive mode: proposal, key exchange and identity sent",
    "AggressiveAnswered": "aggressive mode: answered",
    "Established": "established",
    "Gone": "deleted",
}


def describe(ctx: Context, tunnel: Tunnel, now: float) -> ConnectionStatus:
    """Everything about one tunnel; times from `now`."""
    sessions = ctx.of(tunnel.name)
    rows = [_row(each, now) for each in sessions]
    live = any(not isinstance(each.sa.phase1, Gone) for each in sessions)
    return status.describe(ctx, tunnel, rows, now, live=live)


def _row(session: Session, now: float) -> IKEStatus:
    sa, suite = session.sa, session.sa.suite
    return status.row(
        sa,
        now,
        version=1,
        state=_WORDS.get(type(sa.phase1).__name__, ""),
        spis=(sa.icookie, sa.rcookie),
        algorithms=(suite.encryption, suite.hash, suite.group) if suite is not None else ("", "", ""),
        vendor=sa.vendor,
    )
