"""Inner addresses by the configuration payload (RFC 7296 §3.15): what a hub gives, and what a spoke asks for.

The words are iked.conf's.  As initiator we ask in IKE_AUTH and pass on what comes; as responder a tunnel has one peer,
so what there is to give is one value a word, and only what was asked for is given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from secd.ike.contract import AssignAddress
from secd.ike.tunnel import Tunnel
from secd.ike.v2.context import Context, Session, settings
from secd.ike.wire.ikev2.config import ConfigAttribute, ConfigPayload
from secd.ike.wire.ikev2.iana import ConfigAttribute as Kind
from secd.ike.wire.ikev2.iana import ConfigType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.payload import Payload

#: Values of one word that are taken.
MAX_VALUES = 16

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


def request(tunnel: Tunnel) -> list[Payload]:
    """CFG_REQUEST of an initiator, if anything is to be asked for."""
    wanted = settings(tunnel)
    attributes: list[ConfigAttribute] = []
    for word, value in wanted.request:
        kinds = _KINDS.get(word, {})
        if value == "any":
            attributes += [ConfigAttribute(kind) for version, kind in kinds.items() if version in wanted.families]
        else:
            attributes += _attributes(word, value)
    return [ConfigPayload(ConfigType.CFG_REQUEST, tuple(attributes))] if attributes else []


def answer(tunnel: Tunnel, chain: Chain) -> list[Payload]:
    """CFG_REPLY of a responder: of what was asked for, what there is."""
    asked = chain.find(ConfigPayload)
    if asked is None or asked.config_type != ConfigType.CFG_REQUEST:
        return []
    types = {each.type for each in asked.attributes}
    if Kind.INTERNAL_IP4_ADDRESS in types:
        types.add(Kind.INTERNAL_IP4_NETMASK)
    given = [each for word, value in settings(tunnel).provide for each in _attributes(word, value)]
    reply = tuple(each for each in given if each.type in types)
    return [ConfigPayload(ConfigType.CFG_REPLY, reply)] if reply else []


def take(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain) -> None:
    """What the responder gives: pass it on, and say so."""
    reply = chain.find(ConfigPayload)
    if reply is None or reply.config_type != ConfigType.CFG_REPLY or not settings(tunnel).request:
        return
    values: dict[str, list[str]] = {}
    for word, value in _values(reply.attributes):
        found = values.setdefault(word, [])
        if len(found) < MAX_VALUES and value not in found:
            found.append(value)
    if not values:
        return
    session.sa.assigned = values
    addresses = tuple(values.get("address", ()))
    ctx.world.outbox.put(AssignAddress(tunnel.connection.iface, addresses, tuple(values.get("name-server", ()))))
    text = "; ".join(f"{word} {', '.join(found)}" for word, found in values.items())
    ctx.log(session, "assigned", f"{session.sa.endpoint.remote} gives {tunnel.connection.iface} {text}")


def _attributes(word: str, value: str) -> Iterator[ConfigAttribute]:
    """A word and its value, an address or for `protected-subnet` a network, as an attribute."""
    try:
        network = ipaddress.ip_interface(value)
    except ValueError:
        return
    kind = _KINDS.get(word, {}).get(network.version)
    if kind is None:
        return
    octets = network.ip.packed
    if kind == Kind.INTERNAL_IP4_SUBNET:
        octets += network.netmask.packed
    elif kind in (Kind.INTERNAL_IP6_SUBNET, Kind.INTERNAL_IP6_ADDRESS):
        octets += bytes((network.network.prefixlen,))
    yield ConfigAttribute(kind, octets)


def _values(attributes: Sequence[ConfigAttribute]) -> Iterator[tuple[str, str]]:
    """Attributes in words; what is malformed or unknown is passed over."""
    lengths = _netmasks(attributes)
    for each in attributes:
        word, version = _WORDS.get(each.type, ("", 0))
        octets = 4 if version == 4 else 16
        if not word or len(each.value) < octets:
            continue
        address = str(ipaddress.ip_address(each.value[:octets]))
        rest = each.value[octets:]
        if word == "address":
            length = lengths if version == 4 else rest[0] if len(rest) == 1 and rest[0] <= 128 else 128
            yield word, f"{address}/{length}"
        elif word == "protected-subnet":
            mask = str(ipaddress.ip_address(rest)) if len(rest) == 4 else str(rest[0]) if len(rest) == 1 else ""
            try:
                yield word, str(ipaddress.ip_network(f"{address}/{mask}", strict=False))
            except ValueError:
                continue
        elif word != "netmask" and not rest:
            yield word, address


def _netmasks(attributes: Iterable[ConfigAttribute]) -> int:
    """The length of the prefix that INTERNAL_IP4_NETMASK says; 32 without one that makes sense."""
    for each in attributes:
        if each.type == Kind.INTERNAL_IP4_NETMASK and len(each.value) == 4:
            try:
                return ipaddress.ip_network(f"0.0.0.0/{ipaddress.ip_address(each.value)}").prefixlen
            except ValueError:
                return 32
    return 32
