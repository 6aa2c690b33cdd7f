"""The `secd` command: start an instance of the daemon, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from pathlib import Path

from secd import __version__
from secd.parent.log import Log
from secd.parent.preflight import missing
from secd.parent.rundir import RunDirectory, RunDirectoryError
from secd.parent.supervisor import Options, Supervisor


def main(argv: list[str] | None = None) -> int:
    """Run secd; the exit status says whether it could be started."""
    arguments = _parser().parse_args(argv)
    options = Options(
        verbose=arguments.v,
        boot=not arguments.no_boot,
        etc=arguments.etc.absolute(),
        ike_port=arguments.ike_port,
        natt_port=arguments.natt_port,
        workers=arguments.workers,
        powersave=arguments.powersave,
        patience=arguments.patience,
    )
    if options.boot and not options.etc.is_dir():
        return _fail(f"--etc {arguments.etc}: no such directory")
    if arguments.n:
        if _check(options):
            return 1
        print("secd: this machine lacks nothing")
        return 0
    try:
        # First of all: a second instance is the likeliest cause of a port in use.
        directory = RunDirectory()
    except RunDirectoryError as error:
        return _fail(str(error))
    try:
        if _check(options):
            return 1
        # Secrets are in this memory, and session keys in the children's.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each interface takes one here, and one for a queue
        asyncio.run(_run(options, Log(verbose=arguments.v, timestamps=arguments.d)))
    except OSError as error:
        return _fail(f"{error.filename or 'cannot start'}: {error.strerror or error}")
    finally:
        directory.close()
    return 0


async def _run(options: Options, log: Log) -> None:
    await Supervisor(options, log).run()


def _check(options: Options) -> int:
    """Say what is missing on this machine."""
    lines = missing(options.ike_port, options.natt_port)
    for line in lines:
        _fail(line)
    return 1 if lines else 0


def _fail(message: str) -> int:
    print(f"secd: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="secd",
        description="Route-based IPsec in the manner of OpenBSD's sec(4).  Runs in the foreground; SIGHUP loads the "
        "boot files again, SIGTERM says goodbye to the peers and ends.",
        epilog="SECD_RUNDIR names the run directory of this instance (default /run/secd).",
    )
    parser.add_argument("-d", action="store_true", help="debug: put the time of day before each log line")
    parser.add_argument("-n", action="store_true", help="only check whether something is missing on this machine")
    parser.add_argument("-v", action="store_true", help="log more")
    parser.add_argument("--version", action="version", version=f"secd {__version__}")
    parser.add_argument("--no-boot", action="store_true", help="load no ipsec.conf, iked.conf, hostname.secN")
    parser.add_argument("--etc", type=Path, default=Path("/etc"), metavar="DIR", help="where those are (default /etc)")
    parser.add_argument("--ike-port", type=_port, default=500, metavar="N", help="UDP port of IKE (default 500)")
    parser.add_argument("--natt-port", type=_port, default=4500, metavar="N", help="of IKE and ESP (default 4500)")
    parser.add_argument(
        "--patience", type=_seconds, default=30.0, metavar="N",
        help="seconds without a sign of life after which iked is killed and started again (default 30; 0: never)",
    )  # fmt: skip
    parser.add_argument(
        "--powersave", action="store_true", help="let idle processors sleep, whatever it costs packets in time"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="packet threads (default: one a core)")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is not 0 to 86400 seconds")
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"{text} is no UDP port")
    return port


if __name__ == "__main__":
    sys.exit(main())
