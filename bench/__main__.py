"""`python -m bench`: build what is needed, make every tunnel, measure in interleaved rounds, report.

python -m bench              everything, some 25 minutes: build/bench/{results.json,*.png,*.svg}
python -m bench --quick      the ratios that matter, under three minutes: build/bench/quick.json
python -m bench --only tcp-1-stream-mtu1420 --rounds 5 --against forwarder
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench import measures, report, tools, tunnels
from bench.machine import commit
from bench.measures import Measure
from bench.rounds import Contest, Origin, Result, best, compare
from bench.tunnels import Tunnel
from secd.lab.commands import LabError
from secd.lab.namespaces import Lab

OURS = [tunnels.GCM, tunnels.CBC, tunnels.CHACHA, tunnels.PLAIN_ESP, tunnels.OUTER6, tunnels.INNER6]
PEERS = {
    "wireguard-go": tunnels.wireguard, "strongswan-libipsec": tunnels.libipsec, "openvpn": tunnels.openvpn,
    "forwarder": tunnels.forwarder,
}  # fmt: skip
FULL = [
    measures.TCP1,
    measures.TCP1_CUBIC,
    measures.TCP4,
    measures.TCP1_1280,
    measures.TCP4_1280,
    measures.FLOOD,
    measures.ECHO,
    measures.PING,
    measures.FIRST,
]
QUICK = [measures.TCP1, measures.TCP1_1280, measures.FLOOD, measures.ECHO, measures.PING, measures.FIRST]
#: The one that compares address families, whose packets must fit into 1500 octets whatever is around them.
FAMILIES = measures.TCP1_1280
BEST = "best peer"


class Bench:
    """A run: tunnels in, contests and results out."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        """Nothing is made yet."""
        self._options, self._console = options, console
        self._started = time.monotonic()
        self.origin = Origin("python -m bench " + shlex.join(sys.argv[1:]), commit())
        self.contests: list[Contest] = []
        self.results: list[Result] = []

    def say(self, text: str) -> None:
        """Say how far it is."""
        self._console.print(f"{time.monotonic() - self._started:6.1f} s  {text}", highlight=False, markup=False)

    def run(self, lab: Lab) -> None:
        """Make the tunnels and measure."""
        ours, self._negotiated = tunnels.secd(lab, OURS)
        theirs = [
            make(lab) for name, make in PEERS.items() if not self._options.against or name in self._options.against
        ]
        for tunnel in [*ours, self._negotiated, *theirs]:
            tunnel.check()
        self.say(f"{len(ours) + 1 + len(theirs)} tunnels are up")
        chosen = QUICK if self._options.quick else FULL
        for measure in [each for each in chosen if not self._options.only or each.name in self._options.only]:
            self._contest(measure, ours, theirs)
        measures.close()

    def _contest(self, measure: Measure, ours: Sequence[Tunnel], theirs: Sequence[Tunnel]) -> None:
        by_suite = {tunnel.suite: tunnel for tunnel in ours}
        main = by_suite[tunnels.GCM.text]
        entrants = [main, *theirs]
        if measure is measures.TCP1:
            entrants += [by_suite[suite.text] for suite in (tunnels.CBC, tunnels.CHACHA, tunnels.PLAIN_ESP)]
        if measure is FAMILIES:
            families = [by_suite[suite.text] for suite in (tunnels.OUTER6, tunnels.INNER6)]
            entrants = [main, *families] if self._options.quick else [main, *theirs, *families]
        if measure is measures.FIRST:
            entrants = [self._negotiated, *[each for each in theirs if each.up]]
        if self._options.suites:
            entrants = [each for each in entrants if each.name != "secd" or each.suite in self._options.suites]
        contest = Contest(measure, entrants)
        contest.run(self._options.rounds, scale=self._options.scale, retries=self._options.retries, say=self.say)
        self.contests.append(contest)
        self._compare(contest)

    def _compare(self, contest: Contest) -> None:
        names = [tunnel.name for tunnel in contest.tunnels]
        mine = [i for i, name in enumerate(names) if name == "secd"]
        peers = [i for i, name in enumerate(names) if name not in {"secd", "forwarder"}]
        further = list(contest.rounds[0][0].more)
        for i in mine[:1]:
            for j, name in enumerate(names):
                if name != "secd":
                    self.results.append(compare(contest, i, j, self.origin))
                    wanted = [one for one in further if one in {"p99", "cpu_seconds_per_gigabyte"}]
                    self.results += [compare(contest, i, j, self.origin, name=one) for one in wanted]
            if peers:
                self.results.append(compare(contest, i, best(contest, peers), self.origin, peer=BEST))
        for i in mine[1:]:
            if "6" in contest.tunnels[i].suite.rpartition("/")[2]:
                self.results.append(compare(contest, i, mine[0], self.origin, peer="secd, IPv4"))
            else:
                against = [j for j, name in enumerate(names) if name == "forwarder"]
                self.results += [compare(contest, i, j, self.origin) for j in against]


def main() -> int:
    """Run the benchmark; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="under three minutes, into build/bench/quick.json")
    parser.add_argument("--rounds", type=int, help="interleaved rounds, 5 at least for a number that is told")
    parser.add_argument("--scale", type=float, help="times the usual duration of a sample")
    parser.add_argument("--retries", type=int, help="how often a disturbed sample is taken again")
    parser.add_argument("--only", nargs="+", metavar="MEASURE", help="these measures alone")
    parser.add_argument("--against", nargs="+", metavar="PEER", choices=PEERS, help="these peers alone")
    parser.add_argument("--suites", nargs="+", metavar="SUITE", help="of secd these suites alone: aes-256-gcm/udp ...")
    parser.add_argument("--output", type=Path, default=tools.BUILD, metavar="DIRECTORY")
    options = parser.parse_args()
    options.rounds = options.rounds or (5 if options.quick else 7)
    options.scale = options.scale or (0.35 if options.quick else 1.0)
    options.retries = (0 if options.quick else 3) if options.retries is None else options.retries
    console = Console(width=None if sys.stdout.isatty() else 140)
    bench = Bench(options, console)
    try:
        tools.prepare()
        with Lab() as lab:
            bench.run(lab)
    except LabError as error:
        console.print(f"bench: {error}", style="red", markup=False)
        return 1
    report.show(console, bench.results)
    if options.quick:
        report.write_quick(options.output / "quick.json", bench.results)
    else:
        report.write_full(options.output / "results.json", bench.contests, bench.results, {})
        if not report.plot(options.output, bench.contests):
            console.print("no plots: matplotlib is not installed (pip install matplotlib)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
