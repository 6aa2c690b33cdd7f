"""What ps(1) and top(1) call this process."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path

_PR_SET_NAME = 15
#: Fields 48 and 49 of /proc/PID/stat, counted from behind the command's name (field 2): see proc_pid_stat(5).
_ARG_START, _ARG_END = 48 - 3, 49 - 3


def show_as(title: str) -> None:
    """Be shown as `title`, as far as there is room; the arguments are shown no longer.

    Where /proc is not there, only the short name (15 octets) is changed.
    """
    text = title.encode()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(text[:15]))
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, room = int(fields[_ARG_START]), int(fields[_ARG_END]) - int(fields[_ARG_START])
        if start and room > 1:
            # The kernel reads the arguments from the process's own memory, where they were put when it was started.
            ctypes.memmove(start, text[: room - 1].ljust(room, b"\0"), room)
