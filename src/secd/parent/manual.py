"""Manual SAs: the parent is a client of the SADB like any other, and puts them back when the data plane restarts."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from secd.ipc.channel import Channel
from secd.parent.rules import SAName, sa_name
from secd.sadb.messages import SA, Add, Answer, Delete, Done, Failed, FromServer

#: Seconds to wait for the data plane to answer, and between attempts to reach it.
ANSWER_TIMEOUT = 5.0
RECONNECT_DELAY = 0.2


class ManualSAs:
    """Those that shall be in the data plane, and the connection to it (only while there are any)."""

    def __init__(self, path: Path, log: Callable[[str, str], None]) -> None:
        """`path` is the socket of the SADB."""
        self._path = path
        self._log = log
        self._wanted: dict[SAName, SA] = {}
        self._channel: Channel[FromServer] | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._seq = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def apply(self, remove: Iterable[SA], add: Iterable[SA]) -> list[str]:
        """Carry out a difference; when an SA is refused, undo it all and give the reasons.

        A data plane that is not there (it is being restarted) is no reason: it gets all of them when it is back.
        """
        removed, added = list(remove), list(add)
        if not removed and not added:
            return []
        before = dict(self._wanted)
        for sa in removed:
            self._wanted.pop(sa_name(sa), None)
        self._wanted |= {sa_name(sa): sa for sa in added}
        if not self._connect():
            return []
        for sa in removed:
            await self._ask(self._delete(sa))
        errors = [error for sa in added if (error := await self._install(sa, known=sa_name(sa) in before))]
        if not errors:
            return []
        for sa in added:
            if before.get(sa_name(sa)) != sa:
                await self._ask(self._delete(sa))
        for sa in removed:
            await self._install(sa, known=False)
        self._wanted = before
        return errors

    def close(self) -> None:
        """Leave the SAs to their end."""
        self._stopped = True
        if self._channel:
            self._channel.close()

    def _connect(self) -> bool:
        """Make sure that there is a connection; the parent's own listening socket queues it while sadb restarts."""
        if self._channel:
            return True
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setblocking(False)
            sock.connect(str(self._path))
        except OSError as error:
            sock.close()
            self._log("warning", f"cannot reach the SADB for the manual SAs: {error.strerror}")
            asyncio.get_running_loop().call_later(RECONNECT_DELAY, self._restore)
            return False
        self._channel = Channel(sock, FromServer, self._on_message, self._on_close)
        return True

    def _restore(self) -> None:
        """Put everything back after the data plane was restarted."""
        if self._stopped or not self._wanted or not self._connect():
            return
        task = asyncio.get_running_loop().create_task(self._restore_all())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _restore_all(self) -> None:
        for sa in list(self._wanted.values()):
            error = await self._install(sa, known=True)
            if error:
                self._log("error", f"manual SA of {sa.iface}: {error}")

    async def _install(self, sa: SA, *, known: bool) -> str:
        """Add `sa` and give an error or ""; one that is `known` may be there already."""
        answer = await self._ask(Add(next(self._seq), sa))
        if not isinstance(answer, Failed) or (known and answer.errno == errno.EEXIST):
            return ""
        return f"SPI 0x{sa.spi:08x} to {sa.destination}: {answer.message}"

    def _delete(self, sa: SA) -> Delete:
        return Delete(next(self._seq), sa.spi, sa.direction, sa.destination)

    async def _ask(self, request: Add | Delete) -> Answer | None:
        """Send and wait for the answer; None when the data plane gives none: then it is restored as a whole later."""
        if not self._channel:
            return None
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request.seq] = future
        self._channel.send(request)
        try:
            return await asyncio.wait_for(future, ANSWER_TIMEOUT)
        except TimeoutError:
            self._log("warning", f"the SADB did not answer within {ANSWER_TIMEOUT:g} s")
            return None
        except asyncio.CancelledError:
            if future.cancelled() and not self._channel:
                return None  # the connection was lost
            raise
        finally:
            self._waiting.pop(request.seq, None)

    def _on_message(self, message: FromServer, _fds: list[int]) -> None:
        if isinstance(message, Done | Failed) and (future := self._waiting.get(message.seq)) and not future.done():
            future.set_result(message)

    def _on_close(self, _reason: str) -> None:
        self._channel = None
        for future in self._waiting.values():
            future.cancel()
        if not self._stopped:
            asyncio.get_running_loop().call_later(RECONNECT_DELAY, self._restore)
