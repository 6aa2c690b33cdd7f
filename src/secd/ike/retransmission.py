"""Sending again: what the peer has not answered, and what it seems not to have got.

RFC 2408 §5.1: who waits for an answer repeats its message.  Repeats are 2, 4, 8, 16, 16 seconds apart with a quarter
of jitter, 62 seconds in all, unless the exchange has other limits; the peer's repeats are answered out of a cache, a
bounded number of times.
"""

from __future__ import annotations

import hashlib
import hmac

from msgspec import Struct

from secd.ike.steps import Random

FIRST = 2.0
LONGEST = 16.0
TRIES = 6
#: How often one message is repeated because its cause came again.
MAX_RESENT = 12


class Flight(Struct):
    """The last message of an exchange in each direction."""

    received: bytes = b""  # SHA-256 of what was received
    sent: bytes = b""  # what we sent in answer, or first
    resent: int = 0  # how often `sent` went out again because `received` came again
    tries: int = 0  # how often `sent` went out because nothing came
    next: float | None = None  # when it goes out again; None: nothing is awaited


def digest(data: bytes) -> bytes:
    """What a message is recognised by."""
    return hashlib.sha256(data).digest()


def jitter(random: Random, value: float, part: float = 0.25) -> float:
    """`value`, up to `part` of it less or more."""
    return value * (1.0 - part + 2.0 * part * fraction(random))


def fraction(random: Random) -> float:
    """A random number of [0, 1)."""
    return int.from_bytes(random(4), "big") / 2.0**32


def sent(flight: Flight, data: bytes, *, cause: bytes, awaits: bool, now: float, random: Random) -> None:
    """`data` goes out for the first time, in answer to `cause`; `awaits`: repeat it until an answer comes."""
    flight.received = digest(cause) if cause else flight.received
    flight.sent = data
    flight.resent = 0
    flight.tries = 1
    flight.next = now + jitter(random, FIRST) if awaits else None


def received(flight: Flight, data: bytes) -> None:
    """`data` was the answer and calls for none itself."""
    flight.received = digest(data)
    flight.sent = b""
    flight.next = None


def is_duplicate(flight: Flight, data: bytes) -> bool:
    """Whether `data` is the message that was dealt with last."""
    return bool(flight.received) and hmac.compare_digest(flight.received, digest(data))


def again(flight: Flight) -> bytes | None:
    """What a duplicate is answered with; None when there is nothing, or it was answered often enough."""
    if not flight.sent or flight.resent >= MAX_RESENT:
        return None
    flight.resent += 1
    return flight.sent


def due(flight: Flight, now: float, random: Random, *, tries: int = TRIES, longest: float = LONGEST) -> bytes | None:
    """The message to repeat; None when it went out `tries` times: give up."""
    if flight.tries >= tries:
        flight.next = None
        return None
    pause = min(FIRST * 2.0**flight.tries, longest)
    flight.tries += 1
    flight.next = now + jitter(random, pause)
    return flight.sent
