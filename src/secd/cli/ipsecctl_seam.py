"""The data plane as ipsecctl asks it: what goes wrong, in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secd.ipc.channel import ChannelError
from secd.ipc.paths import sadb_socket
from secd.sadb.client import SADB, SADBError
from secd.sadb.messages import Done, Entry, FromServer, Register


class SeamError(Exception):
    """The data plane could not be asked, or did not do it; the text is for a person."""


def dump(*, with_keys: bool) -> list[Entry]:
    """Give every SA in order of SPI."""
    with _seam() as sadb:
        return sorted(sadb.dump(with_keys=with_keys), key=lambda entry: (entry.sa.spi, entry.sa.destination))


def flush() -> None:
    """Delete every SA."""
    with _seam() as sadb:
        sadb.flush()


def events() -> Iterator[FromServer]:
    """Yield what happens to SAs, until the data plane ends."""
    with _seam(timeout=None) as sadb:
        sadb.ask(Register(0, "monitor"), Done)
        while True:
            yield sadb.receive()


@contextmanager
def _seam(timeout: float | None = 10.0) -> Iterator[SADB]:
    path = sadb_socket()
    try:
        with SADB.connect(str(path), timeout=timeout) as sadb:
            yield sadb
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise SeamError(
            f"secd is not running (nobody answers at {path}): start it with `systemctl start secd` or `secd`"
        ) from error
    except PermissionError as error:
        raise SeamError(f"cannot ask the data plane at {path}: permission denied; become root") from error
    except SADBError as error:
        raise SeamError(f"the data plane refused: {error}") from error
    except ChannelError as error:
        raise SeamError(f"the data plane gave no answer: {error}") from error
