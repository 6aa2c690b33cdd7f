"""What every part of the machine needs of the world: the time, random octets, the tunnels, and a place for outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from secd.ike.contract import Log
from secd.ike.outbox import Outbox
from secd.ike.steps import Random, Steps
from secd.ike.timers import Timers
from secd.ike.tunnel import Tunnel

Level = Literal["debug", "info", "warning", "error"]

#: Lines about strangers: so many at once, and one more every so many seconds.
BURST = 20
REFILL = 30.0


class World:
    """One for a machine; `now` is set at the beginning of every call."""

    def __init__(self, random: Random, working: Callable[[str | None], None]) -> None:
        """`random` and `working` are the shell's."""
        self.now = 0.0
        self.random = random
        self.working = working
        self.outbox = Outbox()
        self.steps = Steps()
        self.timers = Timers()
        self.tunnels: dict[str, Tunnel] = {}
        self._lines = float(BURST)
        self._lines_at = 0.0

    def log(self, level: Level, connection: str, code: str, message: str) -> None:
        """A line for a person."""
        self.outbox.put(Log(level, connection, code, message))

    def log_once(self, tunnel: Tunnel, level: Level, code: str, message: str) -> None:
        """The same, unless it was said of this tunnel before."""
        if tunnel.is_news(code, message):
            self.log(level, tunnel.name, code, message)

    def log_stranger(self, level: Level, code: str, message: str, connection: str = "") -> bool:
        """A line that anybody on the network can cause: a bounded number of them; whether it was written."""
        self._lines = min(float(BURST), self._lines + (self.now - self._lines_at) / REFILL)
        self._lines_at = self.now
        if self._lines >= 1.0:
            self._lines -= 1.0
            self.log(level, connection, code, message)
            return True
        return False
