"""Start iked: import everything, give everything up, run.

    python -I -m secd.iked --family FD --listen FD --seam FD --user UID --group GID

Started by the parent alone, with sockets for descriptors.
"""

from __future__ import annotations

import argparse
import asyncio
import encodings.idna  # noqa: F401 (imported by the standard library when it is first needed: too late)
import os
import socket
import sys

from secd.ike.speaker import Speaker
from secd.iked import sandbox
from secd.iked.daemon import Daemon, Sockets
from secd.iked.machine import MachineFactory
from secd.iked.rehearsal import rehearse
from secd.ipc.privileges import Outcome
from secd.ipc.title import show_as


def main() -> int:
    """Run iked; the exit status is for the parent's log."""
    arguments = _parser().parse_args()
    sockets = Sockets(*(socket.socket(fileno=fd) for fd in (arguments.family, arguments.listen, arguments.seam)))
    for sock in (sockets.family, sockets.listener, sockets.seam):
        sock.set_inheritable(False)
    show_as("secd: iked")
    started_by = os.getuid()
    rehearse()
    with asyncio.Runner() as runner:
        runner.get_loop()  # its own descriptors have to be made before the sandbox
        try:
            outcomes = sandbox.enter(arguments.user, arguments.group)
        except sandbox.SandboxError as error:
            print(f"not started: {error}", file=sys.stderr)
            return 1
        if arguments.probe_sandbox:
            _report(outcomes)
            return 0
        runner.run(_run(Speaker, sockets, frozenset((0, started_by)), outcomes, verbose=arguments.verbose))
    return 0


async def _run(
    factory: MachineFactory, sockets: Sockets, allowed: frozenset[int], outcomes: list[Outcome], *, verbose: bool
) -> None:
    await Daemon(factory, sockets, outcomes, allowed=allowed, verbose=verbose).run()


def _report(outcomes: list[Outcome]) -> None:
    """Print what the sandbox is made of and what it refuses, for the test."""
    for outcome in outcomes:
        print("sandbox", "on" if outcome.done else "off", outcome.detail, sep="\t")
    for name, result in sandbox.probe().items():
        print("probe", name, result, sep="\t")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iked", description="Started by secd, not by hand.")
    for name, meaning in (
        ("family", "socket to the parent"),
        ("listen", "listening iked.sock"),
        ("seam", "socket to the data plane"),
    ):
        parser.add_argument(f"--{name}", type=int, required=True, metavar="FD", help=meaning)
    parser.add_argument("--user", type=int, required=True, metavar="UID", help="whom to become")
    parser.add_argument("--group", type=int, required=True, metavar="GID", help="whom to become")
    parser.add_argument("--verbose", action="store_true", help="send debug lines to the parent too")
    parser.add_argument("--probe-sandbox", action="store_true", help="try what the sandbox must refuse, report, end")
    return parser


if __name__ == "__main__":
    sys.exit(main())
