"""`ikectl --json`: the same facts as data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from secd.conf.diagnostics import Diagnostic
from secd.conf.iked.compile import Compiled
from secd.conf.iked.grammar import Parsed
from secd.conf.iked.unparse import parsed_text


def print_json(value: Any) -> None:
    """Print `value` as indented JSON, in ASCII: a file may have held octets that are no UTF-8."""
    sys.stdout.write(f"{json.dumps(msgspec.to_builtins(value), indent=2)}\n")


def print_checked(
    parsed: Parsed, diagnostics: Iterable[Diagnostic], compiled: Compiled | None, *, with_keys: bool
) -> None:
    """Print a configuration's policies, what they come to (nothing after an error), and what was found wrong."""
    print_json(
        {
            "policies": list(parsed_text(parsed, with_keys=with_keys)),
            "connections": [rule.connection for rule in compiled.connections] if compiled else [],
            "behaviour": compiled.behaviour if compiled else None,
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
