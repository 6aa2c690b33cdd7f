"""A chain of payloads, each with a generic header that names the next one's type (RFC 2408 §3.2, RFC 7296 §3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, TypeVar

from secd.ike.wire.cursor import Reader, WireError, Writer
from secd.ike.wire.payload import NO_PAYLOAD, Payload

GENERIC_OCTETS = 4
MAX_PAYLOADS = 64

P = TypeVar("P", bound=Payload)


@dataclass(frozen=True, slots=True)
class PayloadChain:
    """The payloads of a message, in order; `octets` are they, with their generic headers, as received."""

    #: The NOTIFY type that says that a payload is missing, or there too often.
    FAULT: ClassVar[IntEnum]

    payloads: tuple[Payload, ...]
    octets: bytes

    def all(self, kind: type[P]) -> tuple[P, ...]:
        """Every payload of `kind`."""
        return tuple(each for each in self.payloads if isinstance(each, kind))

    def find(self, kind: type[P]) -> P | None:
        """The only payload of `kind`, or None; several are an error."""
        found = self.all(kind)
        if len(found) > 1:
            raise WireError(f"{len(found)} {kind.TYPE.name} payloads, expected one at most", self.FAULT)
        return found[0] if found else None

    def one(self, kind: type[P]) -> P:
        """The only payload of `kind`; none or several are an error."""
        found = self.find(kind)
        if found is None:
            raise WireError(f"no {kind.TYPE.name} payload", self.FAULT)
        return found


def walk(reader: Reader, first: int, read: Callable[[Reader, int], tuple[int, Payload]]) -> Iterator[Payload]:
    """The payloads of a chain that begins with one of type `first`; `read` takes one and says what follows it."""
    following, count = first, 0
    while following != NO_PAYLOAD:
        if count == MAX_PAYLOADS:
            raise reader.error(f"more than {MAX_PAYLOADS} payloads")
        following, payload = read(reader, following)
        count += 1
        yield payload


def whole(body: Reader, parse: Callable[[Reader], Payload]) -> Payload:
    """Read a body to its last octet; the payload keeps it as it was received."""
    raw = body.peek()
    payload = parse(body)
    body.finish()
    object.__setattr__(payload, "raw", raw)  # the only place where a payload gets it
    return payload


def encode_payloads(payloads: Sequence[Payload]) -> bytes:
    """The chain of payloads; its first one's type belongs into what stands before it.

    None is critical: that bit is for types that RFC 7296 does not define (§3.2).
    """
    return encode_chain([(each.type, each.body) for each in payloads])


def first_type(payloads: Sequence[Payload]) -> int:
    """What stands as next payload before a chain."""
    return payloads[0].type if payloads else NO_PAYLOAD


def encode_chain(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """Parts of a type and a body each, behind generic headers that name the type of the next part."""
    writer = Writer()
    for number, (_, body) in enumerate(parts, 1):
        following = parts[number][0] if number < len(parts) else NO_PAYLOAD
        writer.u8(following).u8(0).u16(GENERIC_OCTETS + len(body)).put(body)
    return writer.getvalue()
