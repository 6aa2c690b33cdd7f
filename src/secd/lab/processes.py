"""Daemons of the lab: started in a host, their output in its log, stopped by their own pid."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from secd.lab.commands import LabError, WaitTimeout, environment, wait_until
from secd.lab.namespaces import Host, is_running

T = TypeVar("T")

#: Seconds between SIGTERM and SIGKILL.
GRACE = 2.0


class Daemon:
    """A process in a host, in the foreground, with its output in `log`.  Leaving the context stops it."""

    def __init__(self, host: Host, name: str, *argv: str, env: Mapping[str, str] | None = None) -> None:
        """Start `argv`."""
        self.host, self.name, self.argv, self._env = host, name, argv, env
        self.log = host.directory / "log" / f"{name}.log"
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.host.argv(*self.argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment(self._env), start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id, as seen from everywhere: hosts share one pid namespace."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def restart(self) -> None:
        """Stop it if it runs, and start the same command again; the log goes on."""
        self.stop()
        self._start()

    def stop(self, *, grace: float = GRACE) -> int:
        """SIGTERM, after `grace` seconds SIGKILL; give the exit status."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(grace)
            self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()

    def text(self) -> str:
        """Give what it has logged."""
        return read_log(self.log)

    def tail(self, lines: int = 15) -> str:
        """Give the last lines of its log."""
        return "\n".join(self.text().splitlines()[-lines:])

    def wait_for(self, pattern: str, timeout: float = 10.0, *, after: int = 0) -> re.Match[str]:
        """Wait until the log, from offset `after` on, matches `pattern`.

        Raises `LabError` with the log's end when the process ends first or `timeout` seconds pass.
        """
        compiled = re.compile(pattern, re.MULTILINE)

        def look() -> re.Match[str] | None:
            alive = self.running
            found = compiled.search(self.text(), after)
            if not found and not alive:
                raise LabError(f"{self.host.name}: {self.name} ended with {self._process.returncode}\n{self.tail()}")
            return found

        return self.wait_until(look, timeout, f"`{pattern}` in its log")

    def wait_until(self, condition: Callable[[], T | None], timeout: float, what: str) -> T:
        """Wait for `condition`; when it fails to come, show the log's end."""
        try:
            return wait_until(condition, timeout, f"{self.host.name}: {self.name}: {what}")
        except WaitTimeout as error:
            raise WaitTimeout(f"{error}\n{self.tail()}") from error

    def children(self) -> dict[str, int]:
        """Give the pids of its direct children by the name that they show."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and is_running(int(entry.name)) and _parent(entry) == self.pid:
                with contextlib.suppress(OSError):
                    title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    found[title] = int(entry.name)
        return found

    def __enter__(self) -> Self:
        """Nothing more to do: it runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


def read_log(path: Path) -> str:
    """Give a log's text, empty while there is none."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process of the lab's; that it has gone meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _parent(entry: Path) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return -1
