"""The data plane as the `sec` command asks it: the SADB client, with errors for the person at the terminal."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from secd.cli.output import CommandError
from secd.ipc.channel import ChannelError
from secd.ipc.paths import sadb_socket
from secd.sadb.client import SADB, SADBError
from secd.sadb.messages import Done, InterfaceSet


@contextmanager
def data_plane() -> Iterator[SADB]:
    """A connection for the length of a block; whatever goes wrong on it ends the block as CommandError."""
    path = sadb_socket()
    try:
        sadb = SADB.connect(str(path))
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
        raise CommandError(f"secd is not running (nobody answers at {path}): systemctl start secd") from error
    except PermissionError as error:
        raise CommandError(f"{path}: permission denied: only root may ask the data plane") from error
    with sadb:
        try:
            yield sadb
        except SADBError as error:
            raise CommandError(str(error)) from error
        except ChannelError as error:
            raise CommandError(f"the data plane gave no answer: {error}") from error


def create(sadb: SADB, name: str) -> bool:
    """Make an interface; False when it was there and is secd's."""
    try:
        sadb.create(name)
    except SADBError as error:
        if error.errno == errno.EEXIST and any(entry.name == name for entry in sadb.interfaces()):
            return False
        raise CommandError(str(error)) from error
    return True


def set_option(name: str, option: str, *, on: bool) -> bool:
    """Set `tunneldf` or `mssclamp` of an interface; False when it was so already."""
    with data_plane() as sadb:
        entry = next((entry for entry in sadb.interfaces() if entry.name == name), None)
        if entry is None:
            raise CommandError(f"{name}: the data plane does not serve it")
        if (entry.tunneldf if option == "tunneldf" else entry.mss_clamp) == on:
            return False
        wanted = {"tunneldf": on} if option == "tunneldf" else {"mss_clamp": on}
        sadb.ask(InterfaceSet(0, name, **wanted), Done)
    return True
