"""A tunnel as `sec status` shows it: what both versions say alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from secd.ike import identities
from secd.ike.contract import ChildStatus, ConnectionStatus, IKEStatus
from secd.ike.table import A, C, KeptSA, Pair, S, Table
from secd.ike.tunnel import Tunnel
from secd.sadb.messages import Identity


def describe(
    table: Table[A, S, C], tunnel: Tunnel, rows: Sequence[IKEStatus], now: float, *, live: bool
) -> ConnectionStatus:
    """Everything about one tunnel; times from `now`.  `live`: one of its IKE SAs is neither ending nor over."""
    shown = [child for _, child in table.pairs(tunnel.name) if child.installed]
    state: Literal["up", "connecting", "waiting", "down"] = "up"
    if table.newest_pair(tunnel.name) is None:
        state = "down"
    if state == "down" and live:
        state = "connecting"
    elif state == "down" and not tunnel.starts and tunnel.attempt_at is None:
        state = "waiting"
    return ConnectionStatus(
        connection=tunnel.connection,
        state=state,
        reason=tunnel.why(state),
        ike=list(rows),
        children=[_child(each, now) for each in sorted(shown, key=lambda child: -child.created)],
        last_rekey=None if tunnel.last_rekey is None else now - tunnel.last_rekey,
        next_attempt=None if tunnel.attempt_at is None else max(0.0, tunnel.attempt_at - now),
        retries=tunnel.retries,
    )


def row(
    sa: KeptSA,
    now: float,
    *,
    version: int,
    state: str,
    spis: tuple[bytes, bytes],
    algorithms: tuple[str, str, str],
    vendor: str,
) -> IKEStatus:
    """One IKE SA: `spis` are the initiator's and the responder's, `algorithms` encryption, hash and group."""
    return IKEStatus(
        version=version,
        role=sa.role,
        state=state,
        initiator_spi=spis[0].hex(),
        responder_spi=spis[1].hex(),
        local=sa.endpoint.local,
        local_port=sa.endpoint.local_port,
        remote=sa.endpoint.remote,
        remote_port=sa.endpoint.remote_port,
        local_id=_id(sa.local_id),
        remote_id=_id(sa.remote_id),
        encryption=algorithms[0],
        hash=algorithms[1],
        group=algorithms[2],
        age=now - sa.created,
        rekey_in=_in(sa.rekey_at, now),
        expires_in=_in(sa.expires, now),
        nat=sa.nat.found,
        vendor=vendor,
    )


def _child(child: Pair, now: float) -> ChildStatus:
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
