"""Named checks with their results: a table for people, JSON for programs, an exit status for both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from secd.lab.commands import LabError


@dataclass(frozen=True)
class Check:
    """What was expected, whether it was so, and what was seen."""

    name: str
    passed: bool
    detail: str = ""


@dataclass
class Checks:
    """All checks of a run, and the facts that go with them (versions, figures)."""

    checks: list[Check] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, passed: object, detail: str = "") -> bool:
        """Note a result, and give it."""
        self.checks.append(Check(name, bool(passed), detail))
        return bool(passed)

    @contextmanager
    def expect(self, name: str) -> Iterator[list[str]]:
        """Note that the block passed, or the `LabError` that it ended with; details go into the list given."""
        details: list[str] = []
        try:
            yield details
        except LabError as error:
            self.add(name, passed=False, detail=str(error))
        else:
            self.add(name, passed=True, detail="; ".join(details))

    @property
    def passed(self) -> bool:
        """Whether there are checks, and all passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def exit_status(self) -> int:
        """0 when all passed."""
        return 0 if self.passed else 1

    def table(self) -> Table:
        """Give the results as a table."""
        table = Table(title="Checks", title_justify="left", show_lines=False)
        table.add_column("check")
        table.add_column("result")
        table.add_column("seen", overflow="fold")
        for check in self.checks:
            table.add_row(check.name, "[green]ok[/]" if check.passed else "[red]FAILED[/]", escape(check.detail))
        return table

    def facts_table(self) -> Table:
        """Give the facts as a table."""
        table = Table(title="Who was there", title_justify="left", show_header=False)
        table.add_column("what")
        table.add_column("value", overflow="fold")
        for name, value in self.facts.items():
            table.add_row(name, escape(value))
        return table

    def write_json(self, path: Path) -> None:
        """Write checks and facts to `path`."""
        data = {"passed": self.passed, "checks": [asdict(check) for check in self.checks], "facts": self.facts}
        path.write_text(json.dumps(data, indent=2) + "\n")
