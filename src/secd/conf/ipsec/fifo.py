"""`ike` rules as the commands that OpenBSD's ipsecctl(8) writes to isakmpd(8): what `-nv` shows.

secd does not use them.  They show what a rule means in isakmpd.conf(5)'s terms, and a real isakmpd can be fed them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from secd.conf.addresses import Address, netmask
from secd.conf.identities import classify
from secd.conf.ipsec.rules import IkeRule, Phase
from secd.conf.ipsec.transforms import Encryption

_ID_TYPES = {
    "ipv4": "IPV4_ADDR", "ipv6": "IPV6_ADDR", "ufqdn": "USER_FQDN", "fqdn": "FQDN", "key_id": "KEY_ID",
    "asn1_dn": "ASN1_DN",
}  # fmt: skip


class IllegalTransformError(Exception):
    """isakmpd has no words for this algorithm here."""


class _Names(Struct, frozen=True):
    """The names of isakmpd's sections for a rule."""

    peer: str
    local: str
    nat: str
    remote: str

    @property
    def phase2(self) -> str:
        return f"{self.local}-{self.remote}"


def _names(rule: IkeRule) -> _Names:
    if rule.peer is None:
        peer = "peer-default"
    else:
        peer = f"peer-{rule.peer.address}" + (f"-local-{rule.local.address}" if rule.local else "")
    if rule.iface is not None:
        return _Names(peer, f"from-sec{rule.iface}", "", f"to-sec{rule.iface}")
    return _Names(
        peer,
        f"from-{rule.source}{_suffix(rule.proto, rule.source_port)}",
        f"nat-{rule.source.nat}{_suffix(rule.proto, rule.source_port)}" if rule.source.nat else "",
        f"to-{rule.destination}{_suffix(rule.proto, rule.destination_port)}",
    )


def _suffix(proto: int, port: int) -> str:
    if not proto:
        return ""
    return f"={proto}:{port}" if port else f"={proto}"


def add_commands(rule: IkeRule) -> Iterator[str]:
    """Yield the commands that make isakmpd negotiate by `rule`.

    `IllegalTransformError` in the middle, as in OpenBSD, when an algorithm cannot be had in that phase.
    """
    names = _names(rule)
    for section, tag, value in _settings(rule, names):
        verb = "add" if tag == "Transforms" and section.startswith("phase1-") else "set"
        yield f"C {verb} [{section}]:{tag}={value} force"
    connections = "Passive-Connections" if rule.mode == "passive" else "Connections"
    yield f"C add [Phase 2]:{connections}={names.phase2}"


def delete_commands(rule: IkeRule) -> Iterator[str]:
    """Yield the commands that make isakmpd forget `rule`; what it knows of phase 1 stays."""
    names = _names(rule)
    connections = "Passive-Connections" if rule.mode == "passive" else "Connections"
    yield f"t {names.phase2}"
    yield f"C rmv [Phase 2]:{connections}={names.phase2}"
    yield f"C rms [{names.phase2}]"
    yield f"C rms [phase2-{names.phase2}]"


_Settings = Iterator[tuple[str, str, str]]


def _settings(rule: IkeRule, names: _Names) -> _Settings:
    if rule.mode == "dynamic":
        yield "General", "Check-interval", "30"
        yield "General", "DPD-check-interval", "5"
    yield from _peer(rule, names)
    yield from _phase1(rule, names)
    yield from _phase1_ids(rule, names)
    yield from _phase2(rule, names)
    yield from _phase2_transform(rule, names)
    yield from _phase2_ids(rule, names)


def _peer(rule: IkeRule, names: _Names) -> _Settings:
    yield "Phase 1", rule.peer.address if rule.peer else "Default", names.peer
    yield names.peer, "Phase", "1"
    if rule.peer:
        yield names.peer, "Address", rule.peer.address
    if rule.local:
        yield names.peer, "Local-address", rule.local.address
    if rule.psk:
        yield names.peer, "Authentication", rule.psk.text


def _phase1(rule: IkeRule, names: _Names) -> _Settings:
    configuration = f"phase1-{names.peer}"
    yield names.peer, "Configuration", configuration
    yield configuration, "EXCHANGE_TYPE", "AGGRESSIVE" if rule.phase1.exchange == "aggressive" else "ID_PROT"
    auth, enc, group = rule.phase1.transforms.auth, rule.phase1.transforms.enc, rule.phase1.transforms.group
    if auth is None or enc is None or not enc.phase1:
        raise IllegalTransformError(enc.name if enc else "")
    if not auth.phase1:
        raise IllegalTransformError(auth.name)
    if group is None or not group.isakmpd:
        raise IllegalTransformError("group none")
    method = "PRE_SHARED" if rule.psk else "RSA_SIG"
    transform = f"phase1-transform-{names.peer}-{method}-{auth.hash}-{enc.label}-{group.isakmpd}"
    yield configuration, "Transforms", transform
    yield transform, "AUTHENTICATION_METHOD", method
    yield transform, "HASH_ALGORITHM", auth.hash
    yield transform, "ENCRYPTION_ALGORITHM", enc.phase1
    if enc.bits:
        yield transform, "KEY_LENGTH", enc.bits
    yield transform, "GROUP_DESCRIPTION", group.isakmpd
    yield from _life(transform, rule.phase1, "LIFE_MAIN_MODE")


def _life(transform: str, phase: Phase, default: str) -> _Settings:
    if phase.lifetime is None:
        yield transform, "Life", default
        return
    yield transform, "Life", f"{transform}-life"
    yield f"{transform}-life", "LIFE_TYPE", "SECONDS"
    yield f"{transform}-life", "LIFE_DURATION", str(phase.lifetime)


def _phase1_ids(rule: IkeRule, names: _Names) -> _Settings:
    for tag, identity in (("ID", rule.ids.source), ("Remote-ID", rule.ids.destination)):
        if identity is None:
            continue
        section = f"id-{identity}"
        shape, text = classify(identity)
        kind = _ID_TYPES[shape]
        yield names.peer, tag, section
        yield section, "ID-type", kind
        yield section, "Address" if kind.endswith("_ADDR") else "Name", text


def _phase2(rule: IkeRule, names: _Names) -> _Settings:
    name = names.phase2
    yield name, "Phase", "2"
    yield name, "ISAKMP-peer", names.peer
    yield name, "Configuration", f"phase2-{name}"
    yield name, "Local-ID", names.local
    if names.nat:
        yield name, "NAT-ID", names.nat
    yield name, "Remote-ID", names.remote
    if rule.tag is not None:
        yield name, "PF-Tag", rule.tag
    if rule.iface is not None:
        yield name, "Interface", str(rule.iface)


def _phase2_transform(rule: IkeRule, names: _Names) -> _Settings:
    name = names.phase2
    suite, protocol = f"phase2-suite-{name}", f"phase2-protocol-{name}"
    yield f"phase2-{name}", "EXCHANGE_TYPE", "QUICK_MODE"
    yield f"phase2-{name}", "Suites", suite
    yield suite, "Protocols", protocol
    yield protocol, "PROTOCOL_ID", "IPSEC_AH" if rule.satype == "ah" else "IPSEC_ESP"
    auth, enc, group = rule.phase2.transforms.auth, rule.phase2.transforms.enc, rule.phase2.transforms.group
    identifier = _transform_id(rule, enc)
    parts = [f"phase2-transform-{name}", enc.label if enc else "NONE"]
    if auth:
        parts.append(auth.hash)
    if group and group.isakmpd:
        parts.append(group.isakmpd)
    mode = rule.tunnel.upper()
    transform = "-".join([*parts, mode])
    yield protocol, "Transforms", transform
    yield transform, "TRANSFORM_ID", identifier
    if enc and enc.bits:
        yield transform, "KEY_LENGTH", enc.bits
    yield transform, "ENCAPSULATION_MODE", mode
    if auth:
        yield transform, "AUTHENTICATION_ALGORITHM", f"HMAC_{auth.hash}"
    if group and group.isakmpd:
        yield transform, "GROUP_DESCRIPTION", group.isakmpd
    yield from _life(transform, rule.phase2, "LIFE_QUICK_MODE")


def _transform_id(rule: IkeRule, enc: Encryption | None) -> str:
    if rule.satype == "ah":
        if enc:
            raise IllegalTransformError(enc.name)
        auth = rule.phase2.transforms.auth
        return auth.hash if auth else ""
    if enc is None or not enc.phase2:
        raise IllegalTransformError(enc.name if enc else "")
    return enc.phase2


def _phase2_ids(rule: IkeRule, names: _Names) -> _Settings:
    ends = [(names.local, rule.source, rule.source_port)]
    if rule.source.nat:
        ends.append((names.nat, rule.source.nat, rule.source_port))
    ends.append((names.remote, rule.destination, rule.destination_port))
    for section, address, _ in ends:
        yield from _network(section, address)
    if rule.proto:
        for section, _, _ in ends:
            yield section, "Protocol", str(rule.proto)
    for section, _, port in ends:
        if port:
            yield section, "Port", str(port)


def _network(section: str, address: Address) -> _Settings:
    if not address.network:
        yield section, "ID-type", f"IPV{address.family}_ADDR"
        yield section, "Address", address.address
        return
    yield section, "ID-type", f"IPV{address.family}_ADDR_SUBNET"
    yield section, "Network", address.address
    yield section, "Netmask", netmask(address)
