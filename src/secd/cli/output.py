"""What the commands print: lines, tables, JSON, and errors of one line.  Nothing here is slow to import."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import msgspec

#: Exit codes of every command: done or all well; not done or not all well; not understood.
OK, FAILED, USAGE = 0, 1, 2

_STYLES = {"good": "32", "bad": "31", "doubt": "33", "title": "1", "quiet": "2"}


class CommandError(Exception):
    """A command cannot go on; each line of the text is printed after its name."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        """`code` becomes the exit code."""
        super().__init__(message)
        self.code = code


class Parser(argparse.ArgumentParser):
    """argparse whose errors take one line."""

    def __init__(self, program: str, description: str, epilog: str | None = None) -> None:
        """Make the parser of `program`, for example `sec status`."""
        super().__init__(
            prog=program,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where the usage is found."""
        raise CommandError(f"{message} (see `{self.prog} --help`)", USAGE)


def clean(text: str) -> str:
    """Make text from elsewhere safe for a terminal: what cannot be printed becomes `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


def complain(program: str, message: str) -> None:
    """Write each line of `message` to standard error, after the program's name."""
    for line in message.splitlines() or [""]:
        print(f"{program}: {clean(line)}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print structs, lists and dicts as JSON."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def style(text: str, name: str) -> str:
    """Colour `text` when standard output is a terminal and nobody forbids it (https://no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Align rows under their header; the last column is left as long as it is."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    ]


def duration(seconds: float) -> str:
    """Write seconds with two units at most: `45s`, `12m05s`, `3h20m`, `2d04h`."""
    whole = max(0, int(seconds))
    for unit, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit}{name}{whole % unit // small:02d}{small_name}"
    return f"{whole}s"


def octets(count: int) -> str:
    """Write a number of octets in at most five characters and a unit: `752`, `1.5K`, `12.0M`."""
    value = float(count)
    for unit in ("", "K", "M", "G", "T"):
        if value < 1000:
            return f"{int(value)}" if not unit else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f}P"
