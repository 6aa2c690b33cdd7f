"""A client of the SADB for commands and tests: plain calls, one question at a time.

    with SADB.connect("/run/secd/sadb.sock") as sadb:
        spi = sadb.get_spi("sec0")
        sadb.add(SA(...))
        for entry in sadb.dump(): ...

A refusal is an `SADBError` with the data plane's errno and words; a lost connection is a `ChannelError`.
"""

from __future__ import annotations

import itertools
import socket
from collections import deque
from typing import Any, TypeVar

import msgspec

from secd.ipc.channel import BlockingChannel, ChannelError
from secd.sadb import messages as m

T = TypeVar("T")

#: Events that are kept while an answer is waited for; of more, the oldest are forgotten.
_MAX_EVENTS = 10_000


class SADBError(Exception):
    """A request was refused."""

    def __init__(self, failed: m.Failed) -> None:
        """Say why."""
        super().__init__(failed.message)
        self.errno = failed.errno


class SADB:
    """One connection."""

    def __init__(self, sock: socket.socket, *, timeout: float | None = 10.0) -> None:
        """Take over `sock`; wait at most `timeout` seconds for each message."""
        self._channel: BlockingChannel[m.FromServer] = BlockingChannel(sock, m.FromServer, timeout=timeout)
        self._seq = itertools.cycle(range(1, 1 << 32))
        self._events: deque[m.Event] = deque(maxlen=_MAX_EVENTS)

    @classmethod
    def connect(cls, path: str, *, timeout: float | None = 10.0) -> SADB:
        """Connect to the socket at `path`; OSError says why not."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return cls(sock, timeout=timeout)

    # -- any request --------------------------------------------------------------------------------------

    def send(self, request: m.Request) -> None:
        """Send a request that is not answered, or a batch whose answers `receive` will give."""
        self._channel.send(request)

    def receive(self) -> m.FromServer:
        """Wait for the next event, or the next answer to what was sent by `send`."""
        return self._events.popleft() if self._events else self._channel.receive()

    def ask(self, request: m.Request, kind: type[T]) -> T:
        """Number a request, send it, and give its one answer, which is of `kind`."""
        seq = next(self._seq)
        self._channel.send(_numbered(request, seq))
        return _expect(self._answer(seq), kind)

    def ask_list(self, request: m.Dump | m.InterfaceDump, kind: type[T]) -> list[T]:
        """Ask for a list of answers of `kind`."""
        self.ask(request, m.Begin)
        return self._parts(kind)

    def _parts(self, kind: type[T]) -> list[T]:
        parts: list[T] = []
        while True:
            message = self._channel.receive()
            if isinstance(message, m.Commit):
                return parts
            if isinstance(message, kind):
                parts.append(message)
            else:
                self._keep(message)

    def _answer(self, seq: int) -> m.FromServer:
        while True:
            message = self._channel.receive()
            if getattr(message, "seq", None) == seq:
                return message
            self._keep(message)

    def _keep(self, message: m.FromServer) -> None:
        if isinstance(message, m.Event):
            self._events.append(message)

    # -- the usual ones -----------------------------------------------------------------------------------

    def get_spi(self, iface: str) -> int:
        """Reserve an SPI."""
        return self.ask(m.GetSPI(0, iface), m.Reserved).spi

    def add(self, sa: m.SA) -> None:
        """Install an SA."""
        self.ask(m.Add(0, sa), m.Done)

    def delete(self, sa: m.SA) -> None:
        """Remove an SA."""
        self.ask(m.Delete(0, sa.spi, sa.direction, sa.destination), m.Done)

    def get(self, sa: m.SA, *, with_keys: bool = False) -> m.Entry:
        """Look at an SA."""
        return self.ask(m.Get(0, sa.spi, sa.direction, sa.destination, with_keys), m.Entry)

    def dump(self, *, with_keys: bool = False) -> list[m.Entry]:
        """Look at every SA, in order of SPI."""
        return self.ask_list(m.Dump(0, with_keys), m.Entry)

    def flush(self, iface: str | None = None) -> None:
        """Remove every SA (of `iface`)."""
        self.ask(m.Flush(0, iface), m.Done)

    def create(self, name: str) -> None:
        """Make an interface."""
        self.ask(m.InterfaceCreate(0, name), m.Done)

    def destroy(self, name: str) -> None:
        """Take an interface away."""
        self.ask(m.InterfaceDestroy(0, name), m.Done)

    def interfaces(self) -> list[m.InterfaceEntry]:
        """Look at every interface, in order of unit."""
        return self.ask_list(m.InterfaceDump(0), m.InterfaceEntry)

    def counters(self) -> dict[str, int]:
        """Look at every named counter."""
        return self.ask(m.CountersGet(0), m.CountersEntry).counters

    def fileno(self) -> int:
        """For select; events that came while an answer was waited for do not show there."""
        return self._channel.fileno()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def __enter__(self) -> SADB:
        """Use as a context that closes."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _numbered(request: Any, seq: int) -> Any:
    return msgspec.structs.replace(request, seq=seq)


def _expect(answer: m.FromServer, kind: type[T]) -> T:
    if isinstance(answer, m.Failed):
        raise SADBError(answer)
    if not isinstance(answer, kind):
        raise ChannelError(f"answered with a {type(answer).__name__}, not a {kind.__name__}")
    return answer
