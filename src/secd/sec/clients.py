"""The connections over the seam: who may speak, and what is sent to whom."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from secd.ipc.acceptor import Acceptor
from secd.ipc.channel import Channel, PeerCredentials
from secd.sadb.messages import Change, Expire, FromServer, InterfaceChange, NewMapping, PathChange, Request
from secd.sec.checks import Refusal

Role = Literal["iked", "monitor"]

#: Connections to the listening socket that are served at once.
MAX_CLIENTS = 64
#: Lists that one client may read at once.
MAX_LISTS = 8
#: Parts of a list that are sent before others have their turn.
_PARTS = 256
#: What the kernel holds for an iked that does not read: as little as can be, for what is there nobody overtakes.
_IKED_UNREAD = 0


class Client:
    """One connection."""

    def __init__(
        self,
        sock: socket.socket,
        on_request: Callable[[Client, Request], None],
        on_close: Callable[[Client, str], None],
    ) -> None:
        """Take over `sock`."""
        self.role: Role | None = None
        self.on_room: Callable[[], None] | None = None
        self._lists: deque[Iterator[FromServer]] = deque()
        self._pumping = False
        self._loop = asyncio.get_running_loop()
        self._channel: Channel[Request] = Channel(
            sock,
            Request,
            lambda request, fds: self._received(on_request, request, fds),
            lambda reason: on_close(self, reason),
        )
        self._channel.on_drained = self._drained

    def _received(self, on_request: Callable[[Client, Request], None], request: Request, fds: list[int]) -> None:
        for fd in fds:  # no request comes with descriptors
            os.close(fd)
        on_request(self, request)

    @property
    def has_room(self) -> bool:
        """Whether the client reads what it is sent."""
        return not self._channel.closed and self._channel.waiting == 0

    def become(self, role: Role) -> None:
        """Register the client for `role`."""
        self.role = role
        if role == "iked":
            self._channel.limit_unread(_IKED_UNREAD)

    def send(self, message: FromServer) -> None:
        """Send one message."""
        self._channel.send(message)

    def send_list(self, parts: Iterable[FromServer]) -> None:
        """Send parts as the client reads them; refuse with EBUSY when it reads too many lists at once."""
        if len(self._lists) >= MAX_LISTS:
            raise Refusal(errno.EBUSY, f"{MAX_LISTS} lists are being sent on this connection already")
        self._lists.append(iter(parts))
        if not self._pumping:
            self._pump()

    def _pump(self) -> None:
        self._pumping = True
        for _ in range(_PARTS):
            if not self._lists or not self.has_room:
                break
            part = next(self._lists[0], None)
            if part is None:
                self._lists.popleft()
            else:
                self._channel.send(part)
        if self._channel.closed:
            self._lists.clear()
        if self._lists and self.has_room:
            self._loop.call_soon(self._pump)
        else:
            self._pumping = bool(self._lists)  # `_drained` goes on

    def _drained(self) -> None:
        if self._lists:
            self._pump()
        if self.on_room and self.has_room:
            self.on_room()

    def close(self, reason: str) -> None:
        """End the connection."""
        self._channel.close(reason)


class Audience:
    """Everybody who is connected, and who of them is iked."""

    def __init__(self) -> None:
        """Nobody yet."""
        self.clients: set[Client] = set()
        self.iked: Client | None = None

    def tell(self, event: Expire | NewMapping | InterfaceChange) -> None:
        """Tell every registered client."""
        for client in list(self.clients):
            if client.role:
                client.send(event)

    def tell_iked(self, event: PathChange) -> None:
        """Tell iked, if there is one."""
        if self.iked:
            self.iked.send(event)

    def tell_monitors(self, event: Change) -> None:
        """Tell the monitors."""
        for client in list(self.clients):
            if client.role == "monitor":
                client.send(event)


class Doorkeeper:
    """Accepts connections to the listening socket from root and from our own user, as many as are bounded."""

    def __init__(
        self,
        listener: socket.socket,
        admit: Callable[[socket.socket], None],
        count: Callable[[], int],
        log: Callable[[str, str], None],
    ) -> None:
        """`admit` takes over each accepted connection; `count` says how many there are."""
        self._listener, self._admit, self._count, self._log = listener, admit, count, log
        self._users = {0, os.getuid()}
        self._acceptor = Acceptor(listener, self._accept, lambda trouble: log("error", f"sadb.sock: {trouble}"))

    def _accept(self, sock: socket.socket, peer: PeerCredentials) -> None:
        if peer.uid not in self._users:
            self._log("warning", f"refused process {peer.pid} of user {peer.uid}: the SADB is root's")
        elif self._count() >= MAX_CLIENTS:
            self._log("warning", f"refused process {peer.pid}: {MAX_CLIENTS} clients are connected to the SADB")
        else:
            self._admit(sock)
            return
        sock.close()

    def close(self) -> None:
        """Accept no more."""
        self._acceptor.close()
        self._listener.close()
