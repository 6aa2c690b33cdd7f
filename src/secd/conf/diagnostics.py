"""What is wrong with a configuration, and where: `FILE: LINE: message`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

#: A file with more errors than this is not read any further.
MAX_ERRORS = 200


class Origin(Struct, frozen=True):
    """Where a rule ends; `FILE: LINE` as text."""

    file: str
    line: int

    def __str__(self) -> str:
        """Give `FILE: LINE`."""
        return f"{self.file}: {self.line}"


class Diagnostic(Struct, frozen=True):
    """One error or warning.  Without an origin it is a line by itself; `hint` says what would be right."""

    message: str
    origin: Origin | None = None
    severity: Literal["error", "warning"] = "error"
    hint: str = ""

    def __str__(self) -> str:
        """Give the line to print."""
        return f"{self.origin}: {self.message}" if self.origin else self.message


class TooManyErrors(Exception):
    """Reading on would only add to the list."""


class Diagnostics:
    """Errors and warnings in the order in which they were found."""

    def __init__(self) -> None:
        """Start with none."""
        self.all: list[Diagnostic] = []
        self.errors = 0
        #: Whether an error is one of the file's, and not of what it was looked up with.
        self.blames_file = False

    def error(self, message: str, origin: Origin | None, hint: str = "", *, blames_file: bool = True) -> None:
        """Note an error; `TooManyErrors` once there are `MAX_ERRORS`."""
        self.all.append(Diagnostic(message, origin, "error", hint))
        self.errors += 1
        self.blames_file |= blames_file
        if self.errors >= MAX_ERRORS:
            raise TooManyErrors

    def warning(self, message: str, origin: Origin | None) -> None:
        """Note something that does not keep the rules from being loaded."""
        if len(self.all) < 2 * MAX_ERRORS:
            self.all.append(Diagnostic(message, origin, "warning"))
