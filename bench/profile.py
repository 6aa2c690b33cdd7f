"""Where the processor time goes: `python -m bench.profile BINARY [--suite ..] [--measure ..] [--seconds N]`.

BINARY is a copy of `engine/target/release/examples/static`.  perf(1) samples all processes of both hosts by the
scheduler's clock; shown is the share of each symbol, kernel and engine together.
"""

from __future__ import annotations

import argparse
import subprocess

from bench import measures, tunnels
from bench.__main__ import FULL
from bench.builds import SUITES, make
from secd.lab.commands import environment
from secd.lab.namespaces import Lab


def main() -> None:
    """Profile."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("binary")
    parser.add_argument("--suite", default=tunnels.GCM.text, choices=SUITES)
    parser.add_argument("--measure", default=FULL[0].name, choices=[each.name for each in FULL])
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--data", default="/tmp/secd-perf.data")
    parser.add_argument("--graph", action="store_true", help="record who called")
    options = parser.parse_args()
    with Lab() as lab:
        tunnel = make(lab, 0, options.binary, SUITES[options.suite])
        tunnel.check()
        measures.servers(tunnel)
        everybody = ",".join(map(str, [*tunnel.a.pids(), *tunnel.b.pids()]))
        perf = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4000", *["-g"] * options.graph, "-p", everybody,
                "-o", options.data]  # fmt: skip
        recorder = subprocess.Popen(perf, env=environment())
        print(next(each for each in FULL if each.name == options.measure).take(tunnel, options.seconds))
        recorder.terminate()
        recorder.wait()
        measures.close()
    report = ["perf", "report", "-i", options.data, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.7",
              "--sort", "comm,symbol"]  # fmt: skip
    print(subprocess.run(report, capture_output=True, text=True, check=False, env=environment()).stdout)


if __name__ == "__main__":
    main()
