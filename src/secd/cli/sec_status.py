"""`sec status`: how every tunnel is, and in words why one is not up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from msgspec import Struct

from secd.cli.output import (
    FAILED,
    OK,
    CommandError,
    Parser,
    clean,
    complain,
    duration,
    octets,
    print_json,
    style,
    table,
)
from secd.cli.sec_interface import read_interfaces
from secd.cli.sec_seam import data_plane
from secd.cli.sec_tunnels import ESP, Tunnel, tunnels
from secd.control import client
from secd.ike.contract import ConnectionStatus, IKEStatus
from secd.sadb.messages import Entry

T = TypeVar("T")

_COLOURS = {"up": "good", "connecting": "doubt", "waiting": "doubt", "down": "bad"}
_HEADER = ("INTERFACE", "PEER", "STATE", "IKE", "ESP", "IN", "OUT", "LAST REKEY", "NEXT ATTEMPT")


class Report(Struct, frozen=True):
    """What `--json` prints.  `notes` tell which of the processes could not be asked."""

    all_up: bool
    tunnels: list[Tunnel]
    notes: list[str]


def main(arguments: list[str]) -> int:
    """Run `sec status`."""
    parser = Parser(
        "sec status",
        "Show every tunnel, or in detail one.",
        "Exit codes: 0 every tunnel shown is up; 1 one is not, there is none, or secd cannot be asked; 2 usage.",
    )
    parser.add_argument("interface", nargs="?", metavar="secN", help="this one alone, in detail")
    parser.add_argument("--json", action="store_true", help="as JSON, one object")
    parser.add_argument("--watch", nargs="?", const=2.0, type=float, metavar="SECONDS", help="again and again")
    options = parser.parse_args(arguments)
    if options.watch is not None and not options.watch >= 0.1:
        parser.error("--watch: the time between two looks is 0.1 seconds or more")
    while True:
        report = gather(options.interface)
        if options.json:
            print_json(report)
        else:
            if options.watch is not None and sys.stdout.isatty():
                print("\x1b[H\x1b[2J", end="")
            for line in detail_lines(report.tunnels) if options.interface else table_lines(report.tunnels):
                print(line)
        for note in report.notes:
            complain("sec status", note)
        if options.watch is None:
            return OK if report.all_up else FAILED
        sys.stdout.flush()
        time.sleep(options.watch)


def gather(only: str | None = None) -> Report:
    """Ask iked, the data plane and the kernel.  CommandError when there is nothing to tell."""
    notes: list[str] = []
    connections: list[ConnectionStatus] | None = _or_note(client.status, notes)
    entries: list[Entry] | None = _or_note(_dump, notes)
    if len(notes) == 2:
        raise CommandError(notes[0])
    found = tunnels(connections, entries or [], read_interfaces(), only=only)
    if only is not None and not found:
        raise CommandError(f"{only}: no such interface, and no rule for it")
    return Report(bool(found) and not notes and all(tunnel.state == "up" for tunnel in found), found, notes)


def _dump() -> list[Entry]:
    with data_plane() as sadb:
        return sadb.dump()


def _or_note(ask: Callable[[], list[T]], notes: list[str]) -> list[T] | None:
    try:
        return ask()
    except (client.ControlError, CommandError) as error:
        notes.append(str(error))
        return None


# -- a table of all ---------------------------------------------------------------------------------------


def table_lines(found: Sequence[Tunnel]) -> Iterator[str]:
    """One line a tunnel, and below those that are not up the reason."""
    if not found:
        yield "No tunnels: there is no ike rule and no sec interface.  `sec --help` tells the first steps."
        return
    lines = table(_HEADER, [_row(tunnel) for tunnel in found])
    yield style(lines[0], "title")
    for tunnel, line in zip(found, lines[1:], strict=True):
        yield line.replace(f"  {tunnel.state}  ", f"  {style(tunnel.state, _COLOURS[tunnel.state])}  ", 1)
        if tunnel.reason:
            yield f"{'':11}{clean(tunnel.reason)}"


def _row(tunnel: Tunnel) -> tuple[str, ...]:
    ike, esp = _last(tunnel.ike), _last([sa for sa in tunnel.esp if sa.direction == "out"])
    return (
        tunnel.iface,
        clean(tunnel.peer) or "-",
        tunnel.state,
        {"manual": "manual keys", "none": "no rule", "unknown": "unknown"}.get(tunnel.keying)
        or (f"{ike.state} {duration(ike.age)}" if ike else "-"),
        _transform(esp) if esp else "-",
        octets(tunnel.octets_in),
        octets(tunnel.octets_out),
        f"{duration(tunnel.last_rekey)} ago" if tunnel.last_rekey is not None else "-",
        _next_attempt(tunnel),
    )


def _last(items: Sequence[T]) -> T | None:
    return items[-1] if items else None


def _transform(sa: ESP) -> str:
    return f"{sa.encryption} {sa.auth}".rstrip()


def _next_attempt(tunnel: Tunnel) -> str:
    if tunnel.next_attempt is None:
        return "-"
    return f"in {duration(tunnel.next_attempt)}" if tunnel.next_attempt >= 1 else "now"


# -- one in detail ----------------------------------------------------------------------------------------


def detail_lines(found: Sequence[Tunnel]) -> Iterator[str]:
    """Everything about each tunnel."""
    for tunnel in found:
        yield f"{style(tunnel.iface, 'title')}: {style(tunnel.state, _COLOURS[tunnel.state])}"
        for name, value in _details(tunnel):
            yield f"    {name:<13}{clean(value)}"


def _details(tunnel: Tunnel) -> Iterator[tuple[str, str]]:
    if tunnel.reason:
        yield "why", tunnel.reason
    if tunnel.description:
        yield "description", tunnel.description
    if tunnel.rule:
        yield "rule", f"{tunnel.rule} ({tunnel.mode}, {tunnel.keying})"
    yield "local", tunnel.local or "any"
    yield "peer", tunnel.peer or "any"
    for word, values in tunnel.assigned.items():
        left = " (not set by secd: iked.conf(5), Inner addresses)" if word not in ("address", "netmask") else ""
        yield "from peer", f"{word} {', '.join(values)}{left}"
    if tunnel.provided:
        yield "to peer", f"address {', '.join(tunnel.provided)}"
    for ike in tunnel.ike:
        yield from _ike(ike)
    for sa in tunnel.esp:
        yield f"ESP {sa.direction}", _esp(sa)
    yield "traffic", f"{octets(tunnel.octets_in)} in, {octets(tunnel.octets_out)} out through these SAs"
    if tunnel.last_rekey is not None:
        yield "last rekey", f"{duration(tunnel.last_rekey)} ago"
    if tunnel.next_attempt is not None:
        tries = f", after {tunnel.retries} without success" if tunnel.retries else ""
        yield "next attempt", f"{_next_attempt(tunnel)}{tries}"


def _ike(ike: IKEStatus) -> Iterator[tuple[str, str]]:
    nat = ", a NAT between" if ike.nat else ""
    suite = f"{ike.encryption} {ike.hash} {ike.group}" if ike.encryption else "nothing agreed on yet"
    yield f"IKEv{ike.version}", f"{ike.state} as {ike.role}, {suite}{nat}"
    yield "", f"{ike.local or 'any address'} port {ike.local_port} ({ike.local_id or 'no identity yet'})"
    peer = f", {ike.vendor}" if ike.vendor else ""
    yield "", f"{ike.remote} port {ike.remote_port} ({ike.remote_id or 'no identity yet'}{peer})"
    times = [f"{duration(ike.age)} old"]
    times += [f"rekey in {duration(ike.rekey_in)}"] if ike.rekey_in is not None else []
    times += [f"ends in {duration(ike.expires_in)}"] if ike.expires_in is not None else []
    yield "", f"SPIs {ike.initiator_spi} {ike.responder_spi}, {', '.join(times)}"


def _esp(sa: ESP) -> str:
    parts = [f"{sa.spi} {_transform(sa)}", sa.state, f"{sa.packets} packets, {octets(sa.octets)} octets"]
    parts += [f"{sa.drops} dropped"] if sa.drops else []
    parts += [f"last used {duration(sa.idle)} ago" if sa.idle is not None else "not used yet"]
    parts += ["in UDP"] if sa.udpencap else []
    parts += [f"path MTU {sa.path_mtu}"] if sa.path_mtu else []
    return ", ".join(parts)
