"""`sec doctor`: check this host for what keeps tunnels from working, and say what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secd.cli import sec_checks as checks
from secd.cli.output import FAILED, OK, CommandError, Parser, clean, print_json, style
from secd.cli.sec_checks import Finding
from secd.cli.sec_interface import read_interfaces
from secd.cli.sec_status import gather
from secd.cli.sec_tunnels import Tunnel
from secd.control import client

_MARKS = {"ok": ("ok  ", "good"), "note": ("note", "doubt"), "bad": ("BAD ", "bad")}


def main(arguments: list[str]) -> int:
    """Run `sec doctor`."""
    parser = Parser(
        "sec doctor",
        "Check this host, secd and its tunnels; each line is a finding, and what to do about it.",
        "Exit codes: 0 nothing is bad, 1 something is, 2 usage.",
    )
    parser.add_argument("--etc", default="/etc", metavar="DIR", help="where the files are (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="as JSON, a list")
    options = parser.parse_args(arguments)
    if not Path(options.etc).is_dir():
        raise CommandError(f"{options.etc}: no such directory")
    findings: list[Finding] = []
    for finding in examine(options.etc):
        findings.append(finding)
        if not options.json:
            mark, colour = _MARKS[finding.level]
            advice = f"  -> {finding.advice}" if finding.advice else ""
            print(f"{style(mark, colour)}  {finding.subject:<14}{clean(finding.text)}{clean(advice)}", flush=True)
    if options.json:
        print_json(findings)
    return FAILED if any(finding.level == "bad" for finding in findings) else OK


def examine(directory: str) -> Iterator[Finding]:
    """Make every check, the host first."""
    yield from checks.tun_device()
    yield from checks.rights()
    yield from checks.kernel()
    own, running = _processes()
    yield from running
    yield from checks.ports(own)
    yield from checks.forwarding()
    yield from checks.time_of_day()
    yield from checks.files(directory)
    yield from checks.rules(directory)
    interfaces = read_interfaces()
    yield from checks.reverse_path(interfaces)
    found: list[Tunnel] = []
    if own:
        try:
            report = gather()
        except CommandError as error:
            yield Finding("bad", "secd", str(error), "see secd's log")
        else:
            found = report.tunnels
            yield from (Finding("bad", "secd", note, "see secd's log") for note in report.notes)
    yield from checks.packet_sizes(found, interfaces)
    for tunnel in found:
        if tunnel.state == "up":
            yield Finding("ok", tunnel.iface, f"up to {tunnel.peer}")
        else:
            yield Finding("bad", tunnel.iface, f"{tunnel.state}: {tunnel.reason}", f"sec status {tunnel.iface}")


def _processes() -> tuple[set[int], list[Finding]]:
    """Secd's process ids, and whether it is well."""
    try:
        processes = client.processes()
    except client.ControlError as error:
        return set(), [Finding("bad", "secd", str(error))]
    findings = [
        Finding("note", process.name, f"was restarted {process.restarts} times", "see secd's log for the reason")
        for process in processes
        if process.restarts
    ]
    names = ", ".join(f"{process.name} ({process.pid})" for process in processes)
    return {process.pid for process in processes}, [Finding("ok", "secd", f"runs: {names}"), *findings]
