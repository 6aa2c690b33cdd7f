"""The log: one line an event on standard error, whoever said it, written by the parent alone.

    secd[812]: iked: sec0: up: 192.0.2.1 <-> 198.51.100.7

Under systemd each line is preceded by its priority (sd-daemon(3)), which journald takes off again.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Literal, TextIO

Level = Literal["debug", "info", "warning", "error"]

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}
#: A line is cut here, in characters: what peers send may be in it.
MAX_LINE = 2048


class Log:
    """Writes lines; never raises, since nothing may stop because its log cannot be written."""

    def __init__(self, *, verbose: bool = False, timestamps: bool = False, stream: TextIO | None = None) -> None:
        """`verbose` lets debug lines through; `timestamps` puts the time of day in front."""
        self._stream = stream or sys.stderr
        self.verbose = verbose
        self._timestamps = timestamps
        self._journal = _is_journal(self._stream)

    def __call__(self, level: str, message: str, source: str = "") -> None:
        """Write `message`, said by `source` (a child's name; "" for the parent)."""
        if level == "debug" and not self.verbose:
            return
        text = f"{source}: {message}" if source else message
        text = "".join(c if c.isprintable() else "?" for c in text[:MAX_LINE])
        line = f"secd[{os.getpid()}]: {text}\n"
        if self._journal:
            line = f"<{_PRIORITY.get(level, 6)}>{line}"
        elif self._timestamps:
            line = f"{datetime.now().astimezone():%H:%M:%S.%f} {line}"
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):
            return


def _is_journal(stream: TextIO) -> bool:
    """Say whether `stream` is the socket that systemd gave: $JOURNAL_STREAM is its `device:inode`."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
