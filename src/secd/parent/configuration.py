"""The configuration as accepted: rules by source, all or nothing.

A load is prepared (checked whole, secrets exchanged for handles), then either committed or abandoned; until `commit`
nothing that anybody else sees has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import msgspec
from msgspec.structs import replace

from secd.control.messages import MAX_RULES, AddConnection
from secd.ike.connection import Connection
from secd.parent.keys import KeyHolder
from secd.parent.rules import (
    MAX_ERRORS,
    Load,
    RuleSet,
    check_manual,
    check_rules,
    check_selectors,
    check_together,
    sa_name,
)
from secd.sadb.messages import SA

#: Rules may come from so many sources at once.
MAX_SOURCES = 64


class LoadRefused(Exception):
    """The load is not acceptable; `errors` says why, each for a person."""

    def __init__(self, errors: list[str]) -> None:
        """Keep the errors."""
        super().__init__("; ".join(errors))
        self.errors = errors


class Prepared(msgspec.Struct):
    """A load that was found good: what will be, and the difference to what is."""

    sources: dict[str, RuleSet]
    warnings: list[str]
    remove: list[SA]  # manual SAs that end
    add: list[SA]  # manual SAs that begin, and those of the loaded source that stay


class Configuration:
    """All rules, by source."""

    def __init__(self, keys: KeyHolder) -> None:
        """Have no rules."""
        self._keys = keys
        self._sources: dict[str, RuleSet] = {}

    @property
    def sources(self) -> dict[str, RuleSet]:
        """The rules of each source; not to be changed."""
        return self._sources

    def connections(self) -> list[Connection]:
        """Every connection, in order of loading."""
        return [c for rules in self._sources.values() for c in rules.connections]

    def manual(self) -> list[SA]:
        """Every manual SA, with its keys."""
        return [m.sa for rules in self._sources.values() for m in rules.manual]

    def prepare(self, load: Load) -> Prepared:
        """Check `load` together with everything else; raises LoadRefused.  To be followed by `commit` or `abandon`."""
        if load.errors:
            raise LoadRefused(load.errors)
        warnings: list[str] = []
        sources = self._without(load, warnings) if load.delete else self._with(load)
        before = {sa_name(sa): sa for sa in self.manual()}
        after = {sa_name(m.sa): m.sa for rules in sources.values() for m in rules.manual}
        # Somebody may have flushed what we believe to be there: loading its source again brings it back.
        loaded = set() if load.delete else {sa_name(m.sa) for m in load.manual}
        return Prepared(
            sources=sources,
            warnings=warnings,
            remove=[sa for name, sa in before.items() if after.get(name) != sa],
            add=[sa for name, sa in after.items() if before.get(name) != sa or name in loaded],
        )

    def commit(self, prepared: Prepared) -> None:
        """Make it so."""
        self._sources = prepared.sources
        self.abandon()

    def abandon(self) -> None:
        """Forget what was prepared, its secrets with it."""
        self._keys.keep_only({handle for c in self.connections() for handle in _handles(c)})

    def _with(self, load: Load) -> dict[str, RuleSet]:
        """Give the sources as they are after `load` has replaced its own."""
        sources = {source: rules for source, rules in self._sources.items() if source != load.source}
        if len(sources) >= MAX_SOURCES:
            raise LoadRefused([f"rules of {MAX_SOURCES} sources are loaded already: put them into fewer files"])
        sources[load.source] = RuleSet(tuple(rule.connection for rule in load.connections), tuple(load.manual))
        total = sum(len(rules.connections) + len(rules.manual) for rules in sources.values())
        if total > MAX_RULES:
            raise LoadRefused([f"{load.source}: {total} rules with those of other sources; {MAX_RULES} are possible"])
        everything = sources.values()
        errors = chain(
            check_rules(load),
            check_together(everything),
            check_selectors(c for rules in everything for c in rules.connections),
            check_manual(m for rules in everything for m in rules.manual),
        )
        if found := list(islice(errors, MAX_ERRORS)):
            raise LoadRefused(found)
        # Secrets are taken in only now: a refused load must leave none behind.
        connections = tuple(self._with_handle(rule) for rule in load.connections)
        sources[load.source] = RuleSet(connections, tuple(load.manual))
        if not connections and not load.manual:
            del sources[load.source]
        return sources

    def _with_handle(self, rule: AddConnection) -> Connection:
        """Put the handles of its secrets in place of the secrets."""
        connection = rule.connection
        auth, ikev2 = replace(connection.auth, key=self._keys.hold(rule.secret)), connection.ikev2
        if ikev2 is not None and ikev2.ppk is not None:
            ikev2 = replace(ikev2, ppk=replace(ikev2.ppk, key=self._keys.hold(rule.ppk)))
        return replace(connection, auth=auth, ikev2=ikev2)

    def _without(self, load: Load, warnings: list[str]) -> dict[str, RuleSet]:
        """Give the sources without the rules listed, whichever source they came from."""
        connections = {rule.connection.name: rule.connection for rule in load.connections}
        manual = {sa_name(rule.sa): rule for rule in load.manual}
        sources: dict[str, RuleSet] = {}
        for source, rules in self._sources.items():
            kept = RuleSet(
                tuple(c for c in rules.connections if c.name not in connections),
                tuple(m for m in rules.manual if sa_name(m.sa) not in manual),
            )
            if kept.connections or kept.manual:
                sources[source] = kept
        loaded_names = {c.name for c in self.connections()}
        loaded_manual = {sa_name(sa) for sa in self.manual()}
        warnings += [
            f"{connection.origin}: {name} is not loaded"
            for name, connection in connections.items()
            if name not in loaded_names
        ]
        warnings += [
            f"{rule.origin}: SPI 0x{rule.sa.spi:08x} to {rule.sa.destination} is not loaded"
            for name, rule in manual.items()
            if name not in loaded_manual
        ]
        return sources


def _handles(connection: Connection) -> Iterator[str]:
    yield connection.auth.key
    if connection.ikev2 is not None and connection.ikev2.ppk is not None:
        yield connection.ikev2.ppk.key
