"""Rules to what secd does: connections for iked, manual SAs for the data plane.

This system is route-based.  What ipsec.conf(5) can say beyond that is refused, with the line to write instead.
Everything else that cannot be carried out is refused here too, by file and line, so that `ipsecctl -n` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from secd.conf.addresses import Address
from secd.conf.diagnostics import Diagnostics, Origin, TooManyErrors
from secd.conf.identities import classify
from secd.conf.iked.credentials import CredentialsError, KeyStore
from secd.conf.ipsec import algorithms
from secd.conf.ipsec.instead import instead_of
from secd.conf.ipsec.phrases import AGGRESSIVE_PSK
from secd.conf.ipsec.rules import PSK, BundleRule, IkeRule, Rule, SaRule
from secd.control.messages import MAX_RULES, AddConnection, AddManual
from secd.ike.connection import Connection, PreSharedKey, Signature
from secd.ike.wire.distinguished_names import name_from_text
from secd.sadb.messages import SA, Identity, UdpEncap

#: isakmpd's, in seconds, when a rule names no lifetime.
PHASE1_LIFETIME, PHASE2_LIFETIME = 3600, 1200
NATT_PORT = 4500
MAX_ID = 255  # octets
MAX_ORIGIN = 1000
MAX_PSK = 4096
#: Our address, where the routing table will choose it.
_UNKNOWN = Identity("prefix", "0.0.0.0/32")


class NotPossibleError(Exception):
    """A rule that cannot be carried out; the text says why and what to write instead."""


class Compiled(Struct, frozen=True):
    """What a configuration comes to; nothing is to be loaded when `diagnostics` has errors."""

    connections: tuple[AddConnection, ...]
    manual: tuple[AddManual, ...]
    diagnostics: Diagnostics


def _no_store() -> KeyStore:
    raise CredentialsError('rsa authentication, the default, needs keys, which are not at hand: write psk "..."')


def compile_rules(
    rules: Iterable[Rule], *, refuse_others: bool = True, open_store: Callable[[], KeyStore] = _no_store
) -> Compiled:
    """Translate every rule, and find what no two rules may have in common.

    Without `refuse_others`, rules that are for a policy-based system are passed over in silence.  Keys and certificates
    are opened when the first rule needs them.
    """
    connections: list[AddConnection] = []
    manual: list[AddManual] = []
    diagnostics = Diagnostics()
    taken: dict[object, Origin] = {}
    refused: Origin | None = None
    compiler = _Compiler(taken, cache(open_store), diagnostics)
    try:
        for rule in rules:
            if isinstance(rule, BundleRule) or rule.origin is refused:
                continue  # said already: the SAs of one line share its origin
            try:
                if isinstance(rule, IkeRule) and rule.iface is not None:
                    connections.append(compiler.connection(rule, rule.iface))
                elif isinstance(rule, SaRule) and rule.iface is not None:
                    manual.append(_manual(rule, rule.iface, taken))
                elif refuse_others:
                    diagnostics.error(instead_of(rule), rule.origin)
                    refused = rule.origin
            except (NotPossibleError, algorithms.NotAvailableError, CredentialsError) as error:
                diagnostics.error(str(error), rule.origin)
                refused = rule.origin
            if len(connections) + len(manual) > MAX_RULES:
                diagnostics.error(f"more than {MAX_RULES} rules", rule.origin)
                break
    except TooManyErrors:
        pass
    return Compiled(tuple(connections), tuple(manual), diagnostics)


def _origin(rule: Rule) -> str:
    """Give `FILE: LINE` as text that can be sent: a file's name may be any octets."""
    return str(rule.origin).encode("utf-8", "backslashreplace").decode()[-MAX_ORIGIN:]


# -- ike --------------------------------------------------------------------------------------------------


class _Compiler(Struct, frozen=True):
    """What the compilation of a rule needs beside it."""

    taken: dict[object, Origin]
    store: Callable[[], KeyStore]
    diagnostics: Diagnostics

    def connection(self, rule: IkeRule, unit: int) -> AddConnection:
        """Give what `rule` comes to."""
        name = f"sec{unit}"
        if rule.local and rule.peer and rule.local.family != rule.peer.family:
            raise NotPossibleError(f"local {rule.local} and peer {rule.peer} are of different address families")
        _check_exchange(rule)
        connection = Connection(
            name=name,
            origin=_origin(rule),
            iface=name,
            mode=rule.mode,
            local=_host(rule.local),
            peer=_host(rule.peer),
            exchange="aggressive" if rule.phase1.exchange == "aggressive" else "main",
            aggressive_psk=rule.psk is not None and rule.psk.aggressive,
            phase1=(algorithms.phase1(rule.phase1.transforms),),
            phase1_lifetime=rule.phase1.lifetime or PHASE1_LIFETIME,
            phase2=(algorithms.phase2(rule.phase2.transforms),),
            phase2_lifetime=rule.phase2.lifetime or PHASE2_LIFETIME,
            srcid=_identity("srcid", rule.ids.source),
            dstid=_identity("dstid", rule.ids.destination),
            auth=PreSharedKey(name),
        )
        _claim(self.taken, name, rule, f"{name} is already used by the rule at")
        ends = (connection.local, connection.peer, connection.srcid, connection.dstid)
        _claim(
            self.taken, ends, rule, "nothing tells this peer from that of another rule (equal local, peer, srcid and "
            "dstid): give one of them another dstid; the other is at",
        )  # fmt: skip
        if rule.psk is None:
            return self._signed(rule, connection)
        if connection.aggressive_psk:
            self.diagnostics.warning(
                f"{AGGRESSIVE_PSK}: whoever asks under the peer's name gets a hash to guess the key by", rule.origin
            )
        return AddConnection(connection, _secret(rule.psk))

    def _signed(self, rule: IkeRule, connection: Connection) -> AddConnection:
        """Add the keys and certificates of isakmpd's directory."""
        srcid = connection.srcid or (_of_address(connection.local) if connection.local else _UNKNOWN)
        dstid = connection.dstid or (_of_address(connection.peer) if connection.peer else None)
        words = rule.ids.source or connection.local or "(our address, which no `local` names)"
        found = self.store().credentials(srcid, words, dstid, "rsa")
        for warning in found.warnings:
            self.diagnostics.warning(warning, rule.origin)
        auth = Signature(connection.name, found.chain, found.authorities, found.crls, found.peer_keys, "rsa")
        own = found.srcid if connection.srcid is not None else None
        return AddConnection(replace(connection, srcid=own, auth=auth), found.private_key)


def _check_exchange(rule: IkeRule) -> None:
    psk, aggressive = rule.psk, rule.phase1.exchange == "aggressive"
    if psk is not None and psk.aggressive and not aggressive:
        raise NotPossibleError(f"{AGGRESSIVE_PSK} without aggressive: leave it out")
    if not aggressive:
        return
    if psk is not None and not psk.aggressive:
        raise NotPossibleError(
            "aggressive mode gives a hash of the pre-shared key to whoever asks, who can guess the key by it: write "
            f"`main`, or `rsa`; if the peer can do neither and the key is long and random, end the rule with "
            f"`{AGGRESSIVE_PSK}`"
        )
    if rule.ids.source is None and rule.local is None:
        raise NotPossibleError("aggressive mode begins with who we are: write `srcid NAME` or `local ADDRESS`")


def _claim(taken: dict[object, Origin], what: object, rule: Rule, message: str) -> None:
    other = taken.setdefault(what, rule.origin)
    if other is not rule.origin:  # the SAs of one line share it
        raise NotPossibleError(f"{message} {other}")


def _host(address: Address | None) -> str | None:
    return address.address if address else None


def _identity(keyword: str, text: str | None) -> Identity | None:
    if text is None:
        return None
    kind, value = classify(text)
    if not value or len(value.encode("utf-8", "surrogateescape")) > MAX_ID:
        raise NotPossibleError(f"{keyword}: an identity has 1 to {MAX_ID} octets")
    if kind in ("ipv4", "ipv6"):
        return _of_address(value)
    if kind == "asn1_dn":
        try:
            return Identity("asn1_dn", f"0x{name_from_text(value).hex()}")
        except ValueError as error:
            raise NotPossibleError(f"{keyword} {error}") from error
    if not value.isprintable():
        raise NotPossibleError(f"{keyword}: a character that cannot be in an identity")
    return Identity("fqdn" if kind == "fqdn" else "ufqdn" if kind == "ufqdn" else "key_id", value)


def _of_address(address: str) -> Identity:
    return Identity("prefix", f"{address}/{128 if ':' in address else 32}")


def _secret(psk: PSK) -> bytes:
    """Give the octets of a pre-shared key: `0x` and hexadecimal digits, as in isakmpd, or text."""
    if psk.text[:2] in ("0x", "0X"):
        try:
            secret = bytes.fromhex(psk.text[2:])
        except ValueError:
            raise NotPossibleError("psk begins with 0x but is not hexadecimal with an even number of digits") from None
    else:
        secret = psk.text.encode("utf-8", "surrogateescape")
    if not secret:
        raise NotPossibleError("psk is empty")
    if len(secret) > MAX_PSK:
        raise NotPossibleError(f"psk is longer than {MAX_PSK} octets")
    return secret


# -- manual keys ------------------------------------------------------------------------------------------


def _manual(rule: SaRule, unit: int, taken: dict[object, Origin]) -> AddManual:
    if rule.source.network or rule.destination.network:
        raise NotPossibleError("the ends of a tunnel are addresses, not networks: routes to sec choose what goes in")
    encryption, auth = algorithms.static(rule.transforms, len(rule.enckey.octets) if rule.enckey else 0)
    _claim(taken, f"sec{unit}", rule, f"sec{unit} is already used by the rule at")
    _claim(taken, (rule.spi, str(rule.destination)), rule, f"SPI 0x{rule.spi:08x} is already used by the rule at")
    remote_port = (rule.udpencap.port or NATT_PORT) if rule.udpencap else 0
    sa = SA(
        spi=rule.spi,
        direction=rule.direction,
        iface=f"sec{unit}",
        source=rule.source.address,
        destination=rule.destination.address,
        encryption=encryption,
        encryption_key=rule.enckey.octets if rule.enckey else b"",
        auth=auth,
        auth_key=rule.authkey.octets if rule.authkey else b"",
        udpencap=UdpEncap(NATT_PORT, remote_port) if rule.udpencap else None,
        identity_source=_prefix(rule.source),
        identity_destination=_prefix(rule.destination),
    )
    return AddManual(_origin(rule), sa)


def _prefix(address: Address) -> Identity:
    return Identity("prefix", f"{address.address}/{address.prefix}")
