"""What every payload has: a type, a body, and the body as received; and the bodies that both versions have alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar, Self

from secd.ike.wire.cursor import Reader, Writer

#: Of the type that says that no payload follows.
NO_PAYLOAD = 0
MAX_SPIS = 256  # of one delete payload


@dataclass(frozen=True, slots=True)
class Payload(ABC):
    """One payload.  `raw` is set by the parser alone, and not taken along by `dataclasses.replace`."""

    TYPE: ClassVar[IntEnum]

    raw: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def type(self) -> int:
        """The payload type's number on the wire."""
        return self.TYPE

    @property
    def body(self) -> bytes:
        """The octets after the generic header: those received, where it was received.  This is what is hashed."""
        return self.raw or self.encode_body()

    @abstractmethod
    def encode_body(self) -> bytes:
        """Make the octets after the generic header from the fields."""


@dataclass(frozen=True, slots=True)
class Opaque(Payload):
    """A payload whose body is one value."""

    data: bytes

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return self.data

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a body."""
        return cls(reader.rest())


@dataclass(frozen=True, slots=True)
class Nonce(Opaque):
    """A nonce."""

    OCTETS: ClassVar[range]

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a body of a length that is allowed."""
        if reader.remaining not in cls.OCTETS:
            raise reader.error(f"{reader.remaining} octets, expected {cls.OCTETS[0]} to {cls.OCTETS[-1]}")
        return cls(reader.rest())


@dataclass(frozen=True, slots=True)
class Unknown(Payload):
    """A payload of a type that we have no use for, to be ignored."""

    number: int
    data: bytes

    @property
    def type(self) -> int:
        """The payload type's number on the wire."""
        return self.number

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return self.data


@dataclass(frozen=True, slots=True)
class Encoded(Payload):
    """A value behind the number of its encoding: a certificate, or a wish for one."""

    encoding: int
    data: bytes = b""

    def encode_body(self) -> bytes:
        """The payload without its generic header."""
        return Writer().u8(self.encoding).put(self.data).getvalue()

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        """Read a body."""
        return cls(reader.u8("encoding"), reader.rest())


def write_spis(writer: Writer, protocol: int, spis: Sequence[bytes]) -> None:
    """Append what a delete payload names: SPIs of one protocol and one size."""
    sizes = {len(spi) for spi in spis} or {0}
    if len(sizes) > 1:
        raise ValueError("the SPIs of a delete payload have one size")
    writer.u8(protocol).u8(sizes.pop()).u16(len(spis)).put(b"".join(spis))


def read_spis(reader: Reader) -> tuple[int, tuple[bytes, ...]]:
    """Protocol and SPIs of a delete payload."""
    protocol = reader.u8("protocol")
    spi_size = reader.u8("SPI size")
    count = reader.u16("number of SPIs")
    if count > MAX_SPIS:
        raise reader.error(f"{count} SPIs, {MAX_SPIS} are the most taken")
    return protocol, tuple(reader.take(spi_size, "SPI") for _ in range(count))
