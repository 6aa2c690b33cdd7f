"""What every ISAKMP payload has: a type, a body, and the body as it was received (RFC 2408 §3.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from secd.ike.wire.iana import PayloadType


@dataclass(frozen=True, slots=True)
class Payload(ABC):
    """One payload.  `raw` is set by the parser alone, and not taken along by `dataclasses.replace`."""

    TYPE: ClassVar[PayloadType]

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
