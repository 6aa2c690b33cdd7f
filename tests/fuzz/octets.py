"""Octets made wrong: what any parser must bear, whatever the octets mean."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

#: Numbers that stand at the edges of fields.
EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 27, 28, 31, 32, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
#: Mutants do not grow beyond this.
LARGEST = 4096


def mangle(rng: Random, data: bytes, others: Sequence[bytes] = (), most: int = 4) -> bytes:
    """Make one to `most` changes to `data`; `others` is what may be spliced in."""
    result = bytearray(data)
    for _ in range(rng.randint(1, most)):
        _CHANGES[rng.randrange(len(_CHANGES))](rng, result, others)
    return bytes(result[:LARGEST])


def _flip(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _octet(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice(EDGES) & 0xFF


def _word(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if len(data) >= 2:
        at = rng.randrange(len(data) - 1)
        data[at : at + 2] = rng.choice(EDGES).to_bytes(2, "big")


def _near(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    """Change a 16-bit number a little, as lengths and counts are most delicate near their right value."""
    if len(data) >= 2:
        at = rng.randrange(len(data) - 1)
        number = int.from_bytes(data[at : at + 2], "big") + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8))
        data[at : at + 2] = (number & 0xFFFF).to_bytes(2, "big")


def _double_word(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if len(data) >= 4:
        at = rng.randrange(len(data) - 3)
        number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
        data[at : at + 4] = number.to_bytes(4, "big")


def _delete(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        at = rng.randrange(len(data))
        del data[at : at + rng.choice((1, 2, 4, 8, 64))]


def _repeat(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        at = rng.randrange(len(data))
        part = data[at : at + rng.choice((1, 4, 8, 20, 64))]
        data[at:at] = part * rng.choice((1, 1, 2, 16))


def _insert(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8, 64)))


def _cut(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[rng.randint(0, len(data)) :]


def _extend(rng: Random, data: bytearray, _: Sequence[bytes]) -> None:
    data += rng.randbytes(rng.choice((1, 4, 16, 256))) if rng.random() < 0.5 else bytes(rng.choice((1, 4, 16, 256)))


def _splice(rng: Random, data: bytearray, others: Sequence[bytes]) -> None:
    if others and data:
        other = rng.choice(others)
        if other:
            begin = rng.randrange(len(other))
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 4, 16, len(data)))] = other[begin : begin + rng.choice((4, 16, 64, 1024))]


_CHANGES = (
    _flip,
    _octet,
    _word,
    _near,
    _near,
    _double_word,
    _delete,
    _repeat,
    _insert,
    _cut,
    _extend,
    _splice,
)
