"""The Security Association payload and what it holds: proposals, transforms, attributes (RFC 2408 §3.3 to §3.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secd.ike.wire.attributes import Attribute, parse_attributes, write_attributes
from secd.ike.wire.chain import encode_chain
from secd.ike.wire.cursor import Reader, Writer
from secd.ike.wire.iana import Doi, NotifyType, PayloadType, Situation
from secd.ike.wire.payload import Payload

MAX_PROPOSALS = 64
MAX_TRANSFORMS = 255  # of one proposal; its count is one octet
MAX_TRANSFORMS_IN_ALL = 1024


@dataclass(frozen=True, slots=True)
class Transform:
    """RFC 2408 §3.6."""

    number: int
    id: int
    attributes: tuple[Attribute, ...] = ()

    def find(self, type_: int) -> int | None:
        """The number in the first attribute of `type_`; None when there is none, or none that is a number."""
        return next((each.number for each in self.attributes if each.type == type_), None)


@dataclass(frozen=True, slots=True)
class Proposal:
    """RFC 2408 §3.5.  Proposals of one number belong together (all of them or none)."""

    number: int
    protocol: int
    spi: bytes
    transforms: tuple[Transform, ...]


@dataclass(frozen=True, slots=True)
class SAPayload(Payload):
    """RFC 2408 §3.4 with the situation of RFC 2407 §4.2."""

    TYPE: ClassVar[PayloadType] = PayloadType.SA

    proposals: tuple[Proposal, ...]
    doi: int = Doi.IPSEC
    situation: int = Situation.SIT_IDENTITY_ONLY

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        writer = Writer().u32(self.doi).u32(self.situation)
        writer.put(encode_chain([(PayloadType.P, _encode_proposal(each)) for each in self.proposals]))
        return writer.getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> SAPayload:
        """Read a body.  The DOI must be IPsec and the situation "identity only": others are laid out otherwise."""
        doi = reader.u32("DOI")
        if doi not in (Doi.IPSEC, Doi.ISAKMP):
            raise reader.error(f"DOI {doi}, expected {Doi.IPSEC:d} (IPsec)", NotifyType.DOI_NOT_SUPPORTED)
        situation = reader.u32("situation")
        if situation != Situation.SIT_IDENTITY_ONLY:
            raise reader.error(f"situation {situation}, expected 1 (identity only)", NotifyType.SITUATION_NOT_SUPPORTED)
        return cls(_parse_proposals(reader), doi, situation)


def _parse_proposals(reader: Reader) -> tuple[Proposal, ...]:
    proposals: list[Proposal] = []
    transforms = 0
    following: int = PayloadType.P
    while following == PayloadType.P:
        if len(proposals) == MAX_PROPOSALS:
            raise reader.error(f"more than {MAX_PROPOSALS} proposals", NotifyType.BAD_PROPOSAL_SYNTAX)
        following, body = _substructure(reader, "proposal", PayloadType.P)
        proposals.append(_parse_proposal(body))
        transforms += len(proposals[-1].transforms)
        if transforms > MAX_TRANSFORMS_IN_ALL:
            raise reader.error(f"more than {MAX_TRANSFORMS_IN_ALL} transforms", NotifyType.BAD_PROPOSAL_SYNTAX)
    reader.finish()
    return tuple(proposals)


def _parse_proposal(reader: Reader) -> Proposal:
    number = reader.u8("proposal number")
    protocol = reader.u8("protocol")
    spi_size = reader.u8("SPI size")
    count = reader.u8("number of transforms")
    spi = reader.take(spi_size, "SPI")
    transforms: list[Transform] = []
    following: int = PayloadType.T
    while following == PayloadType.T:
        if len(transforms) == count:
            raise reader.error(f"more transforms than the {count} announced", NotifyType.BAD_PROPOSAL_SYNTAX)
        following, body = _substructure(reader, "transform", PayloadType.T)
        transforms.append(_parse_transform(body))
    if len(transforms) != count:
        raise reader.error(f"{len(transforms)} transforms, {count} announced", NotifyType.BAD_PROPOSAL_SYNTAX)
    reader.finish()
    return Proposal(number, protocol, spi, tuple(transforms))


def _parse_transform(reader: Reader) -> Transform:
    number = reader.u8("transform number")
    transform_id = reader.u8("transform id")
    reader.u16("reserved")
    return Transform(number, transform_id, parse_attributes(reader))


def _substructure(reader: Reader, what: str, own_type: PayloadType) -> tuple[int, Reader]:
    """The type that follows (the same again, or none), and a reader for the body."""
    following = reader.u8(f"{what}: next payload")
    if following not in (PayloadType.NONE, own_type):
        raise reader.error(f"payload {following} after a {what}", NotifyType.BAD_PROPOSAL_SYNTAX)
    reader.u8(f"{what}: reserved")
    length = reader.u16(f"{what}: length")
    return following, reader.sub(length - 4, what)


def _encode_proposal(proposal: Proposal) -> bytes:
    body = Writer().u8(proposal.number).u8(proposal.protocol).u8(len(proposal.spi)).u8(len(proposal.transforms))
    transforms = [(PayloadType.T, _encode_transform(each)) for each in proposal.transforms]
    return body.put(proposal.spi).put(encode_chain(transforms)).getvalue()


def _encode_transform(transform: Transform) -> bytes:
    body = Writer().u8(transform.number).u8(transform.id).u16(0)
    write_attributes(body, transform.attributes)
    return body.getvalue()
