"""Accepting connections on a local socket, also when there is no descriptor left for one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from secd.ipc.channel import PeerCredentials, peer_credentials

#: Seconds to wait when a connection cannot be accepted: the socket stays readable, and we would do nothing else.
PAUSE = 1.0


class Acceptor:
    """Hands each connection on with who is at its other end."""

    def __init__(
        self,
        listener: socket.socket,
        on_connection: Callable[[socket.socket, PeerCredentials], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        """`on_trouble` is told, once, why nothing can be accepted; `listener` stays the caller's."""
        self._listener, self._on_connection, self._on_trouble = listener, on_connection, on_trouble
        self._troubled = False
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._resume()

    def close(self) -> None:
        """Accept no more."""
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if not self._troubled:
                self._troubled = True
                self._on_trouble(f"cannot accept a connection: {error.strerror}")
            self._loop.remove_reader(self._listener)
            self._pause = self._loop.call_later(PAUSE, self._resume)
            return
        self._troubled = False
        self._on_connection(sock, peer_credentials(sock))
