"""What makes one loaded configuration acceptable: every check that needs no other process.

conf/ has checked each rule by itself; here the whole is judged, and what a wrong client might send is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from secd.control.messages import MAX_RULES, AddConnection, AddManual, Behaviour
from secd.ike.connection import Connection, PreSharedKey
from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS, SA

#: Largest encoded connection and largest encoded configuration, in octets: what one iked is told at its start.
MAX_CONNECTION = 40 * 1024
MAX_CONFIGURATION = 12 * 1024 * 1024

#: A counter mode never survives a nonce used twice under one key, and a fixed key outlives its counter (RFC 4106 §2).
_COUNTER_MODES = frozenset({"aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-poly1305"})

SAName = tuple[int, str, str]


def sa_name(sa: SA) -> SAName:
    """Name an SA as the seam does: SPI, direction, outer destination."""
    return sa.spi, sa.direction, sa.destination


class RuleSet(msgspec.Struct, frozen=True):
    """The rules of one source, in its order."""

    connections: tuple[Connection, ...] = ()
    manual: tuple[AddManual, ...] = ()


class Load(msgspec.Struct):
    """What came between a `LoadBegin` and its `LoadCommit`; `errors` are what was found on the way."""

    source: str
    delete: bool
    connections: list[AddConnection] = msgspec.field(default_factory=list)
    manual: list[AddManual] = msgspec.field(default_factory=list)
    errors: list[str] = msgspec.field(default_factory=list)
    octets: int = 0
    behaviour: Behaviour = Behaviour()

    def take(self, rule: AddConnection | AddManual) -> None:
        """Add one rule, within bounds; what is beyond them is dropped and makes the load fail."""
        if len(self.connections) + len(self.manual) >= MAX_RULES:
            self._fail(f"{self.source}: more than {MAX_RULES} rules")
            return
        if isinstance(rule, AddManual):
            self.manual.append(rule)
            return
        octets = len(msgspec.msgpack.encode(rule.connection))
        self.octets += octets
        if octets > MAX_CONNECTION:
            text = f"the rule has too many transforms or certificates ({octets} octets, {MAX_CONNECTION} are possible)"
            self._fail(f"{rule.connection.origin}: {text}")
        elif self.octets > MAX_CONFIGURATION:
            self._fail(f"{self.source}: the rules are too many and too long ({MAX_CONFIGURATION} octets are possible)")
        else:
            self.connections.append(rule)

    def _fail(self, error: str) -> None:
        if error not in self.errors and len(self.errors) < MAX_ERRORS:
            self.errors.append(error)


#: So many errors are told at once.
MAX_ERRORS = 50


def check_rules(load: Load) -> Iterator[str]:
    """Check each rule of a load that replaces."""
    for rule in load.connections:
        connection = rule.connection
        if not rule.secret:
            yield f'{connection.origin}: no key for {connection.name}: give `psk "..."`'
        yield from (f"{connection.origin}: {error}" for error in _errors(connection, rule))
    for manual in load.manual:
        yield from (f"{manual.origin}: {error}" for error in _manual_errors(manual.sa))


def _errors(connection: Connection, rule: AddConnection) -> Iterator[str]:
    """Check what only a wrong client would send: conf/ makes no such connections."""
    ikev2 = connection.ikev2
    if (ikev2 is not None) != (connection.version == 2):
        yield f"{connection.name} is of version {connection.version}, and what it says is of the other"
    elif ikev2 is not None:
        if not ikev2.ikesa or not ikev2.childsa or not ikev2.families:
            yield f"{connection.name} has nothing to offer"
        if (ikev2.ppk is not None) != bool(rule.ppk):
            yield f"{connection.name}: a post-quantum key and its name go together"
    else:
        psk = isinstance(connection.auth, PreSharedKey)
        if connection.exchange == "aggressive" and psk and not connection.aggressive_psk:
            yield "aggressive mode shows a hash of the pre-shared key to whoever asks, and was not asked for by name"
        if not connection.phase1 or not connection.phase2:
            yield f"{connection.name} has no transforms to offer"
        if not connection.phase1_lifetime or not connection.phase2_lifetime:
            yield "a lifetime of 0 seconds"


def _manual_errors(sa: SA) -> Iterator[str]:
    if sa.encryption in _COUNTER_MODES:
        yield f"{sa.encryption} cannot be used with a fixed key, its counter must never repeat: use `enc aes auth ...`"
    elif sa.encryption not in ENCRYPTION_KEY_OCTETS or sa.auth not in AUTH_KEY_OCTETS or not sa.auth:
        yield f"unknown algorithms {sa.encryption}/{sa.auth or 'none'}"
    else:
        for name, key, octets in (
            (sa.encryption, sa.encryption_key, ENCRYPTION_KEY_OCTETS[sa.encryption]),
            (sa.auth, sa.auth_key, AUTH_KEY_OCTETS[sa.auth]),
        ):
            if len(key) != octets:
                yield f"{name} takes a key of {octets * 8} bits, this one has {len(key) * 8}"


def check_together(sources: Iterable[RuleSet]) -> Iterator[str]:
    """Check that no two rules of all `sources` claim the same interface, peer or SA; the later one is blamed."""
    interfaces: dict[str, tuple[object, str]] = {}
    for rules in sources:
        for connection in rules.connections:
            _, other = interfaces.setdefault(connection.iface, (connection, connection.origin))
            if interfaces[connection.iface][0] is not connection:
                yield f"{connection.origin}: {connection.iface} is already used by the rule at {other}"
        for manual in rules.manual:
            owner, other = interfaces.setdefault(manual.sa.iface, (rules, manual.origin))
            if owner is not rules:
                yield f"{manual.origin}: {manual.sa.iface} is already used by the rule at {other}"


def check_selectors(connections: Iterable[Connection]) -> Iterator[str]:
    """Check that a peer's first message can be told to belong to one connection: IKE knows no interface names."""
    seen: dict[object, Connection] = {}
    names: dict[str, Connection] = {}
    for connection in connections:
        if names.setdefault(connection.name, connection) is not connection:
            continue  # said already: the same interface twice
        ends = connection.version, connection.local, connection.peer, connection.srcid, connection.dstid
        twin = seen.setdefault(ends, connection)
        if twin is not connection:
            yield (
                f"{connection.origin}: {connection.iface} and {twin.iface} ({twin.origin}) have the same local, peer, "
                "srcid and dstid, so that what the peer asks for could be either: give one of them another srcid or "
                "dstid"
            )


def check_manual(manual: Iterable[AddManual]) -> Iterator[str]:
    """Check that no SA is there twice."""
    seen: dict[SAName, str] = {}
    for rule in manual:
        other = seen.setdefault(sa_name(rule.sa), rule.origin)
        if other is not rule.origin:
            yield f"{rule.origin}: SPI 0x{rule.sa.spi:08x} to {rule.sa.destination} is already there, from {other}"
