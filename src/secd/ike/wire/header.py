"""The 28 octets that a message of either version begins with (RFC 2408 §3.1, RFC 7296 §3.1)."""

from __future__ import annotations

from typing import NamedTuple

from secd.ike.wire.cursor import Reader, Writer

HEADER_OCTETS = 28
#: Octets of a cookie, which is what IKEv1 calls the SPI of an IKE SA.
SPI_OCTETS = 8


class Fields(NamedTuple):
    """What stands in it, in this order; `first` and `second` are the cookies, or SPIs, of initiator and responder."""

    first: bytes
    second: bytes
    next_payload: int
    version: int
    exchange: int
    flags: int
    message_id: int
    length: int

    @classmethod
    def read(cls, reader: Reader, first: str, second: str) -> Fields:
        """Read them; `first` and `second` are called so in errors."""
        return cls(
            reader.take(SPI_OCTETS, first),
            reader.take(SPI_OCTETS, second),
            reader.u8("next payload"),
            reader.u8("version"),
            reader.u8("exchange type"),
            reader.u8("flags"),
            reader.u32("message id"),
            reader.u32("length"),
        )

    def encode(self) -> bytes:
        """The octets."""
        writer = Writer().put(self.first).put(self.second).u8(self.next_payload).u8(self.version)
        return writer.u8(self.exchange).u8(self.flags).u32(self.message_id).u32(self.length).getvalue()
