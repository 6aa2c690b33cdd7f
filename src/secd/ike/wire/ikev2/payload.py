"""What every IKEv2 payload has: a type, a critical bit, a body, and the body as received (RFC 7296 §3.2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import NotifyType, PayloadType


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
        """The octets after the generic header: those received, where it was received.  This is what AUTH covers."""
        return self.raw or self.encode_body()

    @abstractmethod
    def encode_body(self) -> bytes:
        """Make the octets after the generic header from the fields."""


def malformed(problem: str, notify: NotifyType = NotifyType.INVALID_SYNTAX) -> WireError:
    """The error for a message that breaks a rule of IKEv2: INVALID_SYNTAX unless another notification says more."""
    return WireError(problem, notify)
