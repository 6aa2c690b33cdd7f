"""`ipsecctl --json`: the same facts as data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from secd.conf.diagnostics import Diagnostic
from secd.conf.ipsec.compile import Compiled
from secd.conf.ipsec.grammar import Parsed
from secd.conf.ipsec.unparse import rules_text
from secd.sadb.messages import SA, Entry, FromServer


def print_json(value: Any) -> None:
    """Print `value` as indented JSON, in ASCII: a file may have held octets that are no UTF-8."""
    sys.stdout.write(f"{json.dumps(msgspec.to_builtins(value), indent=2)}\n")


def print_checked(
    parsed: Parsed, diagnostics: Iterable[Diagnostic], compiled: Compiled | None, *, with_keys: bool
) -> None:
    """Print a configuration's rules, what they come to (nothing after an error), and what was found wrong with it."""
    print_json(
        {
            "rules": list(rules_text(parsed.rules, with_keys=with_keys)),
            "connections": [rule.connection for rule in compiled.connections] if compiled else [],
            "manual": [
                {"origin": rule.origin, "sa": _sa(rule.sa, with_keys=with_keys)}
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
        shown["sas"] = [_entry(entry, with_keys=with_keys) for entry in entries]
    print_json(shown)


def json_line(event: FromServer) -> str:
    """Give an event as one line of JSON; its `type` names it."""
    return json.dumps(msgspec.to_builtins(event))


def _entry(entry: Entry, *, with_keys: bool) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(entry)
    for framing in ("type", "seq"):
        facts.pop(framing, None)
    return {**facts, "sa": _sa(entry.sa, with_keys=with_keys)}


def _sa(sa: SA, *, with_keys: bool) -> dict[str, Any]:
    """Give an SA; its keys, in hexadecimal, only on demand."""
    facts: dict[str, Any] = msgspec.to_builtins(sa)
    for field, key in (("encryption_key", sa.encryption_key), ("auth_key", sa.auth_key)):
        facts[field] = key.hex()
        if not with_keys:
            del facts[field]
    return facts
