"""The parent, as the data plane sees it: TUN descriptors, the log, the order to stop."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import socket
import time
from collections.abc import Callable

from secd.control.family import (
    Alive,
    ClientConnected,
    CloseTUN,
    KnownInterfaces,
    LogLine,
    OpenTUN,
    ParentToSadb,
    Ready,
    Stop,
    TUNOpened,
)
from secd.ipc.channel import Channel
from secd.sec.checks import Refusal

_ANSWER_TIMEOUT = 10.0
_MAX_TEXT = 1024
#: Of log lines with the same `kind`, one in so many seconds is written; so many kinds are remembered.
_QUIET = 10.0
_MAX_KINDS = 1024


class Family:
    """The connection to the parent."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_known: Callable[[tuple[str, ...]], None],
        on_client: Callable[[socket.socket], None],
        on_stop: Callable[[str], None],
    ) -> None:
        """Take over `sock`.  `on_stop` is told why: by order, or because the parent is gone."""
        self._on_known, self._on_client, self._on_stop = on_known, on_client, on_stop
        self._opened: dict[int, asyncio.Future[tuple[TUNOpened, list[int]]]] = {}
        self._seq = itertools.count(1)
        self._said: dict[str, tuple[float, int]] = {}
        self._channel: Channel[ParentToSadb] = Channel(sock, ParentToSadb, self._received, self._closed)

    # -- the log ------------------------------------------------------------------------------------------

    def log(self, level: str, message: str) -> None:
        """Write a line to the log."""
        self._channel.send(LogLine(level, message[:_MAX_TEXT]))

    def log_sometimes(self, kind: str, level: str, message: str, *, quiet: float = _QUIET) -> None:
        """Write a line unless one of its `kind` was written within `quiet` seconds; say how many were left out."""
        written, left_out = self._said.pop(kind, (0.0, 0))
        now = time.monotonic()
        if written and now - written < quiet:
            self._said[kind] = written, left_out + 1
            return
        self._said[kind] = now, 0
        if len(self._said) > _MAX_KINDS:  # what was wanted least lately is forgotten
            del self._said[next(iter(self._said))]
        self.log(level, message + (f" ({left_out} more like this before)" if left_out else ""))

    # -- TUN devices --------------------------------------------------------------------------------------

    async def open_tun(self, name: str, queues: int) -> tuple[list[int], bool]:
        """Get `queues` descriptors of /dev/net/tun, and one more when the second value is true.  Close them all.

        A Refusal says why there are none.
        """
        seq = next(self._seq) & 0xFFFFFFFF
        answer = self._opened[seq] = asyncio.get_running_loop().create_future()
        self._channel.send(OpenTUN(seq, name, queues))
        try:
            opened, fds = await asyncio.wait_for(answer, _ANSWER_TIMEOUT)
        except TimeoutError:
            raise Refusal(errno.ETIMEDOUT, f"the parent did not open /dev/net/tun for {name} in time") from None
        finally:
            self._opened.pop(seq, None)
        if opened.error or len(fds) != queues + opened.detached:
            for fd in fds:
                os.close(fd)
            raise Refusal(errno.ENODEV, opened.error or f"the parent sent {len(fds)} descriptors for {name}")
        return fds, opened.detached

    def close_tun(self, name: str) -> None:
        """Have the parent let go of the queue of `name`."""
        self._channel.send(CloseTUN(name))

    def ready(self) -> None:
        """Say that everything is set up."""
        self._channel.send(Ready())

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def _received(self, message: ParentToSadb, fds: list[int]) -> None:
        match message:
            case TUNOpened(seq=seq) if seq in self._opened and not self._opened[seq].done():
                self._opened[seq].set_result((message, fds))
                return
            case ClientConnected() if len(fds) == 1:
                self._on_client(socket.socket(fileno=fds[0]))
                return
            case KnownInterfaces(names=names):
                self._on_known(names)
            case Alive():
                self._channel.send(message)
            case Stop():
                self._on_stop("told to stop")
            case _:
                self.log("error", f"the parent sent an unexpected {type(message).__name__}")
        for fd in fds:
            os.close(fd)

    def _closed(self, reason: str) -> None:
        self._on_stop(f"the parent is gone: {reason}")
