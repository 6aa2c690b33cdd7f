"""A small program of the lab's that runs in a host and is spoken to in lines: a word in, a line of JSON out."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from secd.lab.commands import LabError, environment
from secd.lab.namespaces import Host

#: Seconds that a tool may take to answer.
ANSWER_TIMEOUT = 15.0


class Tool:
    """`python -m secd.lab.MODULE` in a host, started and ready; leaving the context ends it."""

    def __init__(self, host: Host, module: str, *argv: str) -> None:
        """Start it and wait until it says that it is ready."""
        self.host, self.name = host, module
        self._log = (host.directory / "log" / f"{module}.log").open("ab")
        self._process = subprocess.Popen(
            host.argv(sys.executable, "-m", f"secd.lab.{module}", *argv), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1, env=environment(), start_new_session=True,
        )  # fmt: skip
        self._answer()

    def ask(self, question: str) -> dict[str, Any]:
        """Send a line and give the answer."""
        if self._process.stdin:
            try:
                self._process.stdin.write(question + "\n")
            except BrokenPipeError as error:
                raise LabError(f"{self.host.name}: {self.name} has ended") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        if not self._process.stdout:
            raise LabError(f"{self.name}: no output")
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(ANSWER_TIMEOUT):
                raise LabError(f"{self.host.name}: {self.name} does not answer")
        line = self._process.stdout.readline()
        if not line:
            log = self.host.directory / "log" / f"{self.name}.log"
            raise LabError(f"{self.host.name}: {self.name} has ended: {log.read_text(errors='replace')[-500:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> Self:
        """Nothing more to do: it runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.close()


def answer(**values: object) -> None:
    """Say one line to the lab; for the programs."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()
