"""sd_notify(3): tell systemd that we are ready, how it goes, and that we live."""

from __future__ import annotations

import asyncio
import os
import socket


class Notifier:
    """Speaks to $NOTIFY_SOCKET; without one it is silent."""

    def __init__(self) -> None:
        """Take the environment's word; children shall not inherit it."""
        path = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._interval = _watchdog_interval()

    def __call__(self, *assignments: str) -> None:
        """Send e.g. `READY=1`, `STATUS=...`; failure is of no consequence."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return

    def start_watchdog(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say WATCHDOG=1 twice in each interval that systemd grants, as long as the event loop turns."""
        if self._interval and self._address:
            self("WATCHDOG=1")
            loop.call_later(self._interval / 2, self.start_watchdog, loop)


def _watchdog_interval() -> float:
    """Read how often systemd wants to hear from us, in seconds; 0: never."""
    usec, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    if not usec.isdigit() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(usec) / 1e6
