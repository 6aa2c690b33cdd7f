"""Both control sockets of a secd that records what it is told and answers what it is given."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from secd.control.messages import Accepted, LoadCommit, Reply, ToIked, ToParent
from secd.ipc.channel import BlockingChannel, ChannelError, listen


class Daemon:
    """`got` is what came, without what only frames it; `answers` by the kind of message, else `Accepted`."""

    def __init__(self, directory: Path) -> None:
        self.got: list[Any] = []
        self.answers: dict[str, list[Reply]] = {}
        self._servers = [
            _Server(self, directory / "secd.sock", ToParent), _Server(self, directory / "iked.sock", ToIked),
        ]  # fmt: skip

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def take(self, message: Any) -> list[Reply]:
        """Note a message; give the answers to it, none while a load goes on."""
        self.got.append(message)
        kind = type(message).__name__
        if kind in ("LoadBegin", "AddConnection", "AddManual"):
            return []
        return self.answers.get("load" if isinstance(message, LoadCommit) else kind, [Accepted()])


class _Server:
    def __init__(self, daemon: Daemon, path: Path, types: Any) -> None:
        self._daemon, self._types = daemon, types
        self._socket = listen(str(path))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            channel: BlockingChannel[Any] = BlockingChannel(sock, self._types, timeout=5)
            try:
                while True:
                    for answer in self._daemon.take(channel.receive()):
                        channel.send(answer)
            except ChannelError:
                pass
            channel.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
