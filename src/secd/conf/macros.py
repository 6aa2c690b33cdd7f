"""Macros: `name = words` in a file, `-D name=words` on the command line."""

from __future__ import annotations

from collections.abc import Iterable


class Macros:
    """Names and what they stand for.  A definition replaces an older one; one from the command line always wins."""

    def __init__(self, fixed: Iterable[tuple[str, str]] = ()) -> None:
        """Start with the definitions of the command line."""
        self._values: dict[str, str] = dict(fixed)
        self._fixed = frozenset(self._values)
        self._used: set[str] = set()

    def define(self, name: str, value: str) -> None:
        """Let `name` stand for `value` from now on."""
        if name not in self._fixed:
            self._values[name] = value

    def get(self, name: str) -> str | None:
        """Give what `name` stands for, if anything."""
        value = self._values.get(name)
        if value is not None:
            self._used.add(name)
        return value

    def unused(self) -> list[str]:
        """Name the macros that no line used, in the order of their definition."""
        return [name for name in self._values if name not in self._used and name not in self._fixed]
