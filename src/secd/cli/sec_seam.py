"""The data plane as the `sec` command asks it: plain calls over sadb.sock, errors in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import TypeVar

from secd.cli.output import CommandError
from secd.ipc.channel import BlockingChannel, ChannelError
from secd.ipc.paths import sadb_socket
from secd.sadb.messages import (
    Begin,
    Commit,
    CountersEntry,
    CountersGet,
    Done,
    Dump,
    Entry,
    Failed,
    FromServer,
    InterfaceCreate,
    InterfaceDestroy,
    InterfaceDump,
    InterfaceEntry,
    InterfaceSet,
    Request,
)

T = TypeVar("T")


class Seam:
    """One connection; use it as a context."""

    def __init__(self) -> None:
        """Connect; CommandError tells why that cannot be."""
        path = sadb_socket()
        try:
            self._channel: BlockingChannel[FromServer] = BlockingChannel.connect(str(path), FromServer)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise CommandError(f"secd is not running (nobody answers at {path}): systemctl start secd") from error
        except PermissionError as error:
            raise CommandError(f"{path}: permission denied: only root may ask the data plane") from error

    def __enter__(self) -> Seam:
        """Use as a context that closes."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._channel.close()

    def sas(self) -> list[Entry]:
        """Every SA, without keys, in order of SPI."""
        return list(self._parts(Dump(1), Entry))

    def interfaces(self) -> dict[str, InterfaceEntry]:
        """Every interface that the data plane serves, by name."""
        return {entry.name: entry for entry in self._parts(InterfaceDump(1), InterfaceEntry)}

    def counters(self) -> dict[str, int]:
        """Every named counter."""
        answer = self._ask(CountersGet(1))
        if not isinstance(answer, CountersEntry):
            raise _unexpected(answer)
        return answer.counters

    def create(self, name: str) -> bool:
        """Make `name`; False when it was there and is secd's."""
        answer = self._ask(InterfaceCreate(1, name))
        if isinstance(answer, Failed) and answer.errno == errno.EEXIST and name in self.interfaces():
            return False
        _done(answer)
        return True

    def destroy(self, name: str) -> None:
        """Take `name` away."""
        _done(self._ask(InterfaceDestroy(1, name)))

    def set(self, name: str, *, tunneldf: bool | None = None, mss_clamp: bool | None = None) -> None:
        """Set options that the kernel does not keep; None leaves one as it is."""
        _done(self._ask(InterfaceSet(1, name, tunneldf, mss_clamp)))

    def _ask(self, request: Request) -> FromServer:
        try:
            self._channel.send(request)
            return self._channel.receive()
        except ChannelError as error:
            raise CommandError(f"the data plane gave no answer: {error}") from error

    def _parts(self, request: Request, kind: type[T]) -> Iterator[T]:
        answer = self._ask(request)
        if not isinstance(answer, Begin):
            raise _unexpected(answer)
        while True:
            try:
                part = self._channel.receive()
            except ChannelError as error:
                raise CommandError(f"the data plane's answer broke off: {error}") from error
            if isinstance(part, Commit):
                return
            if not isinstance(part, kind):
                raise _unexpected(part)
            yield part


def _done(answer: FromServer) -> None:
    if not isinstance(answer, Done):
        raise _unexpected(answer)


def _unexpected(answer: FromServer) -> CommandError:
    if isinstance(answer, Failed):
        return CommandError(answer.message)
    return CommandError(f"the data plane answered with {type(answer).__name__}, which fits no question of mine")
