"""Compare builds of the engine with each other: `python -m bench.builds BINARY BINARY ... [--suite ..] [--measure ..]`.

Each BINARY is a copy of `engine/target/release/examples/static`; ratios are of each other one to the first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

from rich.console import Console

from bench import measures, report, tunnels
from bench.__main__ import FULL
from bench.machine import commit
from bench.rounds import Contest, Origin, compare
from bench.tunnels import A6, B6, A, B, Suite, Tunnel
from secd.lab.commands import environment
from secd.lab.namespaces import Host, Lab

SUITES = {suite.text: suite for suite in (tunnels.GCM, tunnels.CBC, tunnels.CHACHA, tunnels.PLAIN_ESP, tunnels.OUTER6)}


class Static:
    """One end, running."""

    def __init__(self, host: Host, binary: str, side: int, suite: Suite) -> None:
        """Start it."""
        ends = (A6, B6) if suite.outer6 else (A, B)
        words = [str(side), ends[side], ends[1 - side], suite.encryption, suite.auth, "udp" if suite.udp else "esp"]
        self._process = subprocess.Popen(host.argv(binary, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         text=True, env=environment())  # fmt: skip
        if not self._process.stdout or self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"{binary} did not start")

    def __enter__(self) -> Static:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        counted = self._process.communicate()[0]
        print("   ", " ".join(counted.split()))


def make(lab: Lab, number: int, binary: str, suite: Suite) -> Tunnel:
    """Make a tunnel between two of them."""
    a, b = tunnels.hosts(lab, f"b{number}")
    source, address = tunnels.inner()
    for side, (host, mine, theirs) in enumerate(((a, source, address), (b, address, source))):
        lab.on_exit(Static(host, binary, side, suite))
        host.address(mine, "sec0", peer=theirs)
        host.ip("link", "set", "sec0", "mtu", "1420", "up", "txqueuelen", "1000", "gso_max_size", "60513")  # as secd
    return Tunnel(Path(binary).name, "", suite.text, a, b, "sec0", source, address)


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(prog="python -m bench.builds", description=__doc__)
    parser.add_argument("binaries", nargs="+", metavar="BINARY")
    parser.add_argument("--suite", default=tunnels.GCM.text, choices=SUITES)
    parser.add_argument("--measure", nargs="+", default=["tcp-1-stream-mtu1420"], choices=[each.name for each in FULL])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=0.5)
    parser.add_argument("--retries", type=int, default=0)
    parser.add_argument(
        "--nice", type=int, default=0, help="run everything at this nice value, to lead on a busy machine"
    )
    parser.add_argument("--forwarder", action="store_true", help="compare with the forwarder too")
    options = parser.parse_args()
    os.nice(options.nice)
    console = Console(width=150)
    results = []
    with Lab() as lab:
        entrants = [make(lab, i, binary, SUITES[options.suite]) for i, binary in enumerate(options.binaries)]
        if options.forwarder:
            entrants.append(tunnels.forwarder(lab))
        for tunnel in entrants:
            tunnel.check()
        for measure in [each for each in FULL if each.name in options.measure]:
            contest = Contest(measure, entrants)
            contest.run(options.rounds, scale=options.scale, retries=options.retries,
                        say=lambda text: console.print(text, markup=False))  # fmt: skip
            origin = Origin("", commit())
            readings = [
                "",
                *[name for name in contest.rounds[0][0].more if name in {"cpu_seconds_per_gigabyte", "p99"}],
            ]
            results += [compare(contest, i, 0, origin, name=name, peer=f"{entrants[0].name}: {entrants[i].name}")
                        for name in readings for i in range(1, len(entrants))]  # fmt: skip
            for name in readings[1:]:
                for i, tunnel in enumerate(entrants):
                    console.print(name, tunnel.name, [round(value, 2) for value in contest.values(i, name)])
        measures.close()
    report.show(console, results)


if __name__ == "__main__":
    main()
