"""Data attributes, the same in SA payloads of both versions (RFC 2408 §3.3, RFC 7296 §3.3.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secd.ike.wire.cursor import Reader, Writer

MAX_ATTRIBUTES = 32  # in one place

_BASIC = 0x8000  # the AF bit: the value stands in the length's place
_LARGEST_NUMBER = 8  # octets; longer values are not taken for numbers


@dataclass(frozen=True, slots=True)
class Attribute:
    """An int is written as a basic, or fixed-length, one (TV), bytes as a variable one (TLV)."""

    type: int
    value: int | bytes

    @property
    def number(self) -> int | None:
        """The value as a number in either form; None when it is empty or longer than 8 octets."""
        if isinstance(self.value, int):
            return self.value
        return int.from_bytes(self.value, "big") if 0 < len(self.value) <= _LARGEST_NUMBER else None


def attribute(type_: int, number: int) -> Attribute:
    """An attribute that holds `number`: basic where it fits 16 bits, else variable with four octets."""
    return Attribute(type_, number if number < 1 << 16 else number.to_bytes(4, "big"))


def parse_attributes(reader: Reader, most: int = MAX_ATTRIBUTES) -> tuple[Attribute, ...]:
    """Read attributes up to the reader's end, `most` of them."""
    attributes: list[Attribute] = []
    while reader.remaining:
        if len(attributes) == most:
            raise reader.error(f"more than {most} attributes")
        type_ = reader.u16("attribute type")
        value = reader.u16("attribute value or length")
        if type_ & _BASIC:
            attributes.append(Attribute(type_ & ~_BASIC, value))
        else:
            attributes.append(Attribute(type_, reader.take(value, f"attribute {type_}")))
    return tuple(attributes)


def write_attributes(writer: Writer, attributes: Sequence[Attribute]) -> None:
    """Append attributes."""
    for each in attributes:
        if isinstance(each.value, int):
            writer.u16(each.type | _BASIC).u16(each.value)
        else:
            writer.u16(each.type).u16(len(each.value)).put(each.value)
