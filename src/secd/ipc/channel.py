"""Messages over local SOCK_SEQPACKET sockets: one MessagePack struct a datagram, bounded, descriptors alongside.

`Channel` is for asyncio processes, `BlockingChannel` for commands.  Both decode into the msgspec types they are given
and refuse everything else; neither knows what the messages mean.
"""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

#: Largest message in octets; what does not fit is sent in parts between a Begin and a Commit.
MAX_MESSAGE = 72 * 1024
#: Largest number of descriptors that come with one message.
MAX_FDS = 64
#: Octets that a channel holds back for a reader that does not read before it is closed.
MAX_BACKLOG = 16 * 1024 * 1024
_BUFFER = 2 * 1024 * 1024
#: What decoding raises: a `ValueError` is msgspec's about text that is no UTF-8.
_NO_MESSAGE = (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError)


class ChannelError(Exception):
    """The other side is gone, does not read, or sent what is no message of this protocol."""


class PeerCredentials(msgspec.Struct, frozen=True):
    """SO_PEERCRED of a local socket."""

    pid: int
    uid: int
    gid: int


def peer_credentials(sock: socket.socket) -> PeerCredentials:
    """Say who is at the other end of `sock`."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return PeerCredentials(*struct.unpack("3i", raw))


def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected SOCK_SEQPACKET sockets with room for bursts."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        _enlarge(end)
    return ends


def listen(path: str, *, mode: int = 0o600, backlog: int = 64) -> socket.socket:
    """Bind a listening SOCK_SEQPACKET socket at `path`, replacing a stale one.

    OSError with EADDRINUSE when somebody listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        os.fchmod(sock.fileno(), mode)  # becomes the mode of the file: there is no moment when it is open to all
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _answers(path):
                raise
            os.unlink(path)
            sock.bind(path)
        os.chmod(path, mode)  # whatever the umask took away
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _answers(path: str) -> bool:
    """Say whether somebody listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError:  # not ours to remove: no socket, of another type, or too busy to answer
            return True
        return True


def _enlarge(sock: socket.socket) -> None:
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Read one datagram and its descriptors; empty data means that the other side has closed."""
    fds = array.array("i")
    data, ancillary, flags, _ = sock.recvmsg(
        MAX_MESSAGE, socket.CMSG_SPACE(MAX_FDS * fds.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in fds:
            os.close(fd)
        raise ChannelError(f"a message is larger than {MAX_MESSAGE} octets or {MAX_FDS} descriptors")
    return data, list(fds)


class Channel(Generic[T]):
    """One connection in an asyncio process.  Messages leave in the order of `send`."""

    def __init__(
        self,
        sock: socket.socket,
        types: Any,
        on_message: Callable[[T, list[int]], None],
        on_close: Callable[[str], None],
    ) -> None:
        """Take over `sock`; `on_message` owns the descriptors it gets; `on_close` is called once, with the reason."""
        sock.setblocking(False)
        self._sock = sock
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(types)
        self._encoder = msgspec.msgpack.Encoder()
        self._on_message = on_message
        self._on_close = on_close
        self._out: deque[tuple[bytes, Sequence[int]]] = deque()
        self._waiting = 0
        self._closed = False
        #: Called when everything that was held back has been sent.
        self.on_drained: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Octets held back here because the other side has not read what it was sent before."""
        return self._waiting

    def limit_unread(self, octets: int) -> None:
        """Let the kernel hold about `octets` for the other side, a message at least; the rest is held back here."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(octets, MAX_MESSAGE))  # the kernel doubles it

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Send `message` now or as soon as there is room; a closed channel swallows it.

        The descriptors are duplicated when they cannot be sent at once, so that the caller may close its own.
        """
        if self._closed:
            return
        data = self._encoder.encode(message)
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"a {type(message).__name__} of {len(data)} octets does not fit a message")
        if not self._out and self._send_now(data, fds):
            return
        if self._closed:
            return
        self._waiting += len(data)
        if self._waiting > MAX_BACKLOG:
            self.close(f"the other side does not read ({self._waiting} octets wait for it)")
            return
        try:
            self._out.append((data, [os.dup(fd) for fd in fds]))
        except OSError as error:
            self.close(f"cannot keep a descriptor for the other side: {error.strerror}")
            return
        if len(self._out) == 1:
            self._loop.add_writer(self._sock, self._writable)

    def close(self, reason: str = "closed here") -> None:
        """End the connection."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        for _, fds in self._out:
            for fd in fds:
                os.close(fd)
        self._out.clear()
        self._sock.close()
        self._on_close(reason)

    def _send_now(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            socket.send_fds(self._sock, [data], list(fds)) if fds else self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self.close(f"cannot send: {error.strerror}")
            return False
        return True

    def _writable(self) -> None:
        while self._out:
            data, fds = self._out[0]
            if not self._send_now(data, fds):
                return
            self._out.popleft()
            self._waiting -= len(data)
            for fd in fds:
                os.close(fd)
        self._loop.remove_writer(self._sock)
        if self.on_drained:
            self.on_drained()

    def _readable(self) -> None:
        for _ in range(64):  # then let others have their turn
            if self._closed:
                return
            try:
                data, fds = _receive(self._sock)
            except (BlockingIOError, InterruptedError):
                return
            except (OSError, ChannelError) as error:
                self.close(str(error))
                return
            if not data:
                for fd in fds:
                    os.close(fd)
                self.close("the other side closed")
                return
            try:
                message = self._decoder.decode(data)
            except _NO_MESSAGE as error:
                for fd in fds:
                    os.close(fd)
                self.close(f"not a message of this protocol: {error}")
                return
            self._on_message(message, fds)


class BlockingChannel(Generic[T]):
    """One connection in a command: plain calls with a time limit (None: wait for ever)."""

    def __init__(self, sock: socket.socket, types: Any, *, timeout: float | None = 10.0) -> None:
        """Take over `sock`."""
        sock.settimeout(timeout)
        self._sock = sock
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(types)

    @classmethod
    def connect(cls, path: str, types: Any, *, timeout: float | None = 10.0) -> BlockingChannel[T]:
        """Connect to the socket at `path`; OSError says why not."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(timeout)
        try:
            _enlarge(sock)
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return cls(sock, types, timeout=timeout)

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """Send one message."""
        data = msgspec.msgpack.encode(message)
        if len(data) > MAX_MESSAGE:
            raise ValueError(f"a {type(message).__name__} of {len(data)} octets does not fit a message")
        try:
            socket.send_fds(self._sock, [data], list(fds)) if fds else self._sock.send(data)
        except OSError as error:
            raise ChannelError(f"cannot send: {error.strerror or error}") from error

    def receive(self) -> T:
        """Wait for one message; descriptors that come with it are closed."""
        try:
            data, fds = _receive(self._sock)
        except TimeoutError as error:
            raise ChannelError("no answer in time") from error
        except OSError as error:
            raise ChannelError(f"cannot receive: {error.strerror or error}") from error
        for fd in fds:
            os.close(fd)
        if not data:
            raise ChannelError("the other side closed the connection")
        try:
            return self._decoder.decode(data)
        except _NO_MESSAGE as error:
            raise ChannelError(f"not a message of this protocol: {error}") from error

    def fileno(self) -> int:
        """For select."""
        return self._sock.fileno()

    def close(self) -> None:
        """End the connection."""
        self._sock.close()

    def __enter__(self) -> BlockingChannel[T]:
        """Use as a context that closes."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
