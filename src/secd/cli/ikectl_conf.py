"""`ikectl check`, `load` and `reload`: iked.conf(5) read, printed, and loaded."""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from secd.cli.ikectl import Options, UsageError, no_more
from secd.conf.diagnostics import Diagnostic
from secd.conf.iked.compile import Compiled, compile_policies
from secd.conf.iked.grammar import Parsed, parse_file

if TYPE_CHECKING:
    from secd.conf.iked.credentials import KeyStore

#: What the parent takes as the name of a source.
MAX_SOURCE = 1024
NOT_LOADED = "ikectl: policies not loaded"
SYNTAX_ERROR = "ikectl: syntax error in the configuration file: policies not loaded"


class _Wanted(Struct):
    """The command's own words."""

    path: str
    verbose: bool = False
    keys: bool = False
    defines: tuple[tuple[str, str], ...] = ()


def run_conf(options: Options, command: str, words: Sequence[str]) -> bool:
    """Do `command`."""
    wanted = _wanted(options, command, words)
    parsed, compiled = read(wanted.path, options, wanted.defines)
    diagnostics = [*parsed.diagnostics.all, *(compiled.diagnostics.all if compiled else ())]
    print_diagnostics(diagnostics)
    good = compiled is not None and not compiled.diagnostics.errors
    if command == "check":
        return _print_checked(options, wanted, parsed, compiled, diagnostics, good=good)
    if compiled is None or not good:
        print(SYNTAX_ERROR if parsed.diagnostics.blames_file else NOT_LOADED, file=sys.stderr)
        return False
    return load(wanted.path, compiled)


def read(path: str, options: Options, defines: Sequence[tuple[str, str]] = ()) -> tuple[Parsed, Compiled | None]:
    """Read and compile a configuration; what does not parse is not compiled."""
    parsed = parse_file(path, defines)
    if parsed.diagnostics.errors:
        return parsed, None
    return parsed, compile_policies(parsed, store_of(options))


def load(path: str, compiled: Compiled) -> bool:
    """Hand a configuration to secd."""
    from secd.control.client import ControlError
    from secd.control.client import load as load_rules
    from secd.control.messages import Refused

    source = "-" if path == "-" else os.path.realpath(path).encode("utf-8", "backslashreplace").decode()
    if len(source) > MAX_SOURCE:
        print(f"ikectl: {path}: a path of {len(source)} characters; {MAX_SOURCE} are possible", file=sys.stderr)
        return False
    try:
        answer = load_rules(source, compiled.connections, (), behaviour=compiled.behaviour)
    except ControlError as error:
        print(f"ikectl: {error}", file=sys.stderr)
        return False
    if isinstance(answer, Refused):
        for message in answer.errors:
            print(message, file=sys.stderr)
        print(NOT_LOADED, file=sys.stderr)
        return False
    for warning in answer.warnings:
        print(f"ikectl: {warning}", file=sys.stderr)
    return True


def store_of(options: Options) -> Callable[[], KeyStore]:
    """Give what opens the keys and certificates; the library is loaded only then."""

    def open_store() -> KeyStore:
        from secd.conf.iked.certificates import Store

        return Store(options.etc / "iked")

    return open_store


def print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print errors and warnings as OpenBSD has them; a person at a terminal is also told what was expected."""
    hints = sys.stderr.isatty()
    for diagnostic in diagnostics:
        print(diagnostic, file=sys.stderr)
        if diagnostic.hint and hints:
            print(f"    {diagnostic.hint}", file=sys.stderr)


def _wanted(options: Options, command: str, words: Sequence[str]) -> _Wanted:
    try:
        given, rest = getopt.gnu_getopt(list(words), "vkD:" if command == "check" else "D:")
    except getopt.GetoptError as error:
        raise UsageError(f"{command}: {error.msg}") from error
    wanted = _Wanted(str(options.etc / "iked.conf"))
    for option, value in given:
        if option == "-D":
            wanted.defines += (_definition(value),)
        elif option == "-v":
            wanted.verbose = True
        else:
            wanted.keys = True
    if command == "load" and not rest:
        raise UsageError("missing argument: load FILE")
    if command != "reload" and rest:
        wanted.path = rest.pop(0)
    no_more(rest)
    return wanted


def _definition(value: str) -> tuple[str, str]:
    name, equals, words = value.partition("=")
    if not equals or not name:
        raise UsageError(f"could not parse macro definition {value}")
    return name, words


def _print_checked(
    options: Options,
    wanted: _Wanted,
    parsed: Parsed,
    compiled: Compiled | None,
    diagnostics: Iterable[Diagnostic],
    *,
    good: bool,
) -> bool:
    if options.json:
        from secd.cli.ikectl_json import print_checked

        print_checked(parsed, diagnostics, compiled if good else None, with_keys=wanted.keys)
        return good
    if wanted.verbose and not parsed.diagnostics.errors:
        from secd.conf.iked.unparse import parsed_text

        sys.stdout.writelines(f"{line}\n" for line in parsed_text(parsed, with_keys=wanted.keys))
    if good:
        print("configuration OK", file=sys.stderr if wanted.verbose else sys.stdout)
    return good
