"""Deadlines by name: which one passes next, and which have passed."""

from __future__ import annotations

import heapq
import math


class Timers:
    """One deadline a name; setting it again replaces it.

    A heap with leftovers: an entry that is no longer what the table says is skipped when it comes up, and the heap
    is rebuilt when leftovers outnumber the living.
    """

    def __init__(self) -> None:
        """Start without a deadline."""
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, name: str, at: float | None) -> None:
        """`name` is due at `at` (monotonic seconds), or never with None."""
        if at is None or math.isinf(at):
            self._at.pop(name, None)
            return
        if self._at.get(name) == at:
            return
        self._at[name] = at
        heapq.heappush(self._heap, (at, name))
        if len(self._heap) > 64 + 4 * len(self._at):
            self._heap = [(when, key) for key, when in self._at.items()]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """The earliest deadline."""
        while self._heap:
            at, name = self._heap[0]
            if self._at.get(name) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: float) -> list[str]:
        """The names whose deadline has passed, earliest first; their deadlines are gone."""
        due: list[str] = []
        while (at := self.next()) is not None and at <= now:
            _, name = heapq.heappop(self._heap)
            del self._at[name]
            due.append(name)
        return due
