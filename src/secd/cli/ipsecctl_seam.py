"""The data plane as ipsecctl asks it: plain calls over sadb.sock, errors in words."""

from __future__ import annotations

from collections.abc import Iterator

from secd.ipc.channel import BlockingChannel, ChannelError
from secd.ipc.paths import sadb_socket
from secd.sadb.messages import Begin, Commit, Done, Dump, Entry, Failed, Flush, FromServer, Register, Request


class SeamError(Exception):
    """The data plane could not be asked, or did not do it; the text is for a person."""


def dump(*, with_keys: bool) -> list[Entry]:
    """Give every SA in order of SPI."""
    entries: list[Entry] = []
    with _connect() as channel:
        _send(channel, Dump(1, with_keys))
        answer = _receive(channel)
        if not isinstance(answer, Begin):
            raise _unexpected(answer)
        while not isinstance(answer := _receive(channel), Commit):
            if not isinstance(answer, Entry):
                raise _unexpected(answer)
            entries.append(answer)
    return sorted(entries, key=lambda entry: (entry.sa.spi, entry.sa.destination))


def flush() -> None:
    """Delete every SA."""
    with _connect() as channel:
        _send(channel, Flush(1))
        _done(_receive(channel))


def events() -> Iterator[FromServer]:
    """Yield what happens to SAs, until the data plane ends."""
    with _connect(timeout=None) as channel:
        _send(channel, Register(1, "monitor"))
        _done(_receive(channel))
        while True:
            yield _receive(channel)


_Channel = BlockingChannel[FromServer]


def _connect(timeout: float | None = 10.0) -> _Channel:
    path = sadb_socket()
    try:
        return BlockingChannel.connect(str(path), FromServer, timeout=timeout)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise SeamError(
            f"secd is not running (nobody answers at {path}): start it with `systemctl start secd` or `secd`"
        ) from error
    except PermissionError as error:
        raise SeamError(f"cannot ask the data plane at {path}: permission denied; become root") from error
    except OSError as error:
        raise SeamError(f"cannot ask the data plane at {path}: {error.strerror or error}") from error


def _send(channel: _Channel, request: Request) -> None:
    try:
        channel.send(request)
    except ChannelError as error:
        raise SeamError(f"the data plane: {error}") from error


def _receive(channel: _Channel) -> FromServer:
    try:
        return channel.receive()
    except ChannelError as error:
        raise SeamError(f"the data plane: {error}") from error


def _done(answer: FromServer) -> None:
    if not isinstance(answer, Done):
        raise _unexpected(answer)


def _unexpected(answer: FromServer) -> SeamError:
    if isinstance(answer, Failed):
        return SeamError(f"the data plane refused: {answer.message}")
    return SeamError(f"the data plane answered with a {type(answer).__name__}, which fits no question of mine")
