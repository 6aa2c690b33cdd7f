"""What `sec status` tells: rules, SAs and interfaces put together, one `Tunnel` for each secN."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from secd.cli.sec_show import Shown
from secd.conf.hostname_settings import interface_unit
from secd.ike.contract import ConnectionStatus, IKEStatus
from secd.sadb.messages import Direction, Entry, State


class ESP(Struct, frozen=True):
    """One ESP SA; octets are those of the packets inside."""

    direction: Direction
    spi: str
    source: str
    destination: str
    encryption: str
    auth: str
    state: State
    packets: int
    octets: int
    drops: int
    idle: float | None  # seconds since a packet; None: none yet
    udpencap: bool
    path_mtu: int  # 0: none learnt


class Tunnel(Struct, frozen=True):
    """One secN.  Times are seconds from now; `keying` is how it gets its keys."""

    iface: str
    state: Literal["up", "connecting", "waiting", "down"]
    reason: str
    keying: Literal["ikev1", "ikev2", "manual", "none", "unknown"]
    mode: str
    rule: str  # FILE: LINE
    local: str
    peer: str
    description: str
    ike: tuple[IKEStatus, ...]
    esp: tuple[ESP, ...]
    octets_in: int
    octets_out: int
    last_rekey: float | None
    next_attempt: float | None
    retries: int
    assigned: dict[str, tuple[str, ...]] = {}  # by iked.conf's words: what the peer, a hub, gives us
    provided: tuple[str, ...] = ()  # inner addresses that we give the peer


def tunnels(
    connections: Sequence[ConnectionStatus] | None,
    entries: Sequence[Entry],
    interfaces: Sequence[Shown],
    *,
    only: str | None = None,
) -> list[Tunnel]:
    """Put together what iked, the data plane and the kernel say, in the order of the interfaces' numbers.

    `connections` None: iked could not be asked, so that nobody knows which rules there are.
    """
    known, connections = connections is not None, connections or ()
    shown = {interface.name: interface for interface in interfaces}
    ruled = {status.connection.iface for status in connections}
    keyed = {entry.sa.iface for entry in entries}
    found = [_negotiated(status, entries, shown.get(status.connection.iface)) for status in connections]
    found += [_without_ike(name, entries, shown.get(name), known=known) for name in (shown.keys() | keyed) - ruled]
    return sorted(
        (tunnel for tunnel in found if only in (None, tunnel.iface)),
        key=lambda tunnel: (interface_unit(tunnel.iface) or 0, tunnel.rule),
    )


def _negotiated(status: ConnectionStatus, entries: Iterable[Entry], shown: Shown | None) -> Tunnel:
    """A tunnel with an ike rule."""
    connection = status.connection
    state, reason = status.state, status.reason
    trouble = _interface_trouble(connection.iface, shown, rule=True)
    if state == "up":
        reason = ""
    if trouble:
        state, reason = "down", f"{trouble}; besides, {reason}" if reason else trouble
    sas = _sas(connection.iface, entries)
    return Tunnel(
        iface=connection.iface,
        state=state,
        reason=reason,
        keying="ikev1" if connection.version == 1 else "ikev2",
        mode=connection.mode,
        rule=connection.origin,
        local=connection.local or next((ike.local for ike in status.ike), ""),
        peer=connection.peer or next((ike.remote for ike in status.ike), "any"),
        description=shown.description if shown else "",
        ike=tuple(status.ike),
        esp=sas,
        octets_in=_octets(sas, "in"),
        octets_out=_octets(sas, "out"),
        last_rekey=status.last_rekey,
        next_attempt=status.next_attempt,
        retries=status.retries,
        assigned=status.assigned,
        provided=status.provided,
    )


def _without_ike(name: str, entries: Iterable[Entry], shown: Shown | None, *, known: bool) -> Tunnel:
    """An interface that no ike rule speaks of: manual keys, or a rule that is yet to be written."""
    sas = _sas(name, entries)
    directions = {sa.direction for sa in sas if sa.state in {"mature", "dying"}}
    reason = ""
    if not sas and not known:
        reason = "no SA, and iked cannot be asked why"
    elif not sas:
        reason = (
            f'no rule for {name}: write `ike interface {name} peer ADDRESS psk "..."` into /etc/ipsec.conf, '
            "then ipsecctl -f /etc/ipsec.conf"
        )
    elif directions != {"in", "out"}:
        missing = "in" if "in" not in directions else "out"
        reason = f"no {missing}bound SA: nothing {'comes' if missing == 'in' else 'goes'} {missing}"
    trouble = _interface_trouble(name, shown, rule=False)
    reason = f"{trouble}; besides, {reason}" if trouble and reason else trouble or reason
    outward = next((sa for sa in sas if sa.direction == "out"), None)
    return Tunnel(
        iface=name,
        state="down" if reason else "up",
        reason=reason,
        keying="unknown" if not known else "manual" if sas else "none",
        mode="",
        rule="",
        local=outward.source if outward else "",
        peer=outward.destination if outward else "",
        description=shown.description if shown else "",
        ike=(),
        esp=sas,
        octets_in=_octets(sas, "in"),
        octets_out=_octets(sas, "out"),
        last_rekey=None,
        next_attempt=None,
        retries=0,
    )


def _interface_trouble(name: str, shown: Shown | None, *, rule: bool) -> str:
    """Why no packet can pass whatever the SAs are; "" when the interface is as it should be."""
    if shown is None:
        what = "ike rule" if rule else "SAs"
        return f"{what} for {name} but no interface: write /etc/hostname.{name}, then sec netstart {name}"
    if not shown.up:
        return f"the interface is down: sec up {name}; for the next boot, `up` in /etc/hostname.{name}"
    return ""


def _sas(name: str, entries: Iterable[Entry]) -> tuple[ESP, ...]:
    """The SAs of one interface, inbound first, as they were installed; those merely reserved are left out."""
    found = [_esp(entry) for entry in entries if entry.sa.iface == name and entry.state != "larval"]
    return tuple(sorted(found, key=lambda sa: sa.direction))


def _esp(entry: Entry) -> ESP:
    sa, counters = entry.sa, entry.counters
    inward = sa.direction == "in"
    return ESP(
        direction=sa.direction,
        spi=f"0x{sa.spi:08x}",
        source=sa.source,
        destination=sa.destination,
        encryption=sa.encryption,
        auth=sa.auth,
        state=entry.state,
        packets=counters.input_packets if inward else counters.output_packets,
        octets=counters.input_decompressed_bytes if inward else counters.output_uncompressed_bytes,
        drops=counters.input_drops if inward else counters.output_drops,
        idle=entry.idle,
        udpencap=sa.udpencap is not None,
        path_mtu=entry.pmtu,
    )


def _octets(sas: Iterable[ESP], direction: Direction) -> int:
    return sum(sa.octets for sa in sas if sa.direction == direction)
