"""Statements to rules: one rule for each pair of addresses, defaults filled in, contradictions found.

The defaults are OpenBSD's, so that the same line here and there interoperate.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from msgspec.structs import replace

from secd.conf import services
from secd.conf.addresses import ANY, Address
from secd.conf.diagnostics import Diagnostics, Origin, TooManyErrors
from secd.conf.ipsec.rules import (
    BundleRule,
    FlowRule,
    FlowStatement,
    Hosts,
    Ids,
    IkeRule,
    IkeStatement,
    Peers,
    Phase,
    Rule,
    SaRule,
    SaStatement,
    Statement,
    StaticKey,
)
from secd.conf.ipsec.transforms import (
    DEFAULT_AUTHENTICATION_1,
    DEFAULT_AUTHENTICATION_2,
    DEFAULT_COMPRESSION,
    DEFAULT_ENCRYPTION,
    DEFAULT_GROUP,
    Transforms,
)

#: Rules that one configuration may come to.
MAX_RULES = 50_000

_WITHOUT_PEER = ("deny", "bypass")


class ExpansionError(Exception):
    """What the statement says cannot be; the text says why."""


class Expander:
    """Appends the rules of each statement to a list."""

    def __init__(self, rules: list[Rule], diagnostics: Diagnostics) -> None:
        """Append to `rules`; report to `diagnostics`."""
        self._rules = rules
        self._diagnostics = diagnostics
        self._default_peer: IkeRule | None = None
        self._bundles: dict[tuple[Address, Address, str], SaRule] = {}

    def add(self, statement: Statement, origin: Origin) -> bool:
        """Expand `statement`, which ended at `origin`; give False after an error."""
        try:
            if isinstance(statement, FlowStatement):
                self._extend(_flows(statement, origin), origin)
            elif isinstance(statement, IkeStatement):
                self._extend(self._connections(statement, origin), origin)
            else:
                self._extend(self._bundled(_associations(statement, origin)), origin)
        except ExpansionError as error:
            self._diagnostics.error(str(error), origin)
            return False
        return True

    def _extend(self, rules: Iterator[Rule], origin: Origin) -> None:
        for rule in rules:
            self._rules.append(rule)
            if len(self._rules) > MAX_RULES:
                self._diagnostics.error(f"more than {MAX_RULES} rules", origin)
                raise TooManyErrors

    def _bundled(self, rules: Iterator[SaRule]) -> Iterator[Rule]:
        for rule in rules:
            yield rule
            if rule.bundle is not None:
                key = (rule.source, rule.destination, rule.bundle)
                last = self._bundles.get(key)
                self._bundles[key] = rule
                if last:
                    yield BundleRule(rule.origin, last, rule)

    def _connections(self, statement: IkeStatement, origin: Origin) -> Iterator[IkeRule]:
        for rule in _connections(statement, origin):
            if rule.peer is None and rule.iface is None:
                self._check_default_peer(rule)
            yield rule

    def _check_default_peer(self, rule: IkeRule) -> None:
        """Warn when rules for whoever comes do not agree on phase 1, of which isakmpd keeps only one.

        Rules with `interface` are told apart by their pre-shared keys instead.
        """
        first = self._default_peer
        if first is None:
            self._default_peer = rule
            return
        psks_differ = first.psk is not None and rule.psk is not None and first.psk.text != rule.psk.text
        for differs, what in (
            (first.local != rule.local, "local"),
            ((first.psk is None) != (rule.psk is None), "phase 1 auth"),
            (psks_differ, "psk"),
            (first.phase1.exchange != rule.phase1.exchange, "phase 1 mode"),
            (first.ids.source != rule.ids.source, "srcid"),
            (first.ids.destination != rule.ids.destination, "dstid"),
        ):
            if differs:
                self._diagnostics.warning(f"default peer {what} mismatch", rule.origin)


# -- addresses --------------------------------------------------------------------------------------------


def _pairs(hosts: Hosts) -> Iterator[tuple[Address, Address]]:
    """Pair each source with each destination of its family."""
    sources = {address.family for address in hosts.source}
    destinations = {address.family for address in hosts.destination}
    if (4 in sources) != (4 in destinations) and (6 in sources) != (6 in destinations):
        raise ExpansionError("source/destination address families do not match")
    for source in hosts.source:
        if source.nat and source.nat.family != source.family:
            raise ExpansionError("Flow NAT address family mismatch")
        for destination in hosts.destination:
            if source.family == destination.family:
                yield source, destination


def _check_ports(hosts: Hosts, proto: int) -> None:
    if (hosts.source_port or hosts.destination_port) and proto not in (services.TCP, services.UDP):
        raise ExpansionError("no protocol supplied with source/destination ports")


def _peer(peers: Peers, remote: Address) -> Address | None:
    """Give the peer: the one that was named, the remote end if it is a host, or none in particular."""
    if peers.peer == "any":
        return None
    if peers.peer:
        return _same_family(peers.peer, peers.local)
    return None if remote.network else remote


def _same_family(candidates: tuple[Address, ...], other: tuple[Address, ...]) -> Address:
    """Give the first of `candidates` that `other` can speak with, or simply the first."""
    families = {address.family for address in other}
    return next((address for address in candidates if address.family in families), candidates[0])


def _local(peers: Peers, peer: Address | None) -> Address | None:
    if not peers.local:
        return None
    return _same_family(peers.local, (peer,) if peer else ())


# -- flow -------------------------------------------------------------------------------------------------


def _flows(statement: FlowStatement, origin: Origin) -> Iterator[FlowRule]:
    _check_ports(statement.hosts, statement.proto)
    kind = statement.type or "require"
    for source, destination in _pairs(statement.hosts):
        remote = source if statement.direction == "in" else destination
        peer = local = None
        if kind not in _WITHOUT_PEER:
            peer = _peer(statement.peers, remote)
            if peer is None and statement.peers.peer != "any":
                raise ExpansionError(f"no peer specified for destination {destination}")
            local = _local(statement.peers, peer)
        rule = FlowRule(
            origin, statement.satype, statement.direction or "out", statement.proto,
            source, statement.hosts.source_port, destination, statement.hosts.destination_port,
            local, peer, statement.ids, kind,
        )  # fmt: skip
        yield rule
        if statement.direction is None:
            yield replace(
                rule, direction="in", source=destination, source_port=rule.destination_port, destination=source,
                destination_port=rule.source_port,
            )  # fmt: skip


# -- esp, ah, ipcomp, ipip, tcpmd5 ------------------------------------------------------------------------


def _associations(statement: SaStatement, origin: Origin) -> Iterator[SaRule]:
    transforms = _sa_transforms(statement)
    _check_keys(statement, transforms)
    if statement.iface is not None:
        _check_interface(statement)
    for source, destination in _pairs(statement.hosts):
        rule = SaRule(
            origin, statement.satype, statement.mode, statement.iface, "out", source, destination, statement.spis[0],
            statement.udpencap, transforms, statement.authkeys[0], statement.enckeys[0], statement.bundle,
        )  # fmt: skip
        yield rule
        if statement.spis[1] is not None:
            yield replace(
                rule, direction="out" if statement.iface is None else "in", source=destination, destination=source,
                spi=statement.spis[1], authkey=statement.authkeys[1], enckey=statement.enckeys[1],
            )  # fmt: skip


def _check_interface(statement: SaStatement) -> None:
    if statement.spis[1] is None:
        raise ExpansionError("esp interface needs the SPIs of both directions: spi OUT:IN, and two keys each")
    if len(list(_pairs(statement.hosts))) != 1:
        raise ExpansionError("esp interface needs one address after from and one after to")


def _sa_transforms(statement: SaStatement) -> Transforms:
    """Fill in the defaults and refuse what the protocol does not do."""
    given, satype = statement.transforms, statement.satype
    if given.group:
        raise ExpansionError(f"{satype} with static keys has no group")
    if satype == "esp":
        if given.comp:
            raise ExpansionError("esp does not provide compression")
        enc = given.enc or DEFAULT_ENCRYPTION
        if not enc.static:
            raise ExpansionError(f"{enc.name} is disallowed with static keys")
        return Transforms(given.auth or DEFAULT_AUTHENTICATION_2, enc)
    if satype == "ah":
        if given.enc or given.comp:
            raise ExpansionError("ah does not provide encryption or compression")
        return Transforms(given.auth or DEFAULT_AUTHENTICATION_2)
    if satype == "ipcomp":
        if given.auth or given.enc:
            raise ExpansionError("no encryption or authentication with ipcomp")
        return Transforms(comp=given.comp or DEFAULT_COMPRESSION)
    if given.auth or given.enc or given.comp:
        raise ExpansionError(f"{satype} does not provide encryption, authentication or compression")
    return Transforms()


def _check_keys(statement: SaStatement, transforms: Transforms) -> None:
    ways = (0,) if statement.spis[1] is None else (0, 1)
    if ways == (0,) and (statement.authkeys[1] or statement.enckeys[1]):
        raise ExpansionError("a second key needs a second SPI: spi X:Y")
    if statement.satype == "tcpmd5":
        if not all(statement.authkeys[way] for way in ways):
            raise ExpansionError("authentication key needed for tcpmd5")
        return
    for way in ways:
        _check_key("authentication", statement.authkeys[way], *_authentication_sizes(transforms))
        _check_key("encryption", statement.enckeys[way], *_encryption_sizes(transforms))


def _authentication_sizes(transforms: Transforms) -> tuple[str, int, int]:
    auth = transforms.auth
    return (auth.name, auth.key, auth.key) if auth else ("", 0, 0)


def _encryption_sizes(transforms: Transforms) -> tuple[str, int, int]:
    enc = transforms.enc
    return (enc.name, enc.key_min, enc.key_max) if enc else ("", 0, 0)


def _check_key(what: str, key: StaticKey | None, name: str, minimum: int, maximum: int) -> None:
    if key is None:
        if minimum:
            raise ExpansionError(f"no {what} key specified for {name}")
        return
    size = 8 * len(key.octets)
    if not maximum:
        raise ExpansionError(f"{name or 'this protocol'} takes no {what} key")
    if not minimum <= len(key.octets) <= maximum:
        wanted = f"{8 * minimum}" if minimum == maximum else f"{8 * minimum} to {8 * maximum}"
        raise ExpansionError(f"wrong {what} key length: {size} bits, {name} needs {wanted} bits")


# -- ike --------------------------------------------------------------------------------------------------


def _connections(statement: IkeStatement, origin: Origin) -> Iterator[IkeRule]:
    # `interface secN` stands for everything that is routed there: one rule, and no twin for IPv6.
    hosts = statement.hosts or Hosts((ANY[0],), (ANY[0],))
    _check_ports(hosts, statement.proto)
    phase1 = _phase(statement.phase1, Transforms(DEFAULT_AUTHENTICATION_1, DEFAULT_ENCRYPTION, None, DEFAULT_GROUP))
    enc = None if statement.satype == "ah" else DEFAULT_ENCRYPTION
    phase2 = _phase(statement.phase2, Transforms(DEFAULT_AUTHENTICATION_2, enc, None, DEFAULT_GROUP))
    ids = statement.ids
    if statement.mode == "dynamic" and ids.source is None:
        ids = Ids(socket.gethostname(), ids.destination)
    for source, destination in _pairs(hosts):
        peer = _peer(statement.peers, destination)
        yield IkeRule(
            origin, statement.mode, statement.iface, statement.satype, statement.tunnel, statement.proto,
            source, hosts.source_port, destination, hosts.destination_port, _local(statement.peers, peer), peer,
            phase1, phase2, ids, statement.psk, statement.tag,
        )  # fmt: skip


def _phase(phase: Phase, defaults: Transforms) -> Phase:
    given = phase.transforms
    if given.comp:
        raise ExpansionError("comp is for ipcomp rules")
    enc = given.enc or defaults.enc
    if enc and enc.combined and given.auth:
        raise ExpansionError(f"authentication is implicit for {enc.name}")
    auth = given.auth or (None if enc and enc.combined else defaults.auth)
    return replace(phase, transforms=Transforms(auth, enc, None, given.group or defaults.group))
