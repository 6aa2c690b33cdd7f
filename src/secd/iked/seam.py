"""iked's end of the seam: requests whose answers find their way back, and the events in between."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterable

from secd.iked.batches import BatchRequest, batches
from secd.ipc.channel import Channel
from secd.sadb.messages import (
    Begin,
    Commit,
    CountersEntry,
    Done,
    Dump,
    Entry,
    Event,
    Failed,
    FromServer,
    Get,
    GetSPI,
    InterfaceEntry,
    Register,
    Request,
    Reserved,
)

SingleAnswer = Done | Failed | Reserved | Entry
OnAnswer = Callable[[SingleAnswer], None]


class Seam:
    """The connection to the data plane."""

    def __init__(self, sock: socket.socket, on_event: Callable[[Event], None], on_close: Callable[[str], None]) -> None:
        """Take over `sock`; needs a running loop."""
        self._on_event = on_event
        self._waiting: dict[int, OnAnswer] = {}
        self._dumps: dict[int, tuple[list[Entry], Callable[[list[Entry]], None]]] = {}
        self._seq = itertools.cycle(range(1, 1 << 32))
        self._channel: Channel[FromServer] = Channel(sock, FromServer, self._on_message, on_close)

    def next_seq(self, on_answer: OnAnswer) -> int:
        """Number a request whose answer `on_answer` shall get."""
        seq = next(self._seq)
        self._waiting[seq] = on_answer
        return seq

    def register(self, on_answer: OnAnswer) -> None:
        """Become the one iked; every checkpoint comes before the answer."""
        self.send(Register(self.next_seq(on_answer), "iked"))

    def reserve_spi(self, iface: str, on_answer: OnAnswer) -> None:
        """Ask for an SPI."""
        self.send(GetSPI(self.next_seq(on_answer), iface))

    def get(self, spi: int, destination: str, on_answer: OnAnswer) -> None:
        """Ask for an inbound SA."""
        self.send(Get(self.next_seq(on_answer), spi, "in", destination))

    def dump(self, on_entries: Callable[[list[Entry]], None]) -> None:
        """Ask for all SAs."""
        seq = next(self._seq)
        self._dumps[seq] = [], on_entries
        self.send(Dump(seq))

    def sync(self, on_done: Callable[[], None]) -> None:
        """Call `on_done` when the data plane has done everything that it was sent so far."""
        # Any question will do: they are answered in order.  No SA can have this address.
        self.get(0x100, "0.0.0.0", lambda _: on_done())  # noqa: S104

    def send(self, request: Request) -> None:
        """Send one request."""
        self._channel.send(request)

    def send_batch(self, requests: Iterable[tuple[BatchRequest, int]]) -> None:
        """Send requests, of which the sizes are known, in one message if they fit."""
        for batch in batches(requests):
            self.send(batch)

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def _on_message(self, message: FromServer, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        match message:
            case Begin() | InterfaceEntry() | CountersEntry():
                return
            case Entry(seq) if seq in self._dumps:
                self._dumps[seq][0].append(message)
            case Commit(seq):
                entries, on_entries = self._dumps.pop(seq, ([], None))
                if on_entries:
                    on_entries(entries)
            case Done(seq) | Failed(seq) | Reserved(seq) | Entry(seq):
                on_answer = self._waiting.pop(seq, None)
                if on_answer:
                    on_answer(message)
                self._dumps.pop(seq, None)
            case _:
                self._on_event(message)
