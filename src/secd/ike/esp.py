"""ESP SAs and the data plane: made, put in, moved, taken out, and what it says of them; the same in both versions."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from secd.ike.contract import AddSA, DeleteSA, InstalledSA, UpdateSA
from secd.ike.crypto.esp import EspTransform
from secd.ike.endpoint import Endpoint
from secd.ike.table import A, AtWork, C, Pair, S, Table
from secd.ike.tunnel import Tunnel
from secd.sadb.messages import SA, Direction, Expire, Lifetime, NewMapping, UdpEncap


def make(
    session: AtWork,
    tunnel: Tunnel,
    algorithm: EspTransform,
    keymat: bytes,
    *,
    direction: Direction,
    spi: int,
    esn: bool,
    udp: bool,
    hard: Lifetime,
    soft: Lifetime,
) -> SA:
    """One SA of a pair with its keys."""
    sa, where, inbound = session.sa, session.sa.endpoint, direction == "in"
    encryption_key, auth_key = algorithm.split(keymat)
    return SA(
        spi=spi,
        direction=direction,
        iface=tunnel.connection.iface,
        source=where.remote if inbound else where.local,
        destination=where.local if inbound else where.remote,
        encryption=algorithm.encryption,
        encryption_key=encryption_key,
        auth=algorithm.auth,
        auth_key=auth_key,
        replay=tunnel.connection.replay,
        esn=esn,
        udpencap=UdpEncap(where.local_port, where.remote_port) if udp else None,
        hard=hard,
        soft=soft,
        identity_source=sa.remote_id if inbound else sa.local_id,
        identity_destination=sa.local_id if inbound else sa.remote_id,
        checkpoint=session.id,
    )


def outbound_at(sa: SA, child: Pair) -> SA:
    """The outbound SA of a pair that has waited to be installed: the peer may have moved meanwhile."""
    where = child.endpoint
    ports = UdpEncap(where.local_port, where.remote_port) if child.udp else None
    return replace(sa, source=where.local, destination=where.remote, udpencap=ports)


def install(table: Table[A, S, C], session: S, sa: SA, *, after_send: bool = False) -> None:
    """Ask for `sa` to be installed; a refusal comes back by `table.installs`."""
    number = table.world.steps.new_id()
    table.installs[number] = (session.id, sa.spi, sa.direction)
    while len(table.installs) > table.MAX_INSTALLS:
        del table.installs[next(iter(table.installs))]
    put = table.world.outbox.put_after_send if after_send else table.world.outbox.put
    put(AddSA(number, sa))


def discard_outbound(table: Table[A, S, C], session: S, child: C) -> None:
    """Nothing goes out through this pair any more."""
    if child.installed:
        child.installed = False
        table.world.outbox.put(DeleteSA(child.spi_out, "out", child.endpoint.remote))
    table.touch(session)


def redirect(table: Table[A, S, C], child: C, to: Endpoint) -> None:
    """A pair's packets go to, and come from, elsewhere from now on; outside of UDP there are no ports."""
    was, child.endpoint = child.endpoint, to
    ports = (to.local_port, to.remote_port) if child.udp else None
    if not child.lost:
        table.world.outbox.put(UpdateSA(child.spi_in, "in", was.local, to.remote, to.local, ports))
    if child.installed:
        table.world.outbox.put(UpdateSA(child.spi_out, "out", was.remote, to.local, to.remote, ports))


# -- what the data plane says -----------------------------------------------------------------------------


def refused(
    table: Table[A, S, C], owner: str, spi: int, direction: Direction, why: str, *, end: Callable[[S, C], None]
) -> None:
    """It did not take an SA: without it the pair is of no use, and is brought to its end by `end`."""
    for session, child in table.pairs_with(spi, direction, owner=owner):
        table.world.working(session.id)
        table.world.log("error", session.sa.tunnel, "sa-refused", f"SPI 0x{spi:08x} {direction}: {why}")
        end(session, child)
        tunnel = table.tunnel(session)
        if tunnel is not None:
            tunnel.failed(f"the data plane refused an SA: {why}", table.world.now, table.world.random)


def is_aged(table: Table[A, S, C], session: S, child: C, event: Expire) -> bool:
    """Whether it was a soft limit: then a pair that is ours to renew is renewed now, and nothing has ended."""
    table.touch(session)
    if event.kind == "soft" and child.rekey_at is not None:
        child.rekey_at = min(child.rekey_at, table.world.now)
    return event.kind == "soft"


def end_reason(event: Expire) -> str:
    """Why a tunnel is down whose SA has reached its hard limit, or was removed."""
    return "the SAs were removed here" if event.kind == "deleted" else "the SAs' lifetime is over"


def follow(table: Table[A, S, C], session: S, event: NewMapping, move: Callable[[Endpoint], None]) -> None:
    """ESP that was authenticated came from a new address: the NAT before the peer has moved it."""
    table.world.working(session.id)
    where = replace(session.sa.endpoint, remote=event.source, remote_port=event.port)
    if where != session.sa.endpoint:
        move(where)
        table.log(session, "peer-moved", f"the peer moved to {event.source} port {event.port}")


def installed(table: Table[A, S, C]) -> list[InstalledSA]:
    """What it is believed to have."""
    found = []
    for session in table.sessions.values():
        tunnel = table.tunnel(session)
        for child in table.held_by(session) if tunnel is not None else []:
            where, iface = child.endpoint, tunnel.connection.iface if tunnel is not None else ""
            if not child.lost:
                found.append(InstalledSA(child.spi_in, "in", iface, where.remote, where.local))
            if child.installed:
                found.append(InstalledSA(child.spi_out, "out", iface, where.local, where.remote))
    return found
