"""IKEv2's payloads made wrong with knowledge of what they are: a chain is a list of (type, body)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from chains import Chain, Change, Names, adding, changed, crowding, double, drop, retyping, swap
from octets import EDGES, mangle

from secd.ike.wire.attributes import Attribute
from secd.ike.wire.cursor import Reader, WireError
from secd.ike.wire.iana import Group
from secd.ike.wire.ikev2.config import ConfigAttribute, ConfigPayload
from secd.ike.wire.ikev2.iana import NotifyType, PayloadType
from secd.ike.wire.ikev2.message import Chain as Parsed
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payloads import AuthPayload, CertPayload, DeletePayload, IDiPayload, KEPayload
from secd.ike.wire.ikev2.sa import Proposal, SAPayload, Transform

NOTIFICATIONS = tuple(int(each) for each in NotifyType)
#: Those that change something, which are drawn more often.
TELLING = (
    NotifyType.REKEY_SA, NotifyType.INITIAL_CONTACT, NotifyType.COOKIE, NotifyType.COOKIE2,
    NotifyType.INVALID_KE_PAYLOAD, NotifyType.TEMPORARY_FAILURE, NotifyType.CHILD_SA_NOT_FOUND,
    NotifyType.NO_ADDITIONAL_SAS, NotifyType.UPDATE_SA_ADDRESSES, NotifyType.NO_NATS_ALLOWED,
    NotifyType.NAT_DETECTION_SOURCE_IP, NotifyType.NAT_DETECTION_DESTINATION_IP, NotifyType.ADDITIONAL_KEY_EXCHANGE,
    NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_IKE_SPI, NotifyType.SIGNATURE_HASH_ALGORITHMS,
)  # fmt: skip
TYPES = tuple(int(each) for each in PayloadType)
GROUPS = tuple(int(each) for each in Group)


def chain_of(parsed: Parsed) -> Chain:
    """Give payloads as (type, body)."""
    return [(payload.type, payload.body) for payload in parsed.payloads]


def mutate(rng: Random, chain: Chain, names: Names) -> Chain:
    """Change a chain of IKEv2's."""
    return changed(rng, chain, names, _CHAIN_CHANGES)


def notification(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make a notification of any kind about anything."""
    kind = rng.choice(rng.choice((NOTIFICATIONS, TELLING))) if rng.random() < 0.9 else rng.randrange(65536)
    spi = rng.choice(names.spis) if names.spis and rng.random() < 0.5 else rng.randbytes(rng.choice((0, 0, 1, 4, 8)))
    data = rng.choice((b"", b"", bytes(2), bytes(20), rng.randbytes(rng.choice((1, 2, 4, 16, 20, 64, 65, 255)))))
    known = names.bodies.get(PayloadType.N)
    if known and rng.random() < 0.3:
        return PayloadType.N, mangle(rng, rng.choice(known), most=1)
    return PayloadType.N, NotifyPayload(kind, data, rng.choice((0, 1, 3, 3, 4, 255)), spi).encode_body()


def rekey(rng: Random, names: Names) -> tuple[int, bytes]:
    """Say which pair is to be renewed."""
    spi = rng.choice(names.spis) if names.spis and rng.random() < 0.8 else rng.randbytes(4)
    return PayloadType.N, NotifyPayload(NotifyType.REKEY_SA, b"", 3, spi).encode_body()


def redirect(rng: Random, names: Names) -> tuple[int, bytes]:
    """Send the other side to a gateway that is there, or to one that is not."""
    gateway = rng.choice((bytes((203, 0, 113, rng.randrange(256))), bytes((198, 51, 100, 1)), rng.randbytes(4)))
    nonces = names.bodies.get(PayloadType.NONCE)
    nonce = rng.choice(nonces) if nonces and rng.random() < 0.3 else b""
    data = bytes((rng.choice((1, 1, 1, 2, 3)), 4)) + gateway + nonce
    return PayloadType.N, NotifyPayload(NotifyType.REDIRECT, data).encode_body()


def delete(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make a delete of any SAs, or of none, or of too many."""
    protocol = rng.choice((0, 1, 2, 3, 3, 3, 3, 4, 255))
    if rng.random() < 0.8 and names.spis and protocol != 1:
        spis = tuple(rng.choice(names.spis) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        return PayloadType.D, DeletePayload(protocol, spis).encode_body()
    size, count = rng.choice((0, 0, 1, 4, 4, 8, 255)), rng.choice((0, 0, 1, 2, 255, 256, 65535))
    return PayloadType.D, bytes((protocol, size)) + count.to_bytes(2, "big") + rng.randbytes(min(size * count, 1500))


def configuration(rng: Random, _: Names) -> tuple[int, bytes]:
    """Make a configuration payload."""
    kinds = (1, 2, 3, 4, 6, 7, 8, 10, 12, 13, 14, 15, 20, 21, 0x7FFF)
    attributes = tuple(
        ConfigAttribute(rng.choice(kinds), rng.randbytes(rng.choice((0, 0, 1, 4, 4, 8, 16, 17, 17, 300))))
        for _ in range(rng.choice((0, 1, 1, 2, 5, 40)))
    )
    return PayloadType.CP, ConfigPayload(rng.choice((1, 1, 2, 2, 3, 4, 0, 255)), attributes).encode_body()


def selectors(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make traffic selectors."""
    type_ = rng.choice((PayloadType.TSi, PayloadType.TSr))
    known = names.bodies.get(type_)
    if known and rng.random() < 0.5:
        return type_, mangle(rng, rng.choice(known), most=2)
    body = bytearray()
    count = rng.choice((0, 1, 1, 2, 16, 255))
    for _ in range(min(count, 20)):
        octets, kind = rng.choice(((4, 7), (4, 7), (16, 8), (4, 8), (7, 9)))
        low, high = rng.choice(((bytes(octets), b"\xff" * octets), (rng.randbytes(octets), rng.randbytes(octets))))
        body += bytes((kind, rng.choice((0, 0, 6, 17)))) + (8 + 2 * octets).to_bytes(2, "big")
        body += rng.choice((b"\0\0\xff\xff", b"\0\0\xff\xff", rng.randbytes(4))) + low + high
    return type_, bytes((count, 0, 0, 0)) + bytes(body)


def identity(rng: Random, _: Names) -> tuple[int, bytes]:
    """Make an identity."""
    size = rng.choice((0, 1, 3, 4, 4, 5, 16, 32, 64, 255, 256, 1000))
    data = rng.choice((bytes(size), rng.randbytes(size), bytes((192, 0, 2, 1))))
    payload = IDiPayload(rng.choice((1, 1, 2, 3, 5, 9, 10, 11, 0, 12, 255)), data)
    return rng.choice((PayloadType.IDi, PayloadType.IDr)), payload.encode_body()


def key_exchange(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make a public value of any group."""
    known = names.bodies.get(PayloadType.KE)
    if known and rng.random() < 0.6:
        return PayloadType.KE, rng.choice(known)
    size = rng.choice((0, 1, 31, 32, 33, 64, 65, 96, 256, 384, 1184))
    data = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    return PayloadType.KE, KEPayload(rng.choice(GROUPS), data).encode_body()


def proof(rng: Random, _: Names) -> tuple[int, bytes]:
    """Make an AUTH, a CERT or an EAP payload."""
    kind = rng.randrange(4)
    if kind == 0:
        return PayloadType.CERT, CertPayload(rng.choice((1, 4, 7, 11, 12, 13, 0, 255)), rng.randbytes(40)).encode_body()
    if kind == 1:
        return PayloadType.EAP, rng.randbytes(rng.choice((0, 1, 4, 5, 64)))
    return PayloadType.AUTH, AuthPayload(rng.choice((0, 1, 2, 2, 3, 9, 13, 14, 255)), rng.randbytes(32)).encode_body()


def association(rng: Random, body: bytes) -> bytes:
    """Change proposals, transforms and attributes of an SA payload; what does not parse is mangled."""
    try:
        proposals = list(SAPayload.parse(Reader(body, "SA")).proposals)
    except WireError:
        return mangle(rng, body)
    at = rng.randrange(len(proposals))
    proposals[at] = _proposal(rng, proposals[at])
    if rng.random() < 0.2:
        proposals += [rng.choice(proposals)] * rng.choice((1, 2, 63, 64))
    return SAPayload(tuple(proposals[:70])).encode_body()


def another_spi(rng: Random, body: bytes, octets: int) -> bytes:
    """Give the SA payload with an SPI that nobody has."""
    spi = rng.randbytes(octets)
    try:
        proposals = SAPayload.parse(Reader(body, "SA")).proposals
    except WireError:
        return body
    return SAPayload(tuple(replace(each, spi=spi) for each in proposals)).encode_body()


def anything(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make a payload."""
    kind = rng.randrange(len(_MAKERS) + 2)
    if kind < len(_MAKERS):
        return _MAKERS[kind](rng, names)
    type_ = rng.choice(TYPES[1:]) if rng.random() < 0.9 else rng.randrange(1, 256)
    known = names.bodies.get(type_)
    if known and rng.random() < 0.6:
        return type_, mangle(rng, rng.choice(known)) if rng.random() < 0.5 else rng.choice(known)
    size = rng.choice((0, 1, 4, 7, 8, 16, 20, 32, 64, 65, 256, 257, 384))
    return type_, rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))


Maker = Callable[[Random, Names], tuple[int, bytes]]
_MAKERS: tuple[Maker, ...] = (
    notification, notification, notification, delete, rekey, redirect, configuration, selectors, identity, key_exchange,
    proof,
)  # fmt: skip


def _proposal(rng: Random, proposal: Proposal) -> Proposal:
    transforms = list(proposal.transforms)
    kind = rng.randrange(6)
    if kind == 0:
        spis = (b"", bytes(4), b"\x00\x00\x00\xff", rng.randbytes(4), rng.randbytes(8), bytes(8), bytes(255))
        return replace(proposal, spi=rng.choice(spis))
    if kind == 1:
        return replace(proposal, protocol=rng.choice((0, 1, 2, 3, 4, 255)))
    if kind == 2:
        return replace(proposal, number=rng.randrange(256))
    if kind == 3 or not transforms:
        return replace(proposal, transforms=tuple(transforms * rng.choice((0, 2, 3)))[:255])
    at = rng.randrange(len(transforms))
    transforms[at] = _transform(rng, transforms[at])
    if rng.random() < 0.3:
        transforms.append(Transform(rng.randrange(1, 14), rng.choice((0, *GROUPS))))
    return replace(proposal, transforms=tuple(transforms))


def _transform(rng: Random, transform: Transform) -> Transform:
    kind = rng.randrange(4)
    if kind == 0:
        return replace(transform, id=rng.choice((rng.randrange(65536), rng.randrange(40))))
    if kind == 1:
        return replace(transform, type=rng.randrange(256) if rng.random() < 0.5 else rng.randrange(14))
    if kind == 2:
        return replace(transform, attributes=())
    number = rng.choice((*EDGES, 192, 256))
    value = rng.choice((number, number.to_bytes(4, "big")))
    return replace(transform, attributes=(*transform.attributes, Attribute(rng.choice((14, 14, 1, 0x7FFF)), value)))


# -- changes to a chain -----------------------------------------------------------------------------------


def _body(rng: Random, chain: Chain, names: Names) -> None:
    if not chain:
        return
    at = rng.randrange(len(chain))
    type_, body = chain[at]
    if type_ == PayloadType.SA and rng.random() < 0.8:
        body = association(rng, body)
    elif names.bodies.get(type_) and rng.random() < 0.3:
        body = rng.choice(names.bodies[type_])
    else:
        body = mangle(rng, body)
    chain[at] = type_, body


def _replace(rng: Random, chain: Chain, names: Names) -> None:
    """Put one of the same kind, made anew, in the place of a payload."""
    made = anything(rng, names)
    for at, (type_, _) in enumerate(chain):
        if type_ == made[0]:
            chain[at] = made
            return


_CHAIN_CHANGES: tuple[Change, ...] = (
    drop, double, swap, adding(anything), adding(anything), retyping(TYPES[1:]), _replace, _replace,
    _body, _body, _body, crowding(anything),
)  # fmt: skip
