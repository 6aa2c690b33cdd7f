"""A child process: born with a socket pair to its parent, watched until it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from secd.control.family import Alive
from secd.ipc.channel import Channel, pair

T = TypeVar("T")

#: A child that lived this long, in seconds, has not failed at its start.
STEADY = 2.0
#: Seconds to wait before the next start, by how many times it died young.
_DELAYS = (0.0, 0.0, 0.0, 0.1, 0.2, 0.4)
MAX_DELAY = 1.0
#: Seconds from the loss of its connection to the end of the process.
END_TIMEOUT = 1.0
#: How often a child is asked whether it lives, in the time that it is given to answer.
_ASKS = 3
_MAX_ERROR_LINE = 16 * 1024


class Backoff:
    """How long to wait before a start: not at all, unless it dies young again and again."""

    def __init__(self) -> None:
        """Start with a clean record."""
        self._young = 0

    def after(self, lived: float) -> float:
        """Give the delay in seconds after a life of `lived` seconds."""
        self._young = 0 if lived >= STEADY else self._young + 1
        return _DELAYS[self._young] if self._young < len(_DELAYS) else MAX_DELAY


class Child(Generic[T]):
    """One life of one process."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        inherited: Sequence[int],
        types: Any,
        *,
        on_message: Callable[[T, list[int]], None],
        on_exit: Callable[[str], None],
        on_error_line: Callable[[str], None],
    ) -> None:
        """Start `python -I -m` with `arguments` and `--family FD`; `inherited` descriptors keep their numbers.

        `on_exit` is told once how it ended; `on_error_line` gets what it writes to standard error.
        Raises OSError when it cannot be started.
        """
        self.name = name
        self.started = time.monotonic()
        self.ready = False
        self._on_message = on_message
        self._on_exit = on_exit
        self._on_error_line = on_error_line
        self._loop = asyncio.get_running_loop()
        self._partial = b""
        self._code: int | None = None
        self._told = False
        self._because = ""
        self._unanswered = 0
        ours, theirs = pair()
        command = [sys.executable, "-I", "-m", *arguments, "--family", str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(), *inherited),
                env=_environment(),
                cwd="/",
                # Ctrl-C is for the parent alone: it stops the children in order.
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._exited)
        if self._process.stderr:
            os.set_blocking(self._process.stderr.fileno(), False)
            self._loop.add_reader(self._process.stderr, self._read_errors)
        self._channel: Channel[T] = Channel(ours, types, self._received, self._channel_closed)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def lived(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Send a message of the family."""
        self._channel.send(message, fds)

    def kill(self, because: str = "") -> None:
        """End it now; `on_exit` follows, and says `because` if that is given."""
        if self._code is None:
            self._because = because
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def watch(self, patience: float, on_silent: Callable[[], None]) -> None:
        """From now on ask it whether it lives; call `on_silent` when it has not answered for `patience` seconds.

        Unanswered questions are counted, not seconds: when the whole machine stood still, it is asked once more.
        """
        if self._code is not None or self._channel.closed:
            return
        if self._unanswered == _ASKS:
            on_silent()
        if self._unanswered <= _ASKS:
            self._unanswered += 1
            self.send(Alive())
        self._loop.call_later(patience / _ASKS, self.watch, patience, on_silent)

    def _received(self, message: T | Alive, fds: list[int]) -> None:
        if not isinstance(message, Alive):
            self._on_message(message, fds)
            return
        self._unanswered = 0
        for fd in fds:
            os.close(fd)

    def _channel_closed(self, reason: str) -> None:
        if self._code is not None:
            self._tell_exit()
            return
        if reason != "the other side closed":
            self._on_error_line(f"the connection to it was lost: {reason}")
        # It is about to end by itself, and then tells how; without the connection it is of no use.
        self._loop.call_later(END_TIMEOUT, self.kill)

    def _exited(self) -> None:
        """Take its status; its last messages may still be on their way, and are read up to their end."""
        self._loop.remove_reader(self._pidfd)
        self._code = self._process.wait()
        if self._channel.closed:
            self._tell_exit()
        else:
            self._loop.call_later(END_TIMEOUT, self._tell_exit)

    def _tell_exit(self) -> None:
        if self._told or self._code is None:
            return
        self._told = True
        self._read_errors()
        if self._process.stderr:
            self._loop.remove_reader(self._process.stderr)
            self._process.stderr.close()
        self._channel.close()
        os.close(self._pidfd)
        self._on_exit(self._because or _describe(self._code))

    def _read_errors(self) -> None:
        """Pass on whole lines; a traceback before the log is connected, or a message of the C library."""
        if not self._process.stderr or self._process.stderr.closed:
            return
        try:
            data = os.read(self._process.stderr.fileno(), 65536)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._process.stderr)
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > _MAX_ERROR_LINE or not data:
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            if line.strip():
                self._on_error_line(line.decode(errors="replace").rstrip())


def _environment() -> dict[str, str]:
    """Give a child what it needs of ours and nothing else."""
    names = ("PATH", "SECD_RUNDIR", "LANG", "LC_ALL", "TZ", "RUST_BACKTRACE")
    return {name: os.environ[name] for name in names if name in os.environ}


def _describe(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
