"""A tunnel as `sec status` shows it."""

from __future__ import annotations

from typing import Literal

from secd.ike import identities
from secd.ike.contract import ChildStatus, ConnectionStatus, IKEStatus
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import pairs, suites
from secd.ike.v2.context import Context, Session
from secd.ike.v2.state import Child, Closed, Closing
from secd.sadb.messages import Identity

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
    shown = [child for _, child in pairs.all_of(ctx, tunnel.name) if child.installed]
    live = [each for each in sessions if not isinstance(each.sa.phase, Closing | Closed)]
    state: Literal["up", "connecting", "waiting", "down"] = "up"
    if pairs.newest(ctx, tunnel.name) is None:
        state = "down"
    if state == "down" and live:
        state = "connecting"
    elif state == "down" and not tunnel.starts and tunnel.attempt_at is None:
        state = "waiting"
    return ConnectionStatus(
        connection=tunnel.connection,
        state=state,
        reason=tunnel.why(state),
        ike=[_ike(each, now) for each in sessions if not isinstance(each.sa.phase, Closed)],
        children=[_child(each, now) for each in sorted(shown, key=lambda child: -child.created)],
        last_rekey=None if tunnel.last_rekey is None else now - tunnel.last_rekey,
        next_attempt=None if tunnel.attempt_at is None else max(0.0, tunnel.attempt_at - now),
        retries=tunnel.retries,
    )


def _ike(session: Session, now: float) -> IKEStatus:
    sa, suite = session.sa, session.sa.suite
    return IKEStatus(
        version=2,
        role=sa.role,
        state=_WORDS.get(type(sa.phase).__name__, ""),
        initiator_spi=sa.spi_i.hex(),
        responder_spi=sa.spi_r.hex(),
        local=sa.endpoint.local,
        local_port=sa.endpoint.local_port,
        remote=sa.endpoint.remote,
        remote_port=sa.endpoint.remote_port,
        local_id=_id(sa.local_id),
        remote_id=_id(sa.remote_id),
        encryption=suite.encryption if suite else "",
        hash=suite.auth or suite.prf if suite else "",
        group=" ".join((suite.group, *suites.rounds(suite))) if suite else "",
        age=now - sa.created,
        rekey_in=_in(sa.rekey_at, now),
        expires_in=_in(sa.expires, now),
        nat=sa.nat.found,
        vendor=sa.peer.vendor,
    )


def _child(child: Child, now: float) -> ChildStatus:
    return ChildStatus(
        spi_in=child.spi_in,
        spi_out=child.spi_out,
        encryption=child.suite.encryption,
        auth=child.suite.auth,
        group=child.suite.group,
        age=now - child.created,
        rekey_in=_in(child.rekey_at, now),
        expires_in=_in(child.expires, now),
        udpencap=child.udp,
    )


def _id(identity: Identity | None) -> str:
    return identities.words(identity) if identity is not None else ""


def _in(at: float | None, now: float) -> float | None:
    return None if at is None or at == float("inf") else max(0.0, at - now)
