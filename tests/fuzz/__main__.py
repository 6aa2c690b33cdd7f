"""Fuzz for a time or a number of inputs, and say what came of it.

    python tests/fuzz [TARGET..] [--seconds N | --inputs N] [--seed N] [--json FILE]
    python tests/fuzz keyed-ikev2 --round N                     # play one round of a keyed fuzzer again
    coverage run --source src/secd/ike/v2 tests/fuzz keyed-ikev2    # and `coverage report`: which lines are reached

Every target runs alone, one after the other; `--seconds` and `--inputs` are for each.  A failure ends with status 1
and says which seed shows it again.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), *(str(Path(__file__).parents[1] / each) for each in ("pair", ".."))]

from keyed import play  # noqa: E402
from scene import Attack  # noqa: E402
from targets import ALL, ROUNDS, Target  # noqa: E402


def main() -> int:
    """Run; the exit status is 0 when nothing gave way."""
    arguments = _parser().parse_args()
    if arguments.round is not None:
        name = arguments.targets[0] if arguments.targets else "keyed"
        play(arguments.round, Attack(), arguments.budget, ROUNDS[name])
        print(f"{name}, round {arguments.round}: nothing gave way")
        return 0
    results = []
    for name in arguments.targets or ALL:
        result = run(ALL[name](), arguments)
        results.append(result)
        print(line(result), flush=True)
        if result["failure"]:
            print(result["failure"], file=sys.stderr)
    print(f"{sum(each['inputs'] for each in results)} inputs in {sum(each['seconds'] for each in results):.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(each["failure"] for each in results))


def run(target: Target, arguments: argparse.Namespace) -> dict[str, Any]:
    """Put inputs through one target."""
    failure, inputs, seed = "", 0, arguments.seed
    warm = Random(seed ^ 0x5EED)
    for _ in range(3):  # what is loaded and made once does not count as growth
        target.once(warm)
    gc.collect()
    before = rss()
    began = time.monotonic()
    while not failure and not _enough(inputs, time.monotonic() - began, arguments):
        seed += 1
        try:
            inputs += target.once(Random(seed)) or 1
        except Exception as error:
            failure = f"{target.name}: seed {seed}: {error}\n{traceback.format_exc(limit=-8)}"
    seconds = time.monotonic() - began
    gc.collect()
    return {"target": target.name, "inputs": inputs, "seconds": seconds, "rss_before": before, "rss_after": rss(),
            "notes": target.notes(), "failure": failure}  # fmt: skip


def line(result: dict[str, Any]) -> str:
    """Give a result in a line."""
    rate = result["inputs"] / max(result["seconds"], 0.001)
    text = (f"{result['target']:13} {result['inputs']:9} inputs {rate:8.0f}/s  "
            f"RSS {result['rss_before']:.1f} -> {result['rss_after']:.1f} MiB")  # fmt: skip
    return text + (f"\n    {result['notes']}" if result["notes"] else "")


def rss() -> float:
    """Give what this process holds of the memory, in MiB."""
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith("VmRSS:"):
            return int(entry.split()[1]) / 1024
    return 0.0


def _enough(inputs: int, seconds: float, arguments: argparse.Namespace) -> bool:
    return inputs >= arguments.inputs if arguments.inputs else seconds >= arguments.seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("targets", nargs="*", choices=[*ALL, []], help=f"of {', '.join(ALL)}; all without one")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="where the seeds begin")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--round", type=int, help="play this round of a keyed fuzzer")
    parser.add_argument("--budget", type=int, default=1500, help="inputs of such a round")
    return parser


if __name__ == "__main__":
    sys.exit(main())
