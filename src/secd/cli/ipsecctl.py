"""ipsecctl(8): load ipsec.conf(5) into secd, and look at the SAs.

Options, output, messages and exit codes are OpenBSD's.  Imports wait until they are needed: checking a file must not
load what only a running secd needs.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

USAGE = """usage: ipsecctl [-cdFkmnv] [-D macro=value] [-f file] [-i fifo] [-s modifier]
       with -n, -s or -m also --json: the same as data
       with -f also --etc DIR: where isakmpd/ with keys and certificates is (default /etc)"""
MODIFIERS = ("flow", "sa", "all")


class UsageError(Exception):
    """The command line cannot be meant; the text, if any, says what is wrong with it."""


class Options(Struct):
    """The command line."""

    collapse: bool = False  # -c; there are no flows to collapse
    delete: bool = False
    flush: bool = False
    keys: bool = False
    monitor: bool = False
    check: bool = False  # -n
    json: bool = False
    verbose: int = 0
    file: str | None = None
    fifo: str | None = None
    show: str | None = None
    defines: tuple[tuple[str, str], ...] = ()
    etc: Path = Path("/etc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all went well."""
    _tolerate_odd_octets()
    try:
        options = parse_options(sys.argv[1:] if argv is None else argv)
    except UsageError as error:
        if str(error):
            print(f"ipsecctl: {error}", file=sys.stderr)
        print(USAGE, file=sys.stderr)
        return 1
    try:
        return 0 if _run(options) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it once more
        return 1
    except KeyboardInterrupt:
        return 130


def parse_options(arguments: Sequence[str]) -> Options:
    """Understand the command line."""
    options = Options()
    try:
        given, rest = getopt.getopt(list(arguments), "cD:dFf:i:kmns:v", ["json", "etc=", "help"])
    except getopt.GetoptError as error:
        missing = "requires" in error.msg
        what = "option requires an argument" if missing else "unknown option"
        raise UsageError(f"{what} -- {error.opt}") from error
    if not given and not rest:
        raise UsageError
    flags = {
        "-c": "collapse", "-d": "delete", "-F": "flush", "-k": "keys", "-m": "monitor", "-n": "check", "--json": "json",
    }  # fmt: skip
    for option, value in given:
        if option in flags:
            setattr(options, flags[option], True)
        elif option == "-v":
            options.verbose += 1
        elif option == "-f":
            options.file = value
        elif option == "-i":
            options.fifo = value
        elif option == "-s":
            options.show = _modifier(value)
        elif option == "--etc":
            options.etc = Path(value)
        elif option == "-D":
            options.defines += (_definition(value),)
        else:
            raise UsageError
    if rest:
        raise UsageError(f"unknown command line argument: {rest[0]} ...")
    return options


def _modifier(value: str) -> str:
    for modifier in MODIFIERS:
        if value and modifier.startswith(value):
            return modifier
    raise UsageError(f"Unknown show modifier '{value}'")


def _definition(value: str) -> tuple[str, str]:
    name, equals, words = value.partition("=")
    if not equals or not name:
        raise UsageError(f"could not parse macro definition {value}")
    return name, words


def _run(options: Options) -> bool:
    """Do what was asked, in OpenBSD's order: flush, load, show, monitor."""
    good = True
    if options.flush and not options.check:
        from secd.cli.ipsecctl_sad import flush

        good = flush()
    if options.file is not None:
        from secd.cli.ipsecctl_rules import rules

        good = rules(options) and good
    if options.show is not None:
        from secd.cli.ipsecctl_sad import show

        good = show(options.show, keys=options.keys, verbose=options.verbose, as_json=options.json) and good
    if options.monitor:
        from secd.cli.ipsecctl_sad import monitor

        good = monitor(as_json=options.json) and good
    return good


def _tolerate_odd_octets() -> None:
    """Print what a file said as it stood there, also where it is not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="surrogateescape" if stream is sys.stdout else "backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
