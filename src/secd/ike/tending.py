"""Bringing a tunnel up, and saying whether it is; the same in both versions."""

from __future__ import annotations

from secd.ike import nat
from secd.ike.endpoint import Endpoint
from secd.ike.table import A, C, S, Table
from secd.ike.tunnel import Tunnel

#: Seconds for which the responder of an IKE SA leaves asking for a pair to the initiator.
COURTESY = 3.0


def report(table: Table[A, S, C], tunnel: Tunnel) -> None:
    """Say that a tunnel has come up, or gone down."""
    up = table.newest_pair(tunnel.name) is not None
    if up and tunnel.up_since is None:
        table.world.log("info", tunnel.name, "up", f"{tunnel.connection.iface} is up")
        tunnel.up(table.world.now)
    elif not up and tunnel.up_since is not None:
        tunnel.down(tunnel.reason or "the SAs are gone", table.world.now)
        table.world.log("warning", tunnel.name, "down", f"{tunnel.connection.iface} is down: {tunnel.reason}")


def keep_mapping(table: Table[A, S, C], session: S) -> None:
    """Behind a NAT, plan the first keepalive."""
    if session.sa.established and session.sa.nat.here and session.keepalive_at is None:
        session.keepalive_at = table.world.now + nat.KEEPALIVE


def plan(table: Table[A, S, C], tunnel: Tunnel) -> None:
    """Nobody is at work on a tunnel: plan the next attempt."""
    tunnel.plan(table.world.now, table.world.random)
    newest = table.newest(tunnel.name)
    if newest is not None and newest.sa.role == "responder" and tunnel.attempt_at is not None:
        tunnel.attempt_at = max(tunnel.attempt_at, newest.since + COURTESY)


def destination(table: Table[A, S, C], tunnel: Tunnel, obstacle: str) -> Endpoint | None:
    """Where the first message of an attempt goes; None if there is an obstacle, and then it is said."""
    connection = tunnel.connection
    if obstacle or connection.peer is None:
        tunnel.failed(obstacle, table.world.now, table.world.random)
        table.world.log_once(tunnel, "error", "unsupported", obstacle)
        return None
    return Endpoint(connection.local or "", nat.IKE_PORT, connection.peer, nat.IKE_PORT)
