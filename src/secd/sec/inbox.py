"""IKE datagrams on their way to iked: few at a time, peers' before strangers', and kept for a while when there is none.

Anybody may send a first message, from any number of forged addresses, and each costs more to answer than to send.  So
three kinds wait in queues of their own: what comes from an address that iked expects messages from; what goes on, as
its second cookie or SPI tells, which is zero in a first message of either version of IKE; and what begins.  Peers'
are read first; of the others one each by turns.
"""

from __future__ import annotations

from collections import Counter, deque

from secd.sadb.messages import Datagram, Expect
from secd.sec.clients import Client

#: Datagrams of each kind kept here while iked is away or busy.  More are dropped, the newest first: their senders send
#: again.
MAX_WAITING = 256
#: Of a peer's: whoever forges its address takes the room of others no more than it does.
MAX_EACH = 32
#: Addresses that are known to be peers'.
MAX_EXPECTED = 65_536
_NONE = bytes(8)


class Inbox:
    """Bounded queues in front of iked, which reads from them as it finds time."""

    def __init__(self) -> None:
        """Start empty, with nobody who reads and nobody who is expected."""
        self.dropped = 0
        self._peers: deque[Datagram] = deque()
        self._from: Counter[str] = Counter()
        self._others: tuple[deque[Datagram], deque[Datagram]] = deque(), deque()
        self._turn = 0
        self._expected: set[str] = set()
        self._reader: Client | None = None

    def read_by(self, reader: Client | None) -> None:
        """From now on give the datagrams to `reader`; None: iked is away."""
        self._reader = reader
        if reader:
            reader.on_room = self._pump
            self._pump()

    def expect(self, request: Expect) -> None:
        """Take note of whose messages overtake others."""
        if request.anew:
            self._expected.clear()
        if len(self._expected) + len(request.addresses) <= MAX_EXPECTED:
            self._expected.update(request.addresses)

    def put(self, datagram: Datagram) -> None:
        """Pass a datagram on, or keep it, or drop it."""
        remote = datagram.remote
        expected = remote in self._expected
        queue = self._peers if expected else self._others[datagram.data[8:16] == _NONE]
        if len(queue) >= MAX_WAITING or (expected and self._from[remote] >= MAX_EACH):
            self.dropped += 1
            return
        queue.append(datagram)
        if expected:
            self._from[remote] += 1
        self._pump()

    def _pump(self) -> None:
        while self._reader and self._reader.has_room and (datagram := self._next()):
            self._reader.send(datagram)

    def _next(self) -> Datagram | None:
        if self._peers:
            datagram = self._peers.popleft()
            self._from[datagram.remote] -= 1
            if not self._from[datagram.remote]:
                del self._from[datagram.remote]
            return datagram
        self._turn ^= 1
        queue = self._others[self._turn] or self._others[self._turn ^ 1]
        return queue.popleft() if queue else None
