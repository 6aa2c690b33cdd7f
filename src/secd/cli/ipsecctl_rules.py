"""`ipsecctl -f`: read a configuration, print it (`-v`), and load it unless only a check was wanted (`-n`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from secd.conf.diagnostics import Diagnostic
from secd.conf.ipsec.compile import Compiled, compile_rules
from secd.conf.ipsec.fifo import IllegalTransformError, add_commands, delete_commands
from secd.conf.ipsec.grammar import Parsed, parse_file
from secd.conf.ipsec.rules import BundleRule, FlowRule, IkeRule, Rule
from secd.conf.ipsec.show import bundle_line, flow_line, sa_lines

if TYPE_CHECKING:
    from secd.cli.ipsecctl import Options
    from secd.conf.iked.credentials import KeyStore

#: What the parent takes as the name of a source.
MAX_SOURCE = 1024
NOT_LOADED = "ipsecctl: ipsec rules not loaded"
SYNTAX_ERROR = "ipsecctl: Syntax error in config file: ipsec rules not loaded"


def rules(options: Options) -> bool:
    """Do what `-f` asks; give False after any error."""
    path = options.file or "-"
    parsed = parse_file(path, options.defines)
    diagnostics = list(parsed.diagnostics.all)
    _print_diagnostics(diagnostics)
    good = _print_rules(parsed, options) if options.verbose and not options.json else True
    verdict, compiled = "", None
    if parsed.diagnostics.errors:
        verdict = SYNTAX_ERROR if parsed.diagnostics.blames_file else NOT_LOADED
    else:
        # -nv shows any file as OpenBSD's ipsecctl does; -n alone tells whether it can be loaded here.
        compiled = compile_rules(
            parsed.rules, refuse_others=not (options.check and options.verbose), open_store=store_of(options)
        )
        _print_diagnostics(compiled.diagnostics.all)
        diagnostics += compiled.diagnostics.all
        if compiled.diagnostics.errors:
            verdict = NOT_LOADED
    if options.json:
        from secd.cli.ipsecctl_json import print_checked

        print_checked(parsed, diagnostics, None if verdict else compiled, with_keys=options.keys)
    if verdict or compiled is None:
        print(verdict, file=sys.stderr)
        return False
    return good and (options.check or _load(options, path, compiled))


def store_of(options: Options) -> Callable[[], KeyStore]:
    """Give what opens isakmpd's keys and certificates; the library is loaded only then."""

    def open_store() -> KeyStore:
        from secd.conf.iked.certificates import Store

        return Store(options.etc / "isakmpd")

    return open_store


def _load(options: Options, path: str, compiled: Compiled) -> bool:
    from secd.control.client import ControlError, load
    from secd.control.messages import Refused

    if options.fifo is not None:
        print("ipsecctl: -i has no effect: secd takes rules over its own socket", file=sys.stderr)
    source = "-" if path == "-" else os.path.realpath(path).encode("utf-8", "backslashreplace").decode()
    if len(source) > MAX_SOURCE:
        print(f"ipsecctl: {path}: a path of {len(source)} characters; {MAX_SOURCE} are possible", file=sys.stderr)
        return False
    try:
        answer = load(source, compiled.connections, compiled.manual, "delete" if options.delete else "replace")
    except ControlError as error:
        print(f"ipsecctl: {error}", file=sys.stderr)
        return False
    if isinstance(answer, Refused):
        for message in answer.errors:
            print(message, file=sys.stderr)
        print(NOT_LOADED, file=sys.stderr)
        return False
    for warning in answer.warnings:
        print(f"ipsecctl: {warning}", file=sys.stderr)
    return True


# -- printing ---------------------------------------------------------------------------------------------


def _print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print errors and warnings as OpenBSD has them; a person at a terminal is also told what was expected."""
    hints = sys.stderr.isatty()
    for diagnostic in diagnostics:
        print(diagnostic, file=sys.stderr)
        if diagnostic.hint and hints:
            print(f"    {diagnostic.hint}", file=sys.stderr)


def _print_rules(parsed: Parsed, options: Options) -> bool:
    """Print macros and rules in the order of the file; give False when isakmpd could not be told a rule."""
    good = True
    numbered = options.verbose > 1
    definitions = iter(parsed.definitions)
    definition = next(definitions, None)
    lines: list[str] = []
    for number, rule in enumerate((*parsed.rules, None)):
        while definition and definition.before <= number:
            lines.append(f'{definition.name} = "{definition.value}"')
            definition = next(definitions, None)
        if rule is None:
            break
        prefix = f"@{number} " if numbered else ""
        try:
            lines.extend(prefix + line for line in _rule_lines(rule, options))
        except IllegalTransformError as error:
            print(f"ipsecctl: illegal transform {error}", file=sys.stderr)
            good = False
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if numbered:
        for name in parsed.unused:
            print(f"warning: macro '{name}' not used", file=sys.stderr)
    return good


def _rule_lines(rule: Rule, options: Options) -> Iterator[str]:
    if isinstance(rule, IkeRule):
        yield from delete_commands(rule) if options.delete else add_commands(rule)
    elif isinstance(rule, FlowRule):
        yield flow_line(rule)
    elif isinstance(rule, BundleRule):
        yield bundle_line(rule)
    else:
        yield sa_lines(rule, with_keys=options.keys)
