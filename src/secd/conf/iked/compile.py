"""Policies to connections: what iked.conf(5) comes to in secd.

Everything that cannot be carried out is refused here, by file and line, so that `ikectl check` tells.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from secd.conf.addresses import Family
from secd.conf.diagnostics import Diagnostics, Origin, TooManyErrors
from secd.conf.identities import classify
from secd.conf.iked.credentials import CredentialsError, KeyStore
from secd.conf.iked.grammar import Parsed
from secd.conf.iked.proposals import ProposalError, child_proposals, ike_proposals
from secd.conf.iked.refuse import refusals
from secd.conf.iked.rules import PPK, PSK, ConfigItem, Policy, Settings, Signed
from secd.control.messages import AddConnection, Behaviour
from secd.ike.connection import Connection, DeadPeerDetection, IKEv2, PostQuantumKey, PreSharedKey, Signature
from secd.ike.wire.distinguished_names import name_from_text
from secd.sadb.messages import Identity

MAX_ID = 255  # octets
MAX_ORIGIN = 1000

_SEC = re.compile(r"sec(0|[1-9][0-9]{0,9})", re.ASCII)


class NotPossibleError(Exception):
    """A policy that cannot be carried out; the text says why and what to write instead."""


class Compiled(Struct, frozen=True):
    """What a configuration comes to; nothing is to be loaded when `diagnostics` has errors.

    `connections` stand in the order of precedence: of those that a peer could mean the last one counts.
    """

    connections: tuple[AddConnection, ...]
    behaviour: Behaviour
    diagnostics: Diagnostics


def compile_policies(parsed: Parsed, open_store: Callable[[], KeyStore]) -> Compiled:
    """Translate every policy; the keys and certificates are opened when the first policy needs them."""
    diagnostics = Diagnostics()
    compiler = _Compiler(parsed.settings, open_store, diagnostics)
    made: list[tuple[Policy, AddConnection]] = []
    try:
        for user in parsed.users:
            text = f"user {user.name[:40]}: there is no EAP here, which users are for: use psk or certificates"
            diagnostics.error(text, user.origin)
        for policy in parsed.policies:
            connection = compiler.connection(policy)
            if connection is not None:
                made.append((policy, connection))
    except TooManyErrors:
        pass
    behaviour = Behaviour(passive=parsed.settings.passive, decoupled=parsed.settings.decouple)
    return Compiled(tuple(_by_precedence(made)), behaviour, diagnostics)


def _by_precedence(made: list[tuple[Policy, AddConnection]]) -> Iterator[AddConnection]:
    """Order so that of the policies that match the last one counts.

    `default` counts least.  `quick` ends the search where it stands, so it counts more than all that are not quick, and
    the first of them most.
    """
    yield from (connection for policy, connection in made if policy.eval == "default")
    yield from (connection for policy, connection in made if policy.eval == "")
    yield from (connection for policy, connection in reversed(made) if policy.eval == "quick")


class _Compiler:
    """Compiles one policy after the other, and remembers what no two may have in common."""

    def __init__(self, settings: Settings, open_store: Callable[[], KeyStore], diagnostics: Diagnostics) -> None:
        self._settings = settings
        self._open_store = open_store
        self._diagnostics = diagnostics
        self._taken: dict[object, Origin] = {}

    @cached_property
    def _store(self) -> KeyStore:
        return self._open_store()

    def connection(self, policy: Policy) -> AddConnection | None:
        """Give what `policy` comes to, or nothing after an error."""
        refused = list(refusals(policy))
        for text in refused:
            self._diagnostics.error(text, policy.origin)
        if refused:
            return None
        try:
            return self._connection(policy)
        except (NotPossibleError, ProposalError, CredentialsError) as error:
            self._diagnostics.error(str(error), policy.origin)
            return None

    def _connection(self, policy: Policy) -> AddConnection:
        iface = _interface(policy.iface or "")
        srcid = _identity("srcid", _srcid(policy))
        dstid = None if policy.dstid is None else _identity("dstid", policy.dstid)
        self._claims(policy, iface, srcid, dstid)
        ppk, ppk_secret = _ppk(policy.ppk, iface)
        settings = self._settings
        if not policy.active and any(not item.provide for item in policy.config):
            text = "request: only who begins can ask for an address, and a passive policy never does: write `active`"
            self._diagnostics.warning(text, policy.origin)
        connection = Connection(
            name=iface,
            origin=str(policy.origin).encode("utf-8", "backslashreplace").decode()[-MAX_ORIGIN:],
            iface=iface,
            mode="active" if policy.active else "passive",
            version=2,
            local=policy.local.address if policy.local else None,
            peer=policy.peer.address if policy.peer else None,
            srcid=srcid,
            dstid=dstid,
            dpd=DeadPeerDetection(settings.dpd_check_interval) if settings.dpd_check_interval else None,
            ikev2=IKEv2(
                ikesa=ike_proposals(policy.ikesa),
                childsa=child_proposals(policy.childsa),
                ike_lifetime=policy.ikelifetime,
                lifetime=policy.lifetime,
                lifetime_bytes=policy.lifetime_bytes,
                provide=tuple(_config(item) for item in policy.config if item.provide),
                request=tuple(_config(item) for item in policy.config if not item.provide),
                fragmentation=settings.fragmentation,
                mobike=settings.mobike,
                redirect=settings.redirect,
                ppk=ppk,
                families=_families(policy),
                force_natt=policy.natt,
                vendorid=settings.vendorid,
            ),
        )
        if isinstance(policy.auth, PSK):
            connection = replace(connection, auth=PreSharedKey(iface))
            return AddConnection(connection, policy.auth.octets, ppk_secret)
        return self._signed(policy, policy.auth, connection, ppk_secret)

    def _signed(self, policy: Policy, auth: object, connection: Connection, ppk: bytes) -> AddConnection:
        if not isinstance(auth, Signed) or connection.srcid is None:
            raise NotPossibleError('write psk "..." or use certificates')
        found = self._store.credentials(connection.srcid, _srcid(policy), connection.dstid, auth.method)
        for warning in found.warnings:
            self._diagnostics.warning(warning, policy.origin)
        signature = Signature(
            connection.name, found.chain, found.authorities, found.crls, found.peer_keys, auth.method,
            b"" if found.chain else found.public_key,
        )  # fmt: skip
        return AddConnection(replace(connection, srcid=found.srcid, auth=signature), found.private_key, ppk)

    def _claims(self, policy: Policy, iface: str, srcid: Identity, dstid: Identity | None) -> None:
        self._claim(iface, policy, f"{iface} is already used by the policy at")
        ends = (policy.local, policy.peer, srcid, dstid)
        self._claim(
            ends, policy, "nothing tells this peer from that of another policy (equal local, peer, srcid and dstid): "
            "give one of them another dstid; the other is at",
        )  # fmt: skip
        if policy.eval == "default":
            self._claim("default", policy, "default policy already set, at")

    def _claim(self, what: object, policy: Policy, message: str) -> None:
        other = self._taken.setdefault(what, policy.origin)
        if other is not policy.origin:
            raise NotPossibleError(f"{message} {other}")


def _interface(name: str) -> str:
    if not _SEC.fullmatch(name):
        raise NotPossibleError(f"iface {name[:40]}: write secN: traffic goes through sec interfaces only")
    if int(name.removeprefix("sec")) > 0xFFFFFFFF:
        raise NotPossibleError(f"iface {name}: the number is too large")
    return name


def _srcid(policy: Policy) -> str:
    """Give how we call ourselves: as iked(8), by the name of the host unless told otherwise."""
    return policy.srcid if policy.srcid is not None else socket.gethostname()


def _identity(keyword: str, text: str) -> Identity:
    kind, value = classify(text)
    if not value or len(value.encode("utf-8", "surrogateescape")) > MAX_ID:
        raise NotPossibleError(f"{keyword}: an identity has 1 to {MAX_ID} octets")
    if not value.isprintable():
        raise NotPossibleError(f"{keyword}: a character that cannot be in an identity")
    if kind in ("ipv4", "ipv6"):
        return Identity("prefix", f"{value}/{32 if kind == 'ipv4' else 128}")
    if kind == "asn1_dn":
        try:
            return Identity("asn1_dn", f"0x{name_from_text(value).hex()}")
        except ValueError as error:
            raise NotPossibleError(f"{keyword}: {error}") from error
    return Identity("fqdn" if kind == "fqdn" else "ufqdn" if kind == "ufqdn" else "key_id", value)


def _families(policy: Policy) -> tuple[Family, ...]:
    """Give the families of the selectors, IPv4 first."""
    return tuple(sorted({hosts.source.address.family for hosts in policy.hosts if hosts.source.address}))


def _ppk(ppk: PPK | None, handle: str) -> tuple[PostQuantumKey | None, bytes]:
    if ppk is None:
        return None, b""
    identity = ppk.identity.encode("utf-8", "surrogateescape")
    if not 1 <= len(identity) <= MAX_ID:
        raise NotPossibleError(f"ppkid: an identity has 1 to {MAX_ID} octets")
    return PostQuantumKey(handle, identity, ppk.required), ppk.octets


def _config(item: ConfigItem) -> tuple[str, str]:
    keyword = f"{'config' if item.provide else 'request'} {item.option}"
    if item.option == "access-server":
        raise NotPossibleError(f"{keyword}: no standard knows it: leave it out")
    if item.address is None:
        return item.option, "any"
    if item.option == "protected-subnet":
        return item.option, f"{item.address.address}/{item.address.prefix}"
    if item.address.family == 6 and item.option in ("netmask", "netbios-server"):
        raise NotPossibleError(f"{keyword} {item.address}: there is no such thing for IPv6")
    if item.address.network and item.address.prefix != (32 if item.address.family == 4 else 128):
        if item.provide and item.option == "address":
            return item.option, str(item.address)
        raise NotPossibleError(f"{keyword} {item.address}: write one address, without a prefix length")
    return item.option, item.address.address
