"""ikectl(8): load iked.conf(5) into secd, look at IKE SAs, and keep a small certificate authority.

Commands, output, messages and exit codes are OpenBSD's; a command's words may be shortened as there.  Imports wait
until they are needed.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from secd.cli.output import CommandError, complain

USAGE = """usage: ikectl [-q] [-s socket] [--etc dir] [--json] command [arg ...]
       active | passive | couple | decouple | monitor
       check [-kv] [-D macro=value] [file] | load [-D macro=value] file | reload
       log brief | log verbose
       reset all | ca | policy | sa | user | id ikeid
       show sa | stats | certstore | ca [name certificates [host]]
       ca name create | delete | export | install | show | certificate ... | key ...   (see ikectl(8))"""

COMMANDS = (
    "active", "ca", "check", "couple", "decouple", "load", "log", "monitor", "passive", "reload", "reset", "show",
)  # fmt: skip


class UsageError(Exception):
    """The command line cannot be meant; the text, if any, says what is wrong with it."""


class Options(Struct):
    """What stands before the command."""

    quiet: bool = False  # -q: ask nothing
    json: bool = False
    etc: Path = Path("/etc")
    words: list[str] = []


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when all went well."""
    _tolerate_odd_octets()
    try:
        options = parse_options(sys.argv[1:] if argv is None else argv)
        return 0 if run(options) else 1
    except UsageError as error:
        if str(error):
            print(f"ikectl: {error}", file=sys.stderr)
        print(USAGE, file=sys.stderr)
        return 1
    except CommandError as error:
        complain("ikectl", str(error))
        return error.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it once more
        return 1
    except KeyboardInterrupt:
        return 130


def parse_options(arguments: Sequence[str]) -> Options:
    """Understand what stands before the command."""
    try:
        given, words = getopt.getopt(list(arguments), "qs:", ["json", "etc=", "help"])
    except getopt.GetoptError as error:
        what = "option requires an argument" if "requires" in error.msg else "unknown option"
        raise UsageError(f"{what} -- {error.opt}") from error
    options = Options(words=words)
    if len(words) > 1 and words[-1] == "--json":  # the other commands take it behind their words
        given.append((words.pop(), ""))
    for option, value in given:
        if option == "-q":
            options.quiet = True
        elif option == "-s":
            # Each instance has its sockets in one directory; any of them names it.
            os.environ["SECD_RUNDIR"] = os.path.dirname(value) or "."
        elif option == "--json":
            options.json = True
        elif option == "--etc":
            options.etc = Path(value)
        else:
            raise UsageError
    if not words:
        raise UsageError
    return options


def run(options: Options) -> bool:
    """Do what the words say."""
    command, rest = keyword(options.words[0], COMMANDS), options.words[1:]
    if command in ("check", "load", "reload"):
        from secd.cli.ikectl_conf import run_conf

        return run_conf(options, command, rest)
    if command == "show":
        from secd.cli.ikectl_show import run_show

        return run_show(options, rest)
    if command == "ca":
        from secd.cli.ikectl_ca import run_ca

        return run_ca(options, rest)
    from secd.cli.ikectl_orders import run_order

    return run_order(options, command, rest)


def keyword(word: str, known: Sequence[str]) -> str:
    """Give the one of `known` that `word` is, or is the beginning of."""
    if word in known:
        return word
    found = [each for each in known if word and each.startswith(word)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"unknown argument: {word}; valid: {' '.join(known)}")
    raise UsageError(f"ambiguous argument: {word}; it could be {' or '.join(found)}")


def no_more(words: Sequence[str]) -> None:
    """Refuse what is left over."""
    if words:
        raise UsageError(f"superfluous argument: {words[0]}")


def _tolerate_odd_octets() -> None:
    """Print what a file said as it stood there, also where it is not UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            reconfigure(errors="surrogateescape" if stream is sys.stdout else "backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
