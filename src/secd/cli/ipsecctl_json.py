"""`ipsecctl --json`: the same facts as data."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from secd.conf.compile import Compiled
from secd.conf.diagnostics import Diagnostic
from secd.conf.grammar import Parsed
from secd.conf.unparse import rules_text
from secd.sadb.messages import SA, Entry, FromServer


def print_json(value: Any) -> None:
    """Print `value` as indented JSON."""
    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
    sys.stdout.write(f"{text}\n")


def print_checked(
    parsed: Parsed, diagnostics: Iterable[Diagnostic], compiled: Compiled | None, *, with_keys: bool
) -> None:
    """Print a configuration's rules, what they come to (nothing after an error), and what was found wrong with it."""
    print_json(
        {
            "rules": list(rules_text(parsed.rules, with_keys=with_keys)),
            "connections": [rule.connection for rule in compiled.connections] if compiled else [],
            "manual": [
                {"origin": rule.origin, "sa": rule.sa if with_keys else _without_keys(rule.sa)}
                for rule in (compiled.manual if compiled else ())
            ],
            "diagnostics": [
                {
                    "file": diagnostic.origin.file if diagnostic.origin else None,
                    "line": diagnostic.origin.line if diagnostic.origin else None,
                    "severity": diagnostic.severity,
                    "message": diagnostic.message,
                    "hint": diagnostic.hint,
                }
                for diagnostic in diagnostics
            ],
        }
    )


def print_sas(what: str, entries: Iterable[Entry], *, with_keys: bool) -> None:
    """Print the SAs; there never are flows."""
    shown: dict[str, Any] = {}
    if what in ("flow", "all"):
        shown["flows"] = []
    if what in ("sa", "all"):
        shown["sas"] = [entry if with_keys else replace(entry, sa=_without_keys(entry.sa)) for entry in entries]
    print_json(shown)


def json_line(event: FromServer) -> str:
    """Give an event as one line of JSON; its `type` names it."""
    return msgspec.json.encode(event, enc_hook=str).decode()


def _without_keys(sa: SA) -> SA:
    return replace(sa, encryption_key=b"", auth_key=b"")
