"""iked.sock: root's commands ask how the tunnels are, reset them, and listen to the log."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

import msgspec

from secd.control.messages import Accepted, Logged, Monitor, Refused, Rekey, Reset, ShowStatus, Status, ToIked
from secd.ike.contract import ConnectionStatus, Log, SAKind
from secd.iked.logs import Logs
from secd.ipc.acceptor import Acceptor
from secd.ipc.channel import Channel, PeerCredentials

#: So many commands may be connected at once.
MAX_CLIENTS = 32
#: So many questions wait while there is no telling yet.
MAX_WAITING = 256
#: One part of a status holds so many octets at most.
_PART = 48 * 1024


class ControlServer:
    """Serves the commands."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        allowed: frozenset[int],
        status: Callable[[], list[ConnectionStatus]],
        reset: Callable[[str | None], bool],
        rekey: Callable[[str, SAKind], str],
        logs: Logs,
    ) -> None:
        """Serve users `allowed` on `listener`."""
        self.status, self.reset, self.rekey, self.logs = status, reset, rekey, logs
        self._allowed = allowed
        self._clients: set[_Client] = set()
        self._settled = False
        self._waiting: list[Callable[[], None]] = []
        self._acceptor = Acceptor(
            listener, self._accept, lambda trouble: logs.own("error", "control", f"iked.sock: {trouble}")
        )

    def _accept(self, sock: socket.socket, who: PeerCredentials) -> None:
        if who.uid not in self._allowed or len(self._clients) >= MAX_CLIENTS:
            clients = len(self._clients)
            self.logs.own("warning", "control", f"refused pid {who.pid} of user {who.uid} ({clients} are connected)")
            sock.close()
            return
        self._clients.add(_Client(self, sock))

    def settle(self, settled: bool) -> None:
        """Say whether the tunnels are known: not before the first configuration, nor while another one is coming in."""
        self._settled = settled
        if settled:
            waiting, self._waiting = self._waiting, []
            for answer in waiting:
                answer()

    def when_settled(self, answer: Callable[[], None]) -> None:
        """Call `answer` now, or as soon as there is something to tell."""
        if self._settled:
            answer()
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append(answer)

    def forget(self, client: _Client) -> None:
        """Drop a client that is gone."""
        self._clients.discard(client)

    def close(self) -> None:
        """Serve nobody any more."""
        self._acceptor.close()
        for client in list(self._clients):
            client.channel.close()


class _Client:
    """One connected command."""

    def __init__(self, server: ControlServer, sock: socket.socket) -> None:
        self._server = server
        self.channel: Channel[ToIked] = Channel(sock, ToIked, self._on_message, self._on_close)

    def _on_message(self, message: ToIked, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        match message:
            case ShowStatus():
                self._server.when_settled(self._show_status)
            case Reset(name):
                self._server.when_settled(lambda: self.channel.send(self._reset(name)))
            case Rekey(name, what):
                self._server.when_settled(lambda: self.channel.send(self._rekey(name, what)))
            case Monitor():
                self._server.logs.monitors.add(self._logged)

    def _show_status(self) -> None:
        for part in parts(self._server.status()):
            self.channel.send(part)

    def _reset(self, name: str | None) -> Accepted | Refused:
        if self._server.reset(name):
            return Accepted()
        return Refused((f"there is no tunnel {name}{self._others()}"[:1024],))

    def _rekey(self, name: str, what: SAKind) -> Accepted | Refused:
        refusal = self._server.rekey(name, what)
        if not refusal:
            return Accepted()
        known = name in {status.connection.name for status in self._server.status()}
        return Refused((f"{refusal}{'' if known else self._others()}"[:1024],))

    def _others(self) -> str:
        names = ", ".join(status.connection.name for status in self._server.status()[:20])
        return f"; there are: {names or 'none'}"

    def _logged(self, log: Log) -> None:
        self.channel.send(Logged(time.time(), log))

    def _on_close(self, _reason: str) -> None:
        self._server.logs.monitors.discard(self._logged)
        self._server.forget(self)


def parts(tunnels: list[ConnectionStatus]) -> Iterator[Status]:
    """Split the status of all tunnels into messages; the last one has `more` false."""
    chunk: list[ConnectionStatus] = []
    octets = 0
    for tunnel in tunnels:
        size = len(msgspec.msgpack.encode(tunnel))
        if chunk and octets + size > _PART:
            yield Status(tuple(chunk), True)
            chunk, octets = [], 0
        chunk.append(tunnel)
        octets += size
    yield Status(tuple(chunk), False)
