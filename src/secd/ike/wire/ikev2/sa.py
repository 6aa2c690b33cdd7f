"""The Security Association payload and what it holds: proposals, transforms, attributes (RFC 7296 §3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.ikev2.iana import PayloadType, TransformAttribute
from secd.ike.wire.ikev2.payload import Payload

_T = TypeVar("_T")

MAX_PROPOSALS = 64
MAX_TRANSFORMS = 255  # of one proposal; its count is one octet
MAX_TRANSFORMS_IN_ALL = 1024
MAX_ATTRIBUTES = 16

_BASIC = 0x8000  # the AF bit: the value stands in the length's place
_LAST = 0
_MORE_PROPOSALS = 2  # RFC 7296 §3.3.1, §3.3.2: what ISAKMP's payload types were
_MORE_TRANSFORMS = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """RFC 7296 §3.3.5: an int is written as a fixed-length (TV) attribute, bytes as a variable one (TLV)."""

    type: int
    value: int | bytes


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
        writer = Writer()
        for following, proposal in _linked(self.proposals, _MORE_PROPOSALS):
            _write_proposal(writer, following, proposal)
        return writer.getvalue()

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
    attributes: list[Attribute] = []
    while reader.remaining:
        if len(attributes) == MAX_ATTRIBUTES:
            raise reader.error(f"more than {MAX_ATTRIBUTES} attributes")
        kind = reader.u16("attribute type")
        value = reader.u16("attribute value or length")
        if kind & _BASIC:
            attributes.append(Attribute(kind & ~_BASIC, value))
        else:
            attributes.append(Attribute(kind, reader.take(value, f"attribute {kind}")))
    return Transform(type_, id_, tuple(attributes))


def _substructure(reader: Reader, what: str, more: int) -> tuple[int, Reader]:
    """Whether one more follows, and a reader for the body."""
    following = reader.u8(f"{what}: last or more")
    if following not in (_LAST, more):
        raise reader.error(f"{what}: {following} stands where 0 (last) or {more} (more) is expected")
    reader.u8(f"{what}: reserved")
    length = reader.u16(f"{what}: length")
    return following, reader.sub(length - 4, what)


def _write_proposal(writer: Writer, following: int, proposal: Proposal) -> None:
    body = Writer().u8(proposal.number).u8(proposal.protocol).u8(len(proposal.spi)).u8(len(proposal.transforms))
    body.put(proposal.spi)
    for after, each in _linked(proposal.transforms, _MORE_TRANSFORMS):
        part = Writer().u8(each.type).u8(0).u16(each.id)
        for attribute in each.attributes:
            if isinstance(attribute.value, int):
                part.u16(_BASIC | attribute.type).u16(attribute.value)
            else:
                part.u16(attribute.type).u16(len(attribute.value)).put(attribute.value)
        body.u8(after).u8(0).u16(4 + len(part)).put(part.getvalue())
    writer.u8(following).u8(0).u16(4 + len(body)).put(body.getvalue())


def _linked(items: Sequence[_T], more: int) -> Iterator[tuple[int, _T]]:
    """Each item with what its header says about the one after it."""
    for index, item in enumerate(items, 1):
        yield (more if index < len(items) else _LAST), item
