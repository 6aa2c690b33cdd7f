"""Protected messages: SK payloads and fragments of them made, and opened (RFC 7296 §3.14, RFC 7383).

What `NotAuthentic` refuses may come from anybody: it is passed over without an answer.  `WireError` is only raised
about octets that the peer itself protected, so it may be answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from secd.ike.crypto.errors import NotAuthentic
from secd.ike.crypto.ikev2_ciphers import DirectionKeys, MessageCipher
from secd.ike.wire.chain import GENERIC_OCTETS, encode_payloads, first_type
from secd.ike.wire.cursor import WireError, Writer
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.iana import PayloadType
from secd.ike.wire.ikev2.message import Chain, Header, parse_payloads
from secd.ike.wire.ikev2.payload import Payload, malformed
from secd.ike.wire.ikev2.protected import FRAGMENT_OCTETS, MAX_FRAGMENTS, Protected, find_protected

#: `random(n)`: n octets that nobody can foretell; IVs are made of them.  Of an AEAD cipher's 64 bits none may come
#: twice under one key: by chance they do not within the messages of one IKE SA.
Random = Callable[[int], bytes]

#: Octets of what fragments may become; whoever sends them is not authenticated yet in IKE_AUTH.
MAX_MESSAGE = 1 << 16

_EMPTY = Chain((), b"")


@dataclass(frozen=True, slots=True)
class Opened:
    """A message whose check value was right.

    `chain` is what was inside.  `clear` is what stood in front of the SK payload.  `int_auth_octets` is what IntAuth
    covers of this message (RFC 9242 §3.3.2).
    """

    header: Header
    chain: Chain
    clear: Chain = _EMPTY
    int_auth_octets: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Fragment:
    """One fragment whose check value was right: `number` of `total`, from 1."""

    header: Header
    first: int
    number: int
    total: int
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reassembly:
    """The fragments of one message so far: a value, which the caller keeps for a message id.

    Requests and responses have the same ids: they are kept apart.
    """

    total: int = 0
    first: int = PayloadType.NONE
    parts: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    def add(self, fragment: Fragment) -> Reassembly:
        """Take in a fragment.  One of a division into more pieces begins anew, one of fewer is old (RFC 7383 §2.6).

        `WireError` when the message becomes larger than any that we take.
        """
        if fragment.total < self.total or (fragment.total == self.total and fragment.number in self.parts):
            return self
        parts = dict(self.parts) if fragment.total == self.total else {}
        first = self.first if parts else PayloadType.NONE
        parts[fragment.number] = fragment.plaintext
        if sum(map(len, parts.values())) > MAX_MESSAGE:
            raise malformed(f"fragments of a message of more than {MAX_MESSAGE} octets")
        return Reassembly(fragment.total, fragment.first if fragment.number == 1 else first, parts)

    @property
    def complete(self) -> bool:
        """Whether every fragment is there."""
        return self.total > 0 and len(self.parts) == self.total

    def message(self, header: Header) -> Opened:
        """The whole message; `header` is that of any of its fragments.  `WireError` if it is malformed."""
        octets = b"".join(self.parts[number] for number in range(1, self.total + 1))
        return _opened(header, _EMPTY, _prefix(header, self.first, len(octets)), self.first, octets)


def seal_message(
    cipher: MessageCipher, keys: DirectionKeys, header: Header, payloads: Sequence[Payload], random: Random
) -> bytes:
    """The datagram that protects `payloads` in an SK payload."""
    plaintext = encode_payloads(payloads)
    return _seal(cipher, keys, header, random, first=first_type(payloads), plaintext=plaintext)


def seal_fragments(
    cipher: MessageCipher,
    keys: DirectionKeys,
    header: Header,
    payloads: Sequence[Payload],
    random: Random,
    *,
    limit: int,
) -> list[bytes]:
    """The datagrams of a message, none above `limit` octets: one with SK if it fits, else fragments.

    `ValueError` if more than 64 fragments would be needed.
    """
    plaintext = encode_payloads(payloads)
    first = first_type(payloads)
    if _room(cipher, limit, HEADER_OCTETS + GENERIC_OCTETS) >= len(plaintext):
        return [_seal(cipher, keys, header, random, first=first, plaintext=plaintext)]
    room = _room(cipher, limit, HEADER_OCTETS + GENERIC_OCTETS + FRAGMENT_OCTETS)
    total = -(-len(plaintext) // room) if room > 0 else MAX_FRAGMENTS + 1
    if total > MAX_FRAGMENTS:
        raise ValueError(f"{len(plaintext)} octets do not fit {MAX_FRAGMENTS} fragments of {limit}")
    datagrams: list[bytes] = []
    for number in range(1, total + 1):
        part = plaintext[(number - 1) * room : number * room]
        fields = Writer().u16(number).u16(total).getvalue()
        inside = first if number == 1 else PayloadType.NONE
        datagrams.append(_seal(cipher, keys, header, random, first=inside, plaintext=part, fragment=fields))
    return datagrams


def open_message(cipher: MessageCipher, keys: DirectionKeys, header: Header, datagram: bytes) -> Opened | Fragment:
    """Check a protected message, decrypt it and read it; a fragment is not yet read.

    `NotAuthentic` for whatever is wrong before the check value was found right, a message in clear included;
    `WireError` for what is malformed behind it.
    """
    try:
        protected = find_protected(header, datagram)
    except WireError as error:
        raise NotAuthentic(str(error)) from None
    if protected is None:
        raise NotAuthentic("the message is not protected")
    padded = cipher.open(keys, protected.associated, protected.sealed)
    plaintext = _unpadded(padded)
    if protected.fragment:
        if protected.clear:
            raise malformed("payloads in front of a fragment")
        return Fragment(header, protected.first, protected.number, protected.total, plaintext)
    clear = parse_payloads(protected.clear_first, protected.clear)
    return _opened(header, clear, _received_prefix(protected, len(plaintext)), protected.first, plaintext)


def int_auth_octets(header: Header, payloads: Sequence[Payload]) -> bytes:
    """What IntAuth covers of a message of our own (RFC 9242 §3.3.2), fragmented or not.

    The headers up to SK's, with lengths as if there were neither IV nor padding nor check value; then the payloads.
    """
    plaintext = encode_payloads(payloads)
    return _prefix(header, first_type(payloads), len(plaintext)) + plaintext


def _opened(header: Header, clear: Chain, prefix: bytes, first: int, plaintext: bytes) -> Opened:
    return Opened(header, parse_payloads(first, plaintext), clear, prefix + plaintext)


def _seal(
    cipher: MessageCipher,
    keys: DirectionKeys,
    header: Header,
    random: Random,
    *,
    first: int,
    plaintext: bytes,
    fragment: bytes = b"",
) -> bytes:
    padding = -(len(plaintext) + 1) % cipher.block_octets
    padded = plaintext + bytes(padding) + bytes((padding,))
    sealed_octets = cipher.iv_octets + len(padded) + cipher.icv_octets
    payload_octets = GENERIC_OCTETS + len(fragment) + sealed_octets
    type_ = PayloadType.SKF if fragment else PayloadType.SK
    head = replace(header, next_payload=type_, length=HEADER_OCTETS + payload_octets).encode()
    associated = head + Writer().u8(first).u8(0).u16(payload_octets).put(fragment).getvalue()
    return associated + cipher.seal(keys, random(cipher.iv_octets), associated, padded)


def _room(cipher: MessageCipher, limit: int, overhead: int) -> int:
    """Octets of plaintext that a datagram of `limit` octets has room for."""
    blocks = limit - overhead - cipher.iv_octets - cipher.icv_octets
    return blocks - blocks % cipher.block_octets - 1


def _unpadded(padded: bytes) -> bytes:
    """Take the padding away, whatever it holds (RFC 7296 §3.14)."""
    if not padded or padded[-1] >= len(padded):
        raise malformed("the padding is longer than what is encrypted")
    return padded[: len(padded) - padded[-1] - 1]


def _prefix(header: Header, first: int, octets: int) -> bytes:
    length = GENERIC_OCTETS + octets
    head = replace(header, next_payload=PayloadType.SK, length=HEADER_OCTETS + length).encode()
    return head + Writer().u8(first).u8(0).u16(length).getvalue()


def _received_prefix(protected: Protected, octets: int) -> bytes:
    """The octets before the IV as received, with both lengths adjusted."""
    head = protected.associated
    length = GENERIC_OCTETS + octets
    whole = len(head) + octets
    return head[:24] + whole.to_bytes(4, "big") + head[28:-2] + length.to_bytes(2, "big")
