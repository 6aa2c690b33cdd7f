"""A tunnel: one connection, and what has become of it so far.  Nothing in here is kept across restarts.

When it is not up, an active tunnel is tried at once, and then for ever after pauses of 2, 4, 8 .. 60 seconds with a
quarter of jitter; without a pause if the peer was silent, since the attempt itself took its time.  A passive one of
IKEv1 whose peer's address is known is tried once after secd has started; of IKEv2, as iked(8) has it, never.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from secd.ike.connection import Connection
from secd.ike.retransmission import jitter
from secd.ike.steps import Random

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
#: A tunnel that was up for less than this counts as a failed attempt, seconds.
STABLE = 10.0
#: Lines that are remembered as said.
MAX_SAID = 64


def fingerprint(connection: Connection) -> bytes:
    """What SAs were negotiated by: equal for connections whose differences do not touch running SAs."""
    essential = replace(connection, origin="", mode="active", dpd=None)
    return hashlib.sha256(msgspec.msgpack.encode(essential)).digest()[:16]


class Tunnel:
    """What is known of one connection's tunnel."""

    UNTRIED = "not tried yet"

    def __init__(self, connection: Connection) -> None:
        """Start down, without an attempt planned."""
        self.connection = connection
        self.fingerprint = fingerprint(connection)
        self.reason = self.UNTRIED
        self.retries = 0
        self.attempt_at: float | None = None
        self.once = False
        self.last_rekey: float | None = None
        self.up_since: float | None = None
        self._said: set[tuple[str, str]] = set()

    @property
    def name(self) -> str:
        """The connection's name."""
        return self.connection.name

    def why(self, state: str) -> str:
        """What keeps the tunnel from being up, for people; `state` as `ConnectionStatus` has it."""
        if self.reason != self.UNTRIED:
            return "" if state == "up" else self.reason
        return {
            "up": "",
            "waiting": "waiting for the peer",
            "connecting": "the first attempt is under way",
        }.get(state, self.UNTRIED)

    @property
    def starts(self) -> bool:
        """Whether it is up to us to bring the tunnel up."""
        return self.connection.mode in ("active", "dynamic") and self.connection.peer is not None

    def reconfigure(self, connection: Connection) -> None:
        """Take over a connection whose fingerprint is the same."""
        self.connection = connection
        self.once = self.once and connection.mode != "silent"
        if not self.starts and not self.once:
            self.attempt_at = None
        self._said.clear()

    def is_news(self, code: str, message: str) -> bool:
        """Whether `message` under `code` has not been said since the rule was loaded; it has from now on."""
        if (code, message) in self._said:
            return False
        if len(self._said) >= MAX_SAID:
            self._said.clear()
        self._said.add((code, message))
        return True

    def plan(self, now: float, random: Random) -> None:
        """Plan the next attempt: at once, or after the pause that the failures so far ask for."""
        if self.attempt_at is None:
            self.attempt_at = now + self._pause(random)

    def failed(self, reason: str, now: float, random: Random, *, silent: bool = False) -> None:
        """An attempt came to nothing; `silent`: because nobody answered, though it was said often enough."""
        self.reason = reason
        self.retries += 1
        self.once = False
        pause = 0.0 if silent else self._pause(random)
        self.attempt_at = now + pause if self.starts else None

    def up(self, now: float) -> None:
        """Traffic can pass."""
        if self.up_since is None:
            self.up_since = now
            self.reason = ""
        self.once = False

    def down(self, reason: str, now: float) -> None:
        """Traffic cannot pass any more."""
        if self.up_since is not None:
            self.retries = 0 if now - self.up_since >= STABLE else self.retries + 1
            self.up_since = None
            self.reason = reason

    def restart(self, now: float, *, once: bool = False) -> None:
        """Forget the failures; try at once if it is up to us, or `once`."""
        self.retries = 0
        self.once = once and self.connection.mode != "silent" and self.connection.peer is not None
        self.attempt_at = now if self.starts or self.once else None

    def _pause(self, random: Random) -> float:
        if not self.retries:
            return 0.0
        return jitter(random, min(FIRST_PAUSE * 2.0 ** (self.retries - 1), LONGEST_PAUSE))


def origin_for(tunnels: Iterable[Tunnel], peer: str, *, version: int) -> str:
    """Where the rule of `version` for a peer stands, or nothing."""
    fitting = (each.connection for each in tunnels if each.connection.version == version)
    return next((each.origin for each in fitting if each.peer == peer), "")
