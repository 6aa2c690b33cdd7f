"""IKEv1's payloads made wrong with knowledge of what they are: a chain is a list of (type, body)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from octets import EDGES, mangle

from secd.ike.wire import vendorids
from secd.ike.wire.attributes import Attribute
from secd.ike.wire.cursor import Reader, WireError
from secd.ike.wire.iana import NotifyType, PayloadType
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import DeletePayload, IDPayload, NotificationPayload
from secd.ike.wire.sa import Proposal, SAPayload, Transform

Chain = list[tuple[int, bytes]]

NOTIFICATIONS = tuple(int(each) for each in NotifyType)
TYPES = tuple(int(each) for each in PayloadType)


@dataclass
class Names:
    """What an insider may name: cookies and SPIs of SAs that are there, and recorded bodies by payload type."""

    cookies: Sequence[bytes] = ()
    spis: Sequence[bytes] = ()
    bodies: dict[int, list[bytes]] = field(default_factory=dict)


def chain_of(payloads: Iterable[Payload]) -> Chain:
    """Give payloads as (type, body)."""
    return [(payload.type, payload.body) for payload in payloads]


def encode(chain: Chain, rng: Random | None = None) -> bytes:
    """Write a chain; with `rng` a length, a reserved octet or a next payload may be wrong."""
    out = bytearray()
    wrong = rng.randrange(4 * len(chain)) if rng is not None and chain else -1
    for index, (_, body) in enumerate(chain):
        following = chain[index + 1][0] if index + 1 < len(chain) else 0
        reserved, length = 0, 4 + len(body)
        if rng is not None and wrong == index:
            kind = rng.randrange(3)
            following = rng.choice(TYPES) if kind == 0 else following
            reserved = rng.randrange(256) if kind == 1 else 0
            length = rng.choice((length - 1, length + 1, *EDGES)) if kind == 2 else length
        out += bytes((following & 0xFF, reserved)) + (length & 0xFFFF).to_bytes(2, "big") + body
    return bytes(out)


Change = Callable[[Random, Chain, Names], None]
#: A payload, made up.
Anything = Callable[[Random, Names], tuple[int, bytes]]


def changed(rng: Random, chain: Chain, names: Names, changes: Sequence[Change]) -> Chain:
    """Make one to three of `changes` to a chain."""
    result = list(chain)
    for _ in range(rng.randint(1, 3)):
        changes[rng.randrange(len(changes))](rng, result, names)
    return result[:70]


def mutate(rng: Random, chain: Chain, names: Names) -> Chain:
    """Change a chain of IKEv1's."""
    return changed(rng, chain, names, _CHAIN_CHANGES)


def notification(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make a notification of any kind about anything."""
    kind = rng.choice(NOTIFICATIONS) if rng.random() < 0.9 else rng.randrange(65536)
    payload = NotificationPayload(kind, rng.choice((0, 1, 1, 2, 3, 3, 4, 255)), spi(rng, names), _note(rng))
    return PayloadType.N, payload.encode_body()


def delete(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make a delete of any SAs, or of none, or of too many."""
    protocol = rng.choice((0, 1, 1, 2, 3, 3, 4, 255))
    wanted = names.cookies if protocol == 1 and names.cookies else names.spis
    if rng.random() < 0.8 and wanted:
        spis = tuple(rng.choice(wanted) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        spis = tuple(each for each in spis if len(each) == len(spis[0]))
        return PayloadType.D, DeletePayload(protocol, spis).encode_body()
    size, count = rng.choice((0, 1, 4, 4, 8, 16, 255)), rng.choice((0, 1, 2, 255, 256, 257, 65535))
    body = DeletePayload(protocol, ()).encode_body()[:5] + bytes((size,)) + count.to_bytes(2, "big")
    return PayloadType.D, body + rng.randbytes(min(size * count, 1500))


def identity(rng: Random, _: Names) -> tuple[int, bytes]:
    """Make an identity or a selector."""
    kind = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 12, 255))
    size = rng.choice((0, 1, 3, 4, 5, 8, 16, 32, 64, 255, 256, 1000))
    data = bytes(size) if rng.random() < 0.5 else rng.randbytes(size)
    payload = IDPayload(kind, data, rng.choice((0, 0, 17, 255)), rng.choice((0, 0, 500, 65535)))
    return PayloadType.ID, payload.encode_body()


def association(rng: Random, body: bytes) -> bytes:
    """Change proposals, transforms and attributes of an SA payload; what does not parse is mangled."""
    try:
        payload = SAPayload.parse(Reader(body, "SA"))
    except WireError:
        return mangle(rng, body)
    proposals = list(payload.proposals)
    at = rng.randrange(len(proposals))
    proposals[at] = _proposal(rng, proposals[at])
    if rng.random() < 0.2:
        proposals += [rng.choice(proposals)] * rng.choice((1, 2, 63, 64))
    number = rng.choice((payload.situation, 0, 1, 2, 0xFFFFFFFF)) if rng.random() < 0.1 else payload.situation
    return replace(payload, proposals=tuple(proposals[:70]), situation=number).encode_body()


def spi(rng: Random, names: Names) -> bytes:
    """Choose an SPI: of an SA that is there, or not."""
    if names.spis and rng.random() < 0.5:
        return rng.choice(names.spis)
    if names.cookies and rng.random() < 0.5:
        return rng.choice(names.cookies)
    return rng.randbytes(rng.choice((0, 0, 1, 4, 4, 8, 16, 255)))


def anything(rng: Random, names: Names) -> tuple[int, bytes]:
    """Make a payload."""
    kind = rng.randrange(8)
    if kind < 2:
        return notification(rng, names)
    if kind == 2:
        return delete(rng, names)
    if kind == 3:
        return identity(rng, names)
    if kind == 4:
        return PayloadType.VID, rng.choice(VENDORS)
    type_ = rng.choice(TYPES[1:]) if rng.random() < 0.9 else rng.randrange(1, 256)
    known = names.bodies.get(type_)
    if known and rng.random() < 0.6:
        return type_, mangle(rng, rng.choice(known)) if rng.random() < 0.5 else rng.choice(known)
    size = rng.choice((0, 1, 4, 7, 8, 16, 20, 32, 64, 65, 256, 257, 384))
    return type_, rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))


VENDORS = tuple(value for value in vars(vendorids).values() if isinstance(value, bytes)) or (b"vendor",)


def _note(rng: Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice((0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32))).to_bytes(4, "big")
    if kind == 1:  # a lifetime in phase 2's attributes, which may be absurd
        seconds = rng.choice((0, 1, 60, 0xFFFFFFFF)).to_bytes(4, "big")
        return b"\x80\x01\x00\x01\x00\x02\x00\x04" + seconds
    if kind == 2:
        return b"\x80\x0b\x00\x01\x00\x0c\x00\x04" + rng.choice((0, 1, 60, 0xFFFFFFFF)).to_bytes(4, "big")
    return rng.randbytes(rng.choice((0, 1, 3, 5, 64)))


def _proposal(rng: Random, proposal: Proposal) -> Proposal:
    kind = rng.randrange(6)
    transforms = list(proposal.transforms)
    if kind == 0:
        return replace(proposal, spi=rng.choice((b"", bytes(4), b"\x00\x00\x00\xff", rng.randbytes(4), bytes(255))))
    if kind == 1:
        return replace(proposal, protocol=rng.choice((0, 1, 2, 3, 4, 255)))
    if kind == 2:
        return replace(proposal, number=rng.randrange(256))
    if kind == 3 or not transforms:
        return replace(proposal, transforms=tuple(transforms * rng.choice((0, 2, 3)))[:255])
    at = rng.randrange(len(transforms))
    transforms[at] = _transform(rng, transforms[at])
    return replace(proposal, transforms=tuple(transforms))


def _transform(rng: Random, transform: Transform) -> Transform:
    attributes = list(transform.attributes)
    kind = rng.randrange(5)
    if kind == 0 or not attributes:
        return replace(transform, id=rng.randrange(256))
    at = rng.randrange(len(attributes))
    if kind == 1:
        del attributes[at]
    elif kind == 2:
        attributes.insert(at, rng.choice(attributes))
    elif kind == 3:
        attributes += [Attribute(rng.randrange(0x8000), rng.randbytes(rng.choice((0, 1, 4, 8, 9, 64))))]
    else:
        number = rng.choice((*EDGES, rng.randrange(65536)))
        long = number.to_bytes(rng.choice((2, 4, 8, 16)), "big")
        attributes[at] = Attribute(attributes[at].type, number if rng.random() < 0.6 else long)
    return replace(transform, attributes=tuple(attributes[:40]))


def drop(rng: Random, chain: Chain, _: Names) -> None:
    """Leave a payload out."""
    if chain:
        del chain[rng.randrange(len(chain))]


def double(rng: Random, chain: Chain, _: Names) -> None:
    """Say a payload twice."""
    if chain:
        chain.insert(rng.randint(0, len(chain)), rng.choice(chain))


def swap(rng: Random, chain: Chain, _: Names) -> None:
    """Change the order of two payloads."""
    if len(chain) > 1:
        one, other = rng.randrange(len(chain)), rng.randrange(len(chain))
        chain[one], chain[other] = chain[other], chain[one]


def adding(anything: Anything) -> Change:
    """Give the change that puts one more payload somewhere."""

    def add(rng: Random, chain: Chain, names: Names) -> None:
        chain.insert(rng.randint(0, len(chain)), anything(rng, names))

    return add


def crowding(anything: Anything) -> Change:
    """Give the change that says one more payload many times."""

    def crowd(rng: Random, chain: Chain, names: Names) -> None:
        chain.extend([anything(rng, names)] * rng.choice((2, 8, 64)))

    return crowd


def retyping(types: Sequence[int]) -> Change:
    """Give the change that calls a payload another one of `types`."""

    def retype(rng: Random, chain: Chain, _: Names) -> None:
        if chain:
            at = rng.randrange(len(chain))
            chain[at] = rng.choice(types), chain[at][1]

    return retype


def _body(rng: Random, chain: Chain, names: Names) -> None:
    if chain:
        at = rng.randrange(len(chain))
        type_, body = chain[at]
        if type_ == PayloadType.SA and rng.random() < 0.8:
            body = association(rng, body)
        elif type_ == PayloadType.ID and rng.random() < 0.5:
            body = identity(rng, names)[1]
        elif names.bodies.get(type_) and rng.random() < 0.3:
            body = rng.choice(names.bodies[type_])
        else:
            body = mangle(rng, body)
        chain[at] = type_, body


_CHAIN_CHANGES: tuple[Change, ...] = (
    drop,
    double,
    swap,
    adding(anything),
    adding(anything),
    retyping(TYPES[1:]),
    _body,
    _body,
    _body,
    _body,
    crowding(anything),
)
