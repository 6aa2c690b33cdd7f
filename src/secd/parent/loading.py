"""Loads: checked, applied to the data plane's manual SAs, and told to iked; one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from secd.control.family import ConfigureBegin, ConfigureCommit, ConfigureConnection
from secd.control.messages import Accepted, Refused
from secd.parent.configuration import Configuration, LoadRefused
from secd.parent.keys import KeyHolder
from secd.parent.manual import ManualSAs
from secd.parent.rules import Load, RuleSet

#: Longest text of an answer, in characters.
_MAX_TEXT = 1024


class Loader:
    """Owns the configuration."""

    def __init__(
        self, keys: KeyHolder, sadb: Path, log: Callable[[str, str], None], on_change: Callable[[], None]
    ) -> None:
        """`sadb` is the SADB's socket; `on_change` is called when there is something new to tell iked."""
        self._configuration = Configuration(keys)
        self._manual = ManualSAs(sadb, log)
        self._log = log
        self._on_change = on_change
        self._one_at_a_time = asyncio.Lock()

    def sources(self) -> dict[str, RuleSet]:
        """Give what is loaded."""
        return self._configuration.sources

    def tunnels(self) -> str:
        """Say how many there are, in words."""
        number = len(self._configuration.connections())
        return f"{number} tunnel{'' if number == 1 else 's'}"

    def messages(self) -> Iterator[ConfigureBegin | ConfigureConnection | ConfigureCommit]:
        """Give what iked has to be told: the whole of it."""
        yield ConfigureBegin()
        for connection in self._configuration.connections():
            yield ConfigureConnection(connection)
        yield ConfigureCommit()

    async def load(self, load: Load) -> Accepted | Refused:
        """Check and apply one load; after `Refused` nothing has changed."""
        async with self._one_at_a_time:
            try:
                prepared = self._configuration.prepare(load)
            except LoadRefused as refusal:
                return Refused(tuple(error[:_MAX_TEXT] for error in refusal.errors))
            errors = await self._manual.apply(prepared.remove, prepared.add)
            if errors:
                self._configuration.abandon()
                return Refused(tuple(f"{load.source}: {error}"[:_MAX_TEXT] for error in errors))
            self._configuration.commit(prepared)
            self._on_change()
        what = "took rules away as" if load.delete else "loaded"
        self._log("info", f"{what} {load.source}: {self.tunnels()} now")
        return Accepted(tuple(warning[:_MAX_TEXT] for warning in prepared.warnings))

    def close(self) -> None:
        """Leave the manual SAs to their end."""
        self._manual.close()
