"""A tunnel of IKEv2 as `sec status` shows it."""

from __future__ import annotations

from msgspec.structs import replace

from secd.ike import status
from secd.ike.contract import ConnectionStatus, IKEStatus
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import suites
from secd.ike.v2.context import Context, Session
from secd.ike.v2.state import Closed, Closing

_WORDS = {
    "Starting": "IKE_SA_INIT",
    "InitSent": "IKE_SA_INIT sent",
    "Between": "IKE_INTERMEDIATE sent",
    "AuthSent": "IKE_AUTH sent",
    "InitAnswered": "IKE_SA_INIT answered",
    "Established": "established",
    "Closing": "deleting",
    "Closed": "deleted",
}


def describe(ctx: Context, tunnel: Tunnel, now: float) -> ConnectionStatus:
    """Everything about one tunnel; times from `now`."""
    sessions = ctx.of(tunnel.name)
    rows = [_row(each, now) for each in sessions if not isinstance(each.sa.phase, Closed)]
    live = any(not isinstance(each.sa.phase, Closing | Closed) for each in sessions)
    found = status.describe(ctx, tunnel, rows, now, live=live)
    given = {word: tuple(values) for word, values in ctx.inner.given(tunnel.name).items()}
    return replace(found, assigned=given, provided=ctx.inner.leases(tunnel.name))


def _row(session: Session, now: float) -> IKEStatus:
    sa, suite = session.sa, session.sa.suite
    algorithms = "", "", ""
    if suite is not None:
        algorithms = suite.encryption, suite.auth or suite.prf, " ".join((suite.group, *suites.rounds(suite)))
    return status.row(
        sa,
        now,
        version=2,
        state=_WORDS.get(type(sa.phase).__name__, ""),
        spis=(sa.spi_i, sa.spi_r),
        algorithms=algorithms,
        vendor=sa.peer.vendor,
    )
