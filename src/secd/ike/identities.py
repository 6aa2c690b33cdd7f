"""Who is who: identities on the wire, in the configuration and in messages to people (RFC 2407 §4.6.2)."""

from __future__ import annotations

import ipaddress

from secd.ike.connection import Connection
from secd.ike.wire.cursor import WireError
from secd.ike.wire.distinguished_names import name_to_text, same_name
from secd.ike.wire.iana import IdType, NotifyType, name_of
from secd.ike.wire.payloads import IDPayload
from secd.sadb.messages import Identity

MAX_TEXT = 255
#: Octets of a distinguished name: `0x` and its hexadecimal digits fit an `Identity`.
MAX_NAME = 511

#: 0.0.0.0/0, the only selector that a route-based tunnel has.
ANY_SELECTOR = IDPayload(IdType.ID_IPV4_ADDR_SUBNET, bytes(8))

_ANY_RANGE = IDPayload(IdType.ID_IPV4_ADDR_RANGE, bytes(4) + b"\xff" * 4)
_TEXT_TYPES = {IdType.ID_FQDN: "fqdn", IdType.ID_USER_FQDN: "ufqdn", IdType.ID_KEY_ID: "key_id"}


def of_address(address: str) -> Identity:
    """The identity that is an address."""
    return Identity("prefix", f"{address}/{ipaddress.ip_address(address).max_prefixlen}")


def ours(connection: Connection, local: str) -> Identity:
    """How we call ourselves when our address is `local`."""
    return connection.srcid or of_address(local)


def expected(connection: Connection) -> Identity | None:
    """Who the peer has to be; None: anybody who holds the key."""
    if connection.dstid is not None or connection.version == 2:
        return connection.dstid
    return of_address(connection.peer) if connection.peer is not None else None


def same(one: Identity, other: Identity) -> bool:
    """Whether two identities are the same; the case of hosts' and the spelling of distinguished names do not matter."""
    if one.type != other.type:
        return False
    if one.type == "fqdn":
        return one.text.lower() == other.text.lower()
    if one.type == "prefix":
        return _network(one.text) == _network(other.text)
    if one.type == "asn1_dn" and same_name(_octets(one.text), _octets(other.text)):
        return True
    return one.text == other.text


def to_payload(identity: Identity) -> IDPayload:
    """The ID payload of phase 1 for `identity`."""
    if identity.type == "prefix":
        return _prefix_payload(identity.text)
    number = {
        "fqdn": IdType.ID_FQDN,
        "ufqdn": IdType.ID_USER_FQDN,
        "key_id": IdType.ID_KEY_ID,
        "asn1_dn": IdType.ID_DER_ASN1_DN,
    }[identity.type]
    return IDPayload(number, _octets(identity.text))


def from_payload(payload: IDPayload) -> Identity:
    """Whom an ID payload names.  Ranges are no identity: INVALID_ID_INFORMATION."""
    kind, data = payload.id_type, payload.data
    if kind in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
        return of_address(str(ipaddress.ip_address(data)))
    if kind in (IdType.ID_IPV4_ADDR_SUBNET, IdType.ID_IPV6_ADDR_SUBNET):
        network = _subnet(data)
        if network is not None:
            return Identity("prefix", network)
    if kind in _TEXT_TYPES and data and len(data) <= MAX_TEXT:
        text = _text(data)
        if kind == IdType.ID_FQDN:
            return Identity("fqdn", text)
        return Identity("ufqdn" if kind == IdType.ID_USER_FQDN else "key_id", text)
    if kind == IdType.ID_DER_ASN1_DN and data and len(data) <= MAX_NAME:
        return Identity("asn1_dn", f"0x{data.hex()}")
    raise WireError(f"identity of type {name_of(IdType, kind)} is of no use here", NotifyType.INVALID_ID_INFORMATION)


def of_peer(payload: IDPayload) -> Identity:
    """Whom a peer says that it is; what is no identity here is shown as it is, and equals none that can be written."""
    try:
        return from_payload(payload)
    except WireError:
        return Identity("asn1_dn", f"0x{payload.id_type:02x}:{payload.data[:64].hex()}")


def words(identity: Identity) -> str:
    """As it is written after `srcid` and `dstid` in ipsec.conf."""
    if identity.type == "prefix":
        address, _, length = identity.text.partition("/")
        return address if length == ("128" if ":" in address else "32") else identity.text
    if identity.type == "asn1_dn":
        return f'"{name_to_text(_octets(identity.text))}"' if ":" not in identity.text else identity.text
    return f'"keyid:{identity.text}"' if identity.type == "key_id" else identity.text


def described(identity: Identity) -> str:
    """With its kind, for messages."""
    kinds = {"prefix": "address", "ufqdn": "user", "asn1_dn": "distinguished name", "key_id": "key id"}
    return f"{kinds.get(identity.type, identity.type)} {words(identity)}"


def is_any(payload: IDPayload | None) -> bool:
    """Whether a phase 2 selector is 0.0.0.0/0, any protocol, any port."""
    return payload in (ANY_SELECTOR, _ANY_RANGE)


def selector_words(payload: IDPayload | None) -> str:
    """A phase 2 selector for people."""
    if payload is None:
        return "its address only"
    if payload == _ANY_RANGE:
        return "0.0.0.0/0"
    where = name_of(IdType, payload.id_type)
    half = len(payload.data) // 2
    if payload.id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR):
        where = str(ipaddress.ip_address(payload.data))
    elif payload.id_type in (IdType.ID_IPV4_ADDR_SUBNET, IdType.ID_IPV6_ADDR_SUBNET):
        where = _subnet(payload.data) or payload.data.hex()
    elif payload.id_type in (IdType.ID_IPV4_ADDR_RANGE, IdType.ID_IPV6_ADDR_RANGE):
        where = "-".join(str(ipaddress.ip_address(part)) for part in (payload.data[:half], payload.data[half:]))
    limits = (f" protocol {payload.protocol}" if payload.protocol else "") + (
        f" port {payload.port}" if payload.port else ""
    )
    return where + limits


def _prefix_payload(text: str) -> IDPayload:
    network = ipaddress.ip_interface(text)
    v4 = network.version == 4
    if network.network.prefixlen == network.max_prefixlen:
        return IDPayload(IdType.ID_IPV4_ADDR if v4 else IdType.ID_IPV6_ADDR, network.ip.packed)
    mask = network.netmask.packed
    return IDPayload(
        IdType.ID_IPV4_ADDR_SUBNET if v4 else IdType.ID_IPV6_ADDR_SUBNET, network.network.network_address.packed + mask
    )


def _subnet(data: bytes) -> str | None:
    """`192.0.2.0/24` out of address and mask; None when the mask has holes or is too short for the address."""
    half = len(data) // 2
    mask = int.from_bytes(data[half:], "big")
    bits = half * 8
    length = mask.bit_count()
    if mask != ((1 << length) - 1) << (bits - length):
        return None
    try:
        return str(ipaddress.ip_network((data[:half], length)))
    except ValueError:
        return None


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | str:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return text


def _octets(text: str) -> bytes:
    """What a name is on the wire: itself, or the octets that `0x...` spells."""
    if text.startswith("0x"):
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    return text.encode()


def _text(data: bytes) -> str:
    """A name from the wire; what is not printable is spelled in hexadecimal."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"0x{data.hex()}"
    return text if text.isprintable() else f"0x{data.hex()}"
