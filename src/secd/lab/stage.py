"""Where a scenario is shown: its steps with the time, commands with what they say, checks, and the table at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from secd.lab.checks import Checks
from secd.lab.commands import LabError, missing_rights
from secd.lab.namespaces import Host, Lab


@dataclass
class Stage:
    """Where the show happens: prints steps, commands with their output, and notes checks."""

    console: Console
    checks: Checks
    started: float

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Say what is being done; on a terminal, that it goes on."""
        seconds = f"{time.monotonic() - self.started:5.1f} s"
        if not self.console.is_terminal:
            self.console.print(f"==> {title}  [{seconds}]", highlight=False, markup=False)
            yield
            return
        with self.console.status(title):
            yield
        self.console.print(f"[dim]{seconds}[/] {title}", highlight=False)

    def show(self, host: Host, *argv: str, check: bool = True) -> str:
        """Type a command on a host, print what it says, and give that."""
        self.console.print()
        self.console.print(f"[bold]{host.name}# {' '.join(argv)}[/]", highlight=False)
        said = host.run(*argv, check=check).stdout
        self.console.out(said.rstrip("\n"), highlight=False)
        return said


def play(
    console: Console, facts: Callable[[], Mapping[str, str]], scenario: Callable[[Lab, Stage], None],
    json_file: Path | None,
) -> int:  # fmt: skip
    """Run `scenario` in a lab and print its checks; give the exit status: 0 when every check passed.

    `facts` are asked first of all, so that what is not installed is told before anything is built.
    """
    stage = Stage(console, Checks(), time.monotonic())
    if lacking := missing_rights():
        raise LabError(lacking)
    lab = Lab()
    try:
        stage.checks.facts |= facts()
        with lab:
            scenario(lab, stage)
            lab.keep_logs = not stage.checks.passed
    except LabError as problem:
        stage.checks.add("the scenario ran to its end", passed=False, detail=str(problem))
    seconds = time.monotonic() - stage.started
    stage.checks.facts["took"] = f"{seconds:.0f} s"
    console.print()
    console.print(stage.checks.table())
    console.print(stage.checks.facts_table())
    if lab.kept_logs:
        console.print(f"The daemons' logs are kept in {lab.kept_logs}", highlight=False)
    if json_file:
        stage.checks.write_json(json_file)
    return stage.checks.exit_status
