"""iked's log: lines to the parent and to whoever monitors, no code and tunnel more often than is good.

A peer, or anybody at all, can make us log: each (tunnel, code) has a number of lines per window, then one line says
how many were left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

import msgspec

from secd.control.family import LogLine
from secd.ike.contract import Log

#: So many lines of one code and tunnel in so many seconds.
LINES, WINDOW = 10, 10.0
#: So many (tunnel, code) pairs are remembered.
MAX_REMEMBERED = 4096
#: Longest line in characters: what a `LogLine` holds.
MAX_LINE = 1024


class _Count(msgspec.Struct):
    since: float
    lines: int = 0


class Logs:
    """Where log lines go, and how many."""

    def __init__(self, send: Callable[[LogLine], None], *, verbose: bool, clock: Callable[[], float]) -> None:
        """`send` hands a line to the parent; without `verbose`, debug lines go to monitors alone."""
        self._send = send
        self.verbose = verbose
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()
        self.monitors: set[Callable[[Log], None]] = set()

    def __call__(self, log: Log) -> None:
        """Log one line, unless there were too many like it."""
        limited = self._limit(log)
        if limited is None:
            return
        if limited.level != "debug" or self.verbose:
            named = limited.message.startswith((f"{limited.connection} ", f"{limited.connection}:"))
            text = limited.message if named or not limited.connection else f"{limited.connection}: {limited.message}"
            self._send(LogLine(limited.level, text[:MAX_LINE]))
        for monitor in list(self.monitors):
            monitor(limited)

    def own(self, level: str, code: str, message: str) -> None:
        """Log a line of the shell's own."""
        self(msgspec.convert({"level": level, "connection": "", "code": code, "message": message}, Log))

    def internal_error(self, doing: str, error: BaseException) -> None:
        """Log an exception that should not have been: where it came from, innermost first, on one line."""
        self.own("error", "exception", f"internal error while {doing}: {_describe(error)}")

    def _limit(self, log: Log) -> Log | None:
        now = self._clock()
        key = log.connection, log.code
        count = self._counts.pop(key, None)
        left_out = 0
        if count is None or now - count.since >= WINDOW:
            left_out = count.lines - LINES if count else 0
            count = _Count(now)
        self._counts[key] = count
        if len(self._counts) > MAX_REMEMBERED:
            self._counts.popitem(last=False)
        count.lines += 1
        if count.lines > LINES:
            return None
        if left_out > 0:
            return msgspec.structs.replace(log, message=f"{log.message[:900]} ({left_out} more like this before)")
        return log


def _describe(error: BaseException) -> str:
    frames = []
    trace: TracebackType | None = error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        place = code.co_filename.rpartition("/secd/")[2]
        frames.append(f"{place}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    text = str(error)
    if any(mark in text for mark in ("b'", 'b"', "bytearray(")):
        text = "(a text that quotes octets)"  # which might be a key
    return f"{type(error).__name__}: {text[:200]} at {' < '.join(reversed(frames))}"
