"""secd.sock: root's commands load configurations and ask what is loaded and what runs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import TypeVar

import msgspec

from secd.control.messages import (
    Accepted,
    AddConnection,
    AddManual,
    Behaviour,
    LoadBegin,
    LoadCommit,
    Processes,
    ProcessStatus,
    Refused,
    Rules,
    SetBehaviour,
    ShowProcesses,
    ShowRules,
    ToParent,
)
from secd.ipc.acceptor import Acceptor
from secd.ipc.channel import Channel, PeerCredentials
from secd.parent.rules import Load, RuleSet

#: So many commands may be connected at once.
MAX_CLIENTS = 32
#: One part of an answer to `ShowRules` holds so many octets at most.
_PART = 48 * 1024

T = TypeVar("T")


class ControlServer:
    """Serves the commands; what they want is done by the callables it is given."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        load: Callable[[Load], Coroutine[None, None, Accepted | Refused]],
        behave: Callable[[Behaviour], Coroutine[None, None, Accepted]],
        rules: Callable[[], dict[str, RuleSet]],
        processes: Callable[[], tuple[ProcessStatus, ...]],
        log: Callable[[str, str], None],
    ) -> None:
        """Serve on `listener`, which stays the caller's."""
        self.load, self.behave, self.rules, self.processes, self.log = load, behave, rules, processes, log
        self._clients: set[_Client] = set()
        self._acceptor = Acceptor(listener, self._accept, lambda trouble: log("error", f"secd.sock: {trouble}"))

    def close(self) -> None:
        """Serve nobody any more."""
        self._acceptor.close()
        for client in list(self._clients):
            client.channel.close()

    def _accept(self, sock: socket.socket, who: PeerCredentials) -> None:
        if who.uid not in (0, os.geteuid()) or len(self._clients) >= MAX_CLIENTS:
            self.log("warning", f"refused a connection of pid {who.pid}, user {who.uid} ({len(self._clients)} clients)")
            sock.close()
            return
        self._clients.add(_Client(self, sock))

    def forget(self, client: _Client) -> None:
        """Drop a client that is gone."""
        self._clients.discard(client)


class _Client:
    """One connected command."""

    def __init__(self, server: ControlServer, sock: socket.socket) -> None:
        self._server = server
        self._load: Load | None = None
        self._task: asyncio.Task[None] | None = None
        self.channel: Channel[ToParent] = Channel(sock, ToParent, self._on_message, lambda _: server.forget(self))

    def _on_message(self, message: ToParent, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        match message:
            case LoadBegin(source, mode, behaviour):
                self._load = Load(source, mode == "delete", behaviour=behaviour)
            case AddConnection() | AddManual():
                if self._load is None:
                    self.channel.close("a rule outside of a load")
                else:
                    self._load.take(message)
            case LoadCommit():
                self._commit()
            case SetBehaviour(behaviour):
                self._start(self._server.behave(behaviour))
            case ShowRules():
                for part in rule_parts(self._server.rules()):
                    self.channel.send(part)
            case ShowProcesses():
                self.channel.send(Processes(self._server.processes()))

    def _commit(self) -> None:
        load, self._load = self._load, None
        if load is None:
            self.channel.close("a commit without a load")
            return
        self._start(self._server.load(load))

    def _start(self, order: Coroutine[None, None, Accepted | Refused]) -> None:
        """Have an order carried out and answer it; one at a time."""
        if self._task and not self._task.done():
            order.close()
            self.channel.close("an order before the one before it was answered")
            return
        self._task = asyncio.get_running_loop().create_task(self._answer(order))

    async def _answer(self, order: Coroutine[None, None, Accepted | Refused]) -> None:
        self.channel.send(await order)


def rule_parts(sources: dict[str, RuleSet]) -> Iterator[Rules]:
    """Split what is loaded into messages, without secrets; the last one has `more` false."""
    parts = [part for source, rules in sources.items() for part in _source_parts(source, rules)]
    if not parts:
        parts = [Rules("", (), (), False)]
    parts[-1] = msgspec.structs.replace(parts[-1], more=False)
    yield from parts


def _source_parts(source: str, rules: RuleSet) -> Iterator[Rules]:
    for chunk in _chunks(rules.connections):
        yield Rules(source, chunk, (), True)
    for manual in _chunks(tuple(_blank(rule) for rule in rules.manual)):
        yield Rules(source, (), manual, True)


def _chunks(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    chunk: list[T] = []
    octets = 0
    for item in items:
        size = len(msgspec.msgpack.encode(item))
        if chunk and octets + size > _PART:
            yield tuple(chunk)
            chunk, octets = [], 0
        chunk.append(item)
        octets += size
    if chunk:
        yield tuple(chunk)


def _blank(rule: AddManual) -> AddManual:
    return AddManual(rule.origin, msgspec.structs.replace(rule.sa, encryption_key=b"", auth_key=b""))
