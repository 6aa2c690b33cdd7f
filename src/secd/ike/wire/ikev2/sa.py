"""The Security Association payload and what it holds: proposals, transforms, attributes (RFC 7296 §3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secd.ike.wire.attributes import Attribute, parse_attributes, write_attributes
from secd.ike.wire.chain import encode_chain
from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.ikev2.iana import PayloadType, TransformAttribute
from secd.ike.wire.ikev2.payload import Payload

MAX_PROPOSALS = 64
MAX_TRANSFORMS = 255  # of one proposal; its count is one octet
MAX_TRANSFORMS_IN_ALL = 1024
MAX_ATTRIBUTES = 16

_LAST = 0
_MORE_PROPOSALS = 2  # RFC 7296 §3.3.1, §3.3.2: what ISAKMP's payload types were
_MORE_TRANSFORMS = 3


@dataclass(frozen=True, slots=True)
class Transform:
    """RFC 7296 §3.3.2."""

    type: int
    id: int
    attributes: tuple[Attribute, ...] = ()

    @property
    def key_length(self) -> int | None:
        """The key length attribute in bits; None when there is none."""
        for each in self.attributes:
            if each.type == TransformAttribute.KEY_LENGTH and isinstance(each.value, int):
                return each.value
        return None

    @property
    def understood(self) -> bool:
        """Whether a key length, once, is its only attribute; a transform with others is not chosen (§3.3.6)."""
        return not self.attributes or (len(self.attributes) == 1 and self.key_length is not None)


def transform(type_: int, id_: int, key_length: int = 0) -> Transform:
    """A transform, with a key length attribute if `key_length` in bits is not 0."""
    return Transform(type_, id_, (Attribute(TransformAttribute.KEY_LENGTH, key_length),) if key_length else ())


@dataclass(frozen=True, slots=True)
class Proposal:
    """RFC 7296 §3.3.1: one transform of each type that is there has to be chosen."""

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]

    def of(self, type_: int) -> tuple[Transform, ...]:
        """The transforms of one type, in the sender's order."""
        return tuple(each for each in self.transforms if each.type == type_)


@dataclass(frozen=True, slots=True)
class SAPayload(Payload):
    """RFC 7296 §3.3."""

    TYPE: ClassVar[PayloadType] = PayloadType.SA

    proposals: tuple[Proposal, ...]

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return encode_chain([(_MORE_PROPOSALS, _encode_proposal(each)) for each in self.proposals])

    @classmethod
    def parse(cls, reader: Reader) -> SAPayload:
        """Read a body."""
        proposals: list[Proposal] = []
        transforms = 0
        following = _MORE_PROPOSALS
        while following == _MORE_PROPOSALS:
            if len(proposals) == MAX_PROPOSALS:
                raise reader.error(f"more than {MAX_PROPOSALS} proposals")
            following, body = _substructure(reader, "proposal", _MORE_PROPOSALS)
            proposals.append(_parse_proposal(body))
            transforms += len(proposals[-1].transforms)
            if transforms > MAX_TRANSFORMS_IN_ALL:
                raise reader.error(f"more than {MAX_TRANSFORMS_IN_ALL} transforms")
        reader.finish()
        return cls(tuple(proposals))


def _parse_proposal(reader: Reader) -> Proposal:
    number = reader.u8("proposal number")
    protocol = reader.u8("protocol")
    spi_size = reader.u8("SPI size")
    count = reader.u8("number of transforms")
    spi = reader.take(spi_size, "SPI")
    transforms: list[Transform] = []
    following = _MORE_TRANSFORMS if count else _LAST
    while following == _MORE_TRANSFORMS:
        if len(transforms) == count:
            raise reader.error(f"more transforms than the {count} announced")
        following, body = _substructure(reader, "transform", _MORE_TRANSFORMS)
        transforms.append(_parse_transform(body))
    if len(transforms) != count:
        raise reader.error(f"{len(transforms)} transforms, {count} announced")
    reader.finish()
    return Proposal(number, protocol, spi, tuple(transforms))


def _parse_transform(reader: Reader) -> Transform:
    type_ = reader.u8("transform type")
    reader.u8("reserved")
    id_ = reader.u16("transform id")
    return Transform(type_, id_, parse_attributes(reader, MAX_ATTRIBUTES))


def _substructure(reader: Reader, what: str, more: int) -> tuple[int, Reader]:
    """Whether one more follows, and a reader for the body."""
    following = reader.u8(f"{what}: last or more")
    if following not in (_LAST, more):
        raise reader.error(f"{what}: {following} stands where 0 (last) or {more} (more) is expected")
    reader.u8(f"{what}: reserved")
    length = reader.u16(f"{what}: length")
    return following, reader.sub(length - 4, what)


def _encode_proposal(proposal: Proposal) -> bytes:
    body = Writer().u8(proposal.number).u8(proposal.protocol).u8(len(proposal.spi)).u8(len(proposal.transforms))
    transforms = [(_MORE_TRANSFORMS, _encode_transform(each)) for each in proposal.transforms]
    return body.put(proposal.spi).put(encode_chain(transforms)).getvalue()


def _encode_transform(each: Transform) -> bytes:
    body = Writer().u8(each.type).u8(0).u16(each.id)
    write_attributes(body, each.attributes)
    return body.getvalue()
