"""What a proof has shown: named checks, and figures in rows, one a case."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secd.lab.checks import Checks
from secd.lab.pair import Version
from secd.lab.probe import Stream

Value = str | int | float


@dataclass
class Evidence:
    """Of one proof.  `short` is the version that takes seconds, `ike` the version of IKE."""

    name: str
    title: str
    short: bool = False
    ike: Version = 1
    checks: Checks = field(default_factory=Checks)
    figures: list[dict[str, Value]] = field(default_factory=list)

    def figure(self, case: str, **values: Value) -> None:
        """Add a row; words of its columns are parted by `_`, `ms` and `s` at their end are units."""
        self.figures.append({"case": case, **values})

    def stream(self, case: str, stream: Stream, *, lossless: bool = True) -> None:
        """Add what happened to one direction of numbered traffic; check that nothing was lost or doubled."""
        self.figure(
            case, sent=stream.sent, lost=stream.lost, doubled=stream.duplicates, overtaken=stream.reordered,
            longest_gap_ms=round(stream.longest_gap),
        )  # fmt: skip
        if lossless:
            self.checks.add(f"{case}: nothing lost, nothing doubled", not (stream.lost or stream.duplicates),
                            f"{stream}{f', missing {stream.missing}' if stream.missing else ''}")  # fmt: skip

    def check(self, name: str, passed: object, detail: str = "") -> bool:
        """Note whether a promise was kept."""
        return self.checks.add(name, passed, detail)

    @property
    def failures(self) -> list[str]:
        """What was not as promised, in words."""
        return [f"{check.name}: {check.detail}" for check in self.checks.checks if not check.passed]

    def data(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "name": self.name, "title": self.title, "short": self.short, "ike": self.ike, "passed": self.checks.passed,
            "facts": self.checks.facts, "figures": self.figures,
            "checks": [asdict(check) for check in self.checks.checks],
        }  # fmt: skip

    def show(self, console: Console) -> None:
        """Print figures and checks."""
        for columns, rows in self._tables():
            table = Table(title_justify="left")
            for column in columns:
                right = all(isinstance(row.get(column), int | float) for row in rows)
                table.add_column(column.replace("_", " "), justify="right" if right else "left", overflow="fold")
            for row in rows:
                table.add_row(*(escape(str(row[column])) for column in columns))
            console.print(table)
        console.print(self.checks.table())

    def _tables(self) -> list[tuple[tuple[str, ...], list[dict[str, Value]]]]:
        """Rows with the same columns belong together."""
        tables: dict[tuple[str, ...], list[dict[str, Value]]] = {}
        for row in self.figures:
            tables.setdefault(tuple(row), []).append(row)
        return list(tables.items())
