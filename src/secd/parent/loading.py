"""Loads: checked, applied to the data plane's manual SAs, and told to iked; one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from secd.control.family import ConfigureBegin, ConfigureCommit, ConfigureConnection
from secd.control.messages import Accepted, Behaviour, Refused
from secd.parent.configuration import Configuration, LoadRefused
from secd.parent.keys import KeyHolder
from secd.parent.manual import ManualSAs
from secd.parent.rules import Load, RuleSet

#: Longest text of an answer, in characters.
_MAX_TEXT = 1024

#: What is said when it changes, to false and to true.
_BEHAVIOUR = {
    "passive": ("active mode: tunnels are begun as their rules say", "passive mode: no tunnel is begun by us"),
    "decoupled": ("coupled: the data plane gets the SAs", "decoupled: SAs are negotiated, but carry nothing"),
    "verbose": ("log brief", "log verbose"),
}


class Loader:
    """Owns the configuration, and what `set` and ikectl(8) say of all tunnels."""

    def __init__(
        self,
        keys: KeyHolder,
        sadb: Path,
        log: Callable[[str, str], None],
        on_change: Callable[[], None],
        *,
        verbose: bool = False,
    ) -> None:
        """`sadb` is the SADB's socket; `on_change` is called when there is something new to tell iked."""
        self.passive = self.decoupled = False
        self.verbose = verbose
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
        yield ConfigureBegin(self.decoupled, self.verbose)
        for connection in self._configuration.connections():
            yield ConfigureConnection(replace(connection, mode="silent") if self.passive else connection)
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
            self._behave(load.behaviour)
            self._on_change()
        what = "took rules away as" if load.delete else "loaded"
        self._log("info", f"{what} {load.source}: {self.tunnels()} now")
        return Accepted(tuple(warning[:_MAX_TEXT] for warning in prepared.warnings))

    async def behave(self, behaviour: Behaviour) -> Accepted:
        """Be so from now on."""
        async with self._one_at_a_time:
            self._behave(behaviour)
            self._on_change()
        return Accepted()

    def _behave(self, behaviour: Behaviour) -> None:
        for name in ("passive", "decoupled", "verbose"):
            wanted: bool | None = getattr(behaviour, name)
            if wanted is not None and wanted != getattr(self, name):
                setattr(self, name, wanted)
                self._log("info", _BEHAVIOUR[name][wanted])

    def close(self) -> None:
        """Leave the manual SAs to their end."""
        self._manual.close()
