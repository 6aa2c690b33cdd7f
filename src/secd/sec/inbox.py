"""IKE datagrams on their way to iked: few at a time, and kept for a while when there is none."""

from __future__ import annotations

from collections import deque

from secd.sadb.messages import Datagram
from secd.sec.clients import Client

#: Datagrams kept here while iked is away or busy.  More are dropped, the newest first: their senders send again.
MAX_WAITING = 256


class Inbox:
    """A bounded queue in front of iked, which reads from it as it finds time."""

    def __init__(self) -> None:
        """Start empty, with nobody who reads."""
        self.dropped = 0
        self._waiting: deque[Datagram] = deque()
        self._reader: Client | None = None

    def read_by(self, reader: Client | None) -> None:
        """From now on give the datagrams to `reader`; None: iked is away."""
        self._reader = reader
        if reader:
            reader.on_room = self._pump
            self._pump()

    def put(self, datagram: Datagram) -> None:
        """Pass a datagram on, or keep it, or drop it."""
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(datagram)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and self._reader and self._reader.has_room:
            self._reader.send(self._waiting.popleft())
