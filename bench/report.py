"""Results as a table, JSON and plots."""

from __future__ import annotations

import importlib
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import facts
from bench.rounds import FOREIGN, Contest, Result

#: What must be reached (measure, peer, suite): the ratio, and whether it is a floor.
TARGETS: dict[tuple[str, str, str], tuple[float, bool]] = {
    ("tcp-1-stream-mtu1420", "strongswan-libipsec", "aes-256-gcm/udp"): (15, True),
    ("tcp-1-stream-mtu1420", "wireguard-go", "aes-256-gcm/udp"): (3.3, True),
    ("tcp-1-stream-mtu1420", "openvpn", "aes-256-gcm/udp"): (11, True),
    ("tcp-1-stream-mtu1420", "forwarder", "aes-256-gcm/udp"): (0.55, True),
    ("tcp-1-stream-mtu1420", "forwarder", "aes-256+hmac-sha2-256/udp"): (0.30, True),
    ("tcp-1-stream-mtu1420", "forwarder", "chacha20-poly1305/udp"): (0.30, True),
    ("tcp-1-stream-mtu1420", "forwarder", "aes-256-gcm/esp"): (0.25, True),
    ("echo-64-outstanding-48", "best peer", "aes-256-gcm/udp"): (4, True),
    ("flood-64", "best peer", "aes-256-gcm/udp"): (8, True),
    ("ping", "wireguard-go", "aes-256-gcm/udp"): (0.33, False),
    ("tcp-1-stream-mtu1280", "secd, IPv4", "aes-256-gcm/udp/outer6"): (0.95, True),
    ("tcp-1-stream-mtu1280", "secd, IPv4", "aes-256-gcm/udp/inner6"): (0.95, True),
}


def table(results: Sequence[Result]) -> Table:
    """Ratios for a person."""
    made = Table(title="secd against others: median ratio of paired runs [range]")
    for column in ("measure", "suite", "against", "ratio", "range", "must", "n", "foreign"):
        made.add_column(column, justify="right" if column in {"ratio", "n", "foreign"} else "left")
    for result in results:
        target = TARGETS.get((result.measure, result.peer, result.suite))
        must = ""
        if target:
            limit, floor = target
            reached = result.ratio_median >= limit if floor else result.ratio_median <= limit
            must = f"{'at least' if floor else 'at most'} {limit:g}: " + ("[green]yes[/]" if reached else "[red]no[/]")
        made.add_row(
            result.measure, result.suite, f"{result.peer} ({result.peer_version})", f"{result.ratio_median:.2f}",
            f"{result.ratio_min:.2f}-{result.ratio_max:.2f}", must, str(result.samples),
            f"{result.foreign_cpu:.0%}" + ("*" if result.foreign_cpu > FOREIGN else ""),
        )  # fmt: skip
    return made


def show(console: Console, results: Sequence[Result]) -> None:
    """Print the table."""
    console.print(table(results))
    if any(result.foreign_cpu > FOREIGN for result in results):
        console.print(f"* others had more than {FOREIGN:.0%} of this machine: measure again when it is quiet")


def write_quick(path: Path, results: Sequence[Result]) -> None:
    """Write the list of ratios."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([result.row() for result in results], indent=1) + "\n")


def write_full(path: Path, contests: Sequence[Contest], results: Sequence[Result], extra: dict[str, Any]) -> None:
    """Write everything: ratios, each reading, the machine."""
    readings = [
        {
            "measure": contest.measure.name, "unit": contest.measure.unit, "tunnel": tunnel.name, "suite": tunnel.suite,
            "version": tunnel.version, "values": [round(value, 2) for value in contest.values(i)],
            "foreign_cpu": [round(samples[i].usage.foreign, 3) for samples in contest.rounds],
            **{name: [round(value, 3) for value in contest.values(i, name)]
               for name in (contest.rounds[0][i].more if contest.rounds else {})},
        }
        for contest in contests for i, tunnel in enumerate(contest.tunnels)
    ]  # fmt: skip
    document = {"machine": facts(), "ratios": [result.row() for result in results], "readings": readings, **extra}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def plot(directory: Path, contests: Sequence[Contest]) -> list[Path]:
    """Draw one picture for each measure, PNG and SVG; nothing without matplotlib."""
    try:
        mpl = importlib.import_module("matplotlib")
        mpl.use("Agg")
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        return []
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for contest in contests:
        labels = [f"{tunnel.name}\n{tunnel.suite}" for tunnel in contest.tunnels]
        values = [contest.values(i) for i in range(len(labels))]
        figure, axes = pyplot.subplots(figsize=(8, 0.6 * len(labels) + 1.2))
        medians = [statistics.median(row) for row in values]
        spread = [[m - min(row) for m, row in zip(medians, values, strict=True)],
                  [max(row) - m for m, row in zip(medians, values, strict=True)]]  # fmt: skip
        colours = ["#1b6ca8" if tunnel.name == "secd" else "#9aa5b1" for tunnel in contest.tunnels]
        axes.barh(labels, medians, xerr=spread, color=colours, capsize=3)
        axes.invert_yaxis()
        axes.set_xlabel(
            contest.measure.unit + (", more is better" if contest.measure.more_is_better else ", less is better")
        )
        axes.set_title(f"{contest.measure.name}: median and range of {len(contest.rounds)} interleaved rounds")
        figure.tight_layout()
        for kind in ("png", "svg"):
            path = directory / f"{contest.measure.name}.{kind}"
            figure.savefig(path)
            written.append(path)
        pyplot.close(figure)
    return written
