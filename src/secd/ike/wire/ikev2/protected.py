"""Where the protected part of a message is: SK (RFC 7296 §3.14) or one fragment of it, SKF (RFC 7383 §2.5)."""

from __future__ import annotations

from dataclasses import dataclass

from secd.ike.wire.chain import GENERIC_OCTETS, MAX_PAYLOADS
from secd.ike.wire.cursor import Reader
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.iana import NotifyType, PayloadType
from secd.ike.wire.ikev2.message import Header

MAX_FRAGMENTS = 64  # of one message; RFC 7383 leaves the limit to us
FRAGMENT_OCTETS = 4  # fragment number and total, in front of the IV


@dataclass(frozen=True, slots=True)
class Protected:
    """A message with an SK or SKF payload at its end.

    `associated`: the octets before the IV, which the check value covers as they are; `sealed`: IV, ciphertext and
    check value.  `clear`: payloads in front, a chain that ends there, of which the first has type `clear_first`.
    `first`: type of the first payload inside, NONE in all fragments but the first.  `number` of `total`: a fragment's;
    0 of 0 for SK.
    """

    associated: bytes
    sealed: bytes
    first: int
    number: int
    total: int
    clear_first: int
    clear: bytes

    @property
    def fragment(self) -> bool:
        """Whether this is one fragment of a message."""
        return self.total > 0


def find_protected(header: Header, datagram: bytes) -> Protected | None:
    """Find the SK or SKF payload, which must be the last one; None for a message in clear.

    Nothing else is looked at: nobody has shown yet to have sent this.
    """
    reader = Reader(datagram, "protected message", start=HEADER_OCTETS, fault=NotifyType.INVALID_SYNTAX)
    type_ = header.next_payload
    before: int | None = None
    for _ in range(MAX_PAYLOADS):
        if type_ == PayloadType.NONE:
            return None
        start = reader.offset
        following = reader.u8("next payload")
        reader.u8("critical bit")
        body = reader.sub(reader.u16("payload length") - GENERIC_OCTETS, "payload")
        if type_ in (PayloadType.SK, PayloadType.SKF):
            reader.finish()
            number, total = _fragment(body, following) if type_ == PayloadType.SKF else (0, 0)
            associated = datagram[: body.offset]
            clear = b""
            if before is not None:  # ends the chain in front
                clear = datagram[HEADER_OCTETS:before] + bytes((PayloadType.NONE,)) + datagram[before + 1 : start]
            clear_first = header.next_payload if clear else PayloadType.NONE
            return Protected(associated, body.rest(), following, number, total, clear_first, clear)
        type_, before = following, start
    raise reader.error(f"more than {MAX_PAYLOADS} payloads")


def _fragment(body: Reader, first: int) -> tuple[int, int]:
    number = body.u16("fragment number")
    total = body.u16("total fragments")
    if not 1 <= number <= total <= MAX_FRAGMENTS:
        raise body.error(f"fragment {number} of {total}, expected 1 to {MAX_FRAGMENTS}")
    if (number > 1) and first != PayloadType.NONE:
        raise body.error(f"fragment {number} names a first payload, {first}")
    return number, total
