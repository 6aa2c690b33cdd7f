"""The configuration payload (RFC 7296 §3.15): what a hub gives, and what a spoke asks for.

The words are iked.conf's.  As initiator we ask in IKE_AUTH and pass on what comes; as responder we give of what was
asked for what there is, an address out of a pool among it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from secd.ike.contract import AssignAddress
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import explain
from secd.ike.v2.context import Context, Session, settings
from secd.ike.v2.inner import Use
from secd.ike.v2.state import IkeSA
from secd.ike.wire.ikev2.config import ConfigAttribute, ConfigPayload
from secd.ike.wire.ikev2.iana import ConfigAttribute as Kind
from secd.ike.wire.ikev2.iana import ConfigType, NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.payload import Payload

#: Values of one word that are taken.
MAX_VALUES = 16
#: The shortest prefixes that an address from a peer may have, for it is a route into the tunnel.
SHORTEST = {4: 8, 6: 32}
#: With these a responder refuses a pair for want of an address: only a new IKE_AUTH can ask for one.
REFUSALS = frozenset({NotifyType.INTERNAL_ADDRESS_FAILURE, NotifyType.FAILED_CP_REQUIRED})

#: iked.conf's words by version of IP.
_KINDS: Mapping[str, Mapping[int, Kind]] = {
    "address": {4: Kind.INTERNAL_IP4_ADDRESS, 6: Kind.INTERNAL_IP6_ADDRESS},
    "netmask": {4: Kind.INTERNAL_IP4_NETMASK},
    "name-server": {4: Kind.INTERNAL_IP4_DNS, 6: Kind.INTERNAL_IP6_DNS},
    "netbios-server": {4: Kind.INTERNAL_IP4_NBNS},
    "dhcp-server": {4: Kind.INTERNAL_IP4_DHCP, 6: Kind.INTERNAL_IP6_DHCP},
    "protected-subnet": {4: Kind.INTERNAL_IP4_SUBNET, 6: Kind.INTERNAL_IP6_SUBNET},
}
_WORDS = {int(kind): (word, version) for word, kinds in _KINDS.items() for version, kind in kinds.items()}


# -- the tunnels' life ------------------------------------------------------------------------------------


def configured(ctx: Context) -> None:
    """The tunnels are known: what one of them had and is not to have any more is taken back."""
    tunnels = (each for each in ctx.world.tunnels.values() if each.connection.version == 2)
    ctx.inner.want({each.name: _use(each) for each in tunnels})
    tell(ctx)


def restored(ctx: Context, sa: IkeSA, name: str) -> None:
    """An IKE SA of the tunnel `name` was taken up: the tunnel has what it had, or nothing if that is not wanted now."""
    newest = ctx.newest(name)
    if name in ctx.inner and (newest is None or newest.sa is sa):
        ctx.inner.restore(name, sa.assigned, sa.provided)
    elif name not in ctx.inner and (sa.assigned or sa.provided):
        ctx.world.outbox.put(AssignAddress(name))


def _use(tunnel: Tunnel) -> Use:
    wanted = settings(tunnel)
    gives = any(word == "address" for word, _ in wanted.provide)
    return Use(tunnel.connection.iface, asks=bool(wanted.request), gives=gives)


def tell(ctx: Context) -> None:
    """Let the data plane know what has changed."""
    for assignment in ctx.inner.news():
        ctx.world.outbox.put(assignment)


# -- spoke ------------------------------------------------------------------------------------------------


def request(ctx: Context, tunnel: Tunnel) -> list[Payload]:
    """CFG_REQUEST of an initiator, if anything is to be asked for; an address that it had it asks for again."""
    wanted, had = settings(tunnel), ctx.inner.given(tunnel.name)
    attributes: list[ConfigAttribute] = []
    for word, value in wanted.request:
        kinds = _KINDS.get(word, {})
        if value == "any":
            for version, kind in kinds.items():
                if version in wanted.families:
                    again = [each for each in _attributes(word, had.get(word, ())) if each.type == kind]
                    attributes += again[:1] if word == "address" and again else [ConfigAttribute(kind)]
        else:
            attributes += _attributes(word, [value])
    return [ConfigPayload(ConfigType.CFG_REQUEST, tuple(attributes))] if attributes else []


def take(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain) -> None:
    """What the responder gives, in place of what it gave before: pass it on, and say so."""
    asked = {word for word, _ in settings(tunnel).request}
    if not asked:
        return
    reply = chain.find(ConfigPayload)
    if reply is None and chain.errors:
        return  # there is no tunnel either: what it gave stands until it says something else
    values: dict[str, list[str]] = {}
    peer, iface = session.sa.endpoint.remote, tunnel.connection.iface
    if reply is not None and reply.config_type == ConfigType.CFG_REPLY:
        for word, value in _values(reply.attributes):
            fit = _fit(ctx, session, tunnel, value) if word == "address" else value
            found = values.setdefault(word, [])
            if fit and len(found) < MAX_VALUES and fit not in found:
                found.append(fit)
    values = {word: found for word, found in values.items() if found}
    session.sa.assigned = values
    ctx.inner.take(tunnel.name, values)
    tell(ctx)
    if "address" in asked and "address" not in values:
        text = explain.no_address(peer, iface, tunnel.connection.origin)
        ctx.world.log_once(tunnel, "warning", "no-address", text)
    if values:
        text = "; ".join(f"{word} {', '.join(found)}" for word, found in values.items())
        ctx.log(session, "assigned", f"{peer} gives {iface} {text}")
    for line in explain.to_be_done(iface, values):
        ctx.world.log_once(tunnel, "info", "assigned", line)


def _fit(ctx: Context, session: Session, tunnel: Tunnel, value: str) -> str:
    """An address as it may be set here; "" if it may not be."""
    interface, outer = ipaddress.ip_interface(value), session.sa.endpoint
    host, length = interface.ip, interface.network.prefixlen
    unusable = host.is_unspecified or host.is_loopback or host.is_multicast or host.is_link_local
    if unusable or str(host) in (outer.remote, outer.local):
        text = explain.address_unusable(outer.remote, str(host))
        ctx.world.log_once(tunnel, "warning", "address-unusable", text)
        return ""
    if length < SHORTEST[interface.version]:
        text = explain.prefix_too_short(outer.remote, value, SHORTEST[interface.version])
        ctx.world.log_once(tunnel, "warning", "address-unusable", text)
        return f"{host}/{interface.max_prefixlen}"
    return value


# -- hub --------------------------------------------------------------------------------------------------


def answer(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain) -> list[Payload] | None:
    """CFG_REPLY of a responder, if there is anything to give; None if no address is left, which is told."""
    asked = chain.find(ConfigPayload)
    provide = settings(tunnel).provide
    if asked is None or asked.config_type != ConfigType.CFG_REQUEST or not provide:
        return []
    types = {each.type for each in asked.attributes}
    if Kind.INTERNAL_IP4_ADDRESS in types:
        types.add(Kind.INTERNAL_IP4_NETMASK)
    leases: list[str] = []
    exhausted: list[str] = []
    for version, kind in _KINDS["address"].items():
        pools = [value for word, value in provide if word == "address" and _version(value) == version]
        if kind in types and pools:
            found = ctx.inner.lease(tunnel.name, pools, _wish(asked, kind), lambda name: _is_idle(ctx, name))
            leases += [_with_prefix(found, pools)] if found else []
            exhausted += [] if found else pools
    tell(ctx)
    peer = session.sa.endpoint.remote
    if exhausted:
        text = explain.pool_exhausted(peer, exhausted, tunnel.connection.origin, ctx.inner.holders(exhausted))
        ctx.world.log_once(tunnel, "error", "pool-exhausted", text)
        if not leases:
            return None
    session.sa.provided = [str(ipaddress.ip_interface(each).ip) for each in leases]
    given = [*_attributes("address", leases)]
    for word, value in provide:
        given += _attributes(word, [value]) if word != "address" else []
    reply = tuple(each for each in given if each.type in types)
    if leases:
        ctx.log(session, "provided", f"{peer} gets {', '.join(session.sa.provided)} over {tunnel.connection.iface}")
    return [ConfigPayload(ConfigType.CFG_REPLY, reply)] if reply else []


def _is_idle(ctx: Context, name: str) -> bool:
    return not any(each.sa.established for each in ctx.of(name))


def _wish(asked: ConfigPayload, kind: Kind) -> str:
    """The address that the peer would like; "" if it leaves it to us."""
    octets = next((each.value for each in asked.attributes if each.type == kind), b"")
    octets = octets[:16] if kind == Kind.INTERNAL_IP6_ADDRESS else octets
    return str(ipaddress.ip_address(octets)) if len(octets) in (4, 16) and any(octets) else ""


def _with_prefix(address: str, pools: Sequence[str]) -> str:
    """An address with its pool's prefix, which IPv6 says with the address; IPv4 has `netmask`."""
    networks = [ipaddress.ip_interface(each).network for each in pools]
    host = ipaddress.ip_address(address)
    length = next((each.prefixlen for each in networks if host in each), host.max_prefixlen)
    return f"{address}/{length}"


# -- words and attributes ---------------------------------------------------------------------------------


def _version(value: str) -> int:
    return 6 if ":" in value else 4


def _attributes(word: str, values: Iterable[str]) -> Iterator[ConfigAttribute]:
    """A word and its values, addresses or for `protected-subnet` networks, as attributes."""
    for value in values:
        network = ipaddress.ip_interface(value)
        kind = _KINDS.get(word, {}).get(network.version)
        if kind is None:
            continue
        octets = network.ip.packed
        if kind == Kind.INTERNAL_IP4_SUBNET:
            octets += network.netmask.packed
        elif kind in (Kind.INTERNAL_IP6_SUBNET, Kind.INTERNAL_IP6_ADDRESS):
            octets += bytes((network.network.prefixlen,))
        yield ConfigAttribute(kind, octets)


def _values(attributes: Sequence[ConfigAttribute]) -> Iterator[tuple[str, str]]:
    """Attributes in words; what is malformed or unknown is passed over."""
    length = _netmask(attributes)
    for each in attributes:
        word, version = _WORDS.get(each.type, ("", 0))
        octets = 4 if version == 4 else 16
        if not word or len(each.value) < octets:
            continue
        address = str(ipaddress.ip_address(each.value[:octets]))
        rest = each.value[octets:]
        if word == "address":
            yield word, f"{address}/{length if version == 4 else rest[0] if len(rest) == 1 and rest[0] <= 128 else 128}"
        elif word == "protected-subnet":
            mask = str(ipaddress.ip_address(rest)) if len(rest) == 4 else str(rest[0]) if len(rest) == 1 else ""
            try:
                yield word, str(ipaddress.ip_network(f"{address}/{mask}", strict=False))
            except ValueError:
                continue
        elif word != "netmask" and not rest:
            yield word, address


def _netmask(attributes: Iterable[ConfigAttribute]) -> int:
    """The length of the prefix that INTERNAL_IP4_NETMASK says; 32 without one that makes sense."""
    for each in attributes:
        if each.type == Kind.INTERNAL_IP4_NETMASK and len(each.value) == 4:
            try:
                return ipaddress.ip_network(f"0.0.0.0/{ipaddress.ip_address(each.value)}").prefixlen
            except ValueError:
                return 32
    return 32
