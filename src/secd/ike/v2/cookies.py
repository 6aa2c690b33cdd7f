"""Cookies against floods of first messages (RFC 7296 §2.6), and how many unfinished exchanges there may be.

While few are under way nobody is asked for a cookie.  A cookie proves that the sender receives at its address; it
is an HMAC over what the first message says, under a key that lives for a minute and is accepted for two.
"""

from __future__ import annotations

import hmac

from secd.ike.v2.context import Context, Message
from secd.ike.world import World

#: Unfinished exchanges that others have begun here, in all and from one address: from when on cookies are asked for,
#: and how many there may be.
ASK, ASK_EACH = 64, 32
MOST, MOST_EACH = 1024, 256
#: Seconds for which a key makes cookies.
LIFE = 60.0


class Cookies:
    """One for a machine; its keys die with it, and who holds a cookie of before is asked for a new one."""

    def __init__(self, world: World) -> None:
        """Start without a key."""
        self._world = world
        self._keys: list[bytes] = []
        self._since = 0.0

    def make(self, message: Message, nonce: bytes) -> bytes:
        """The cookie for a first message."""
        self._turn()
        return self._cookie(self._keys[0], message, nonce)

    def accepts(self, message: Message, nonce: bytes, cookie: bytes) -> bool:
        """Whether `cookie` is one of ours for this message."""
        self._turn()
        return any(hmac.compare_digest(self._cookie(key, message, nonce), cookie) for key in self._keys)

    def _turn(self) -> None:
        """Make a new key when it is time; the one before it stays for as long again."""
        age = self._world.now - self._since
        if self._keys and age < LIFE:
            return
        before = self._keys[:1] if age < 2 * LIFE else []
        self._keys = [self._world.random(32), *before]
        self._since = self._world.now

    @staticmethod
    def _cookie(key: bytes, message: Message, nonce: bytes) -> bytes:
        where = f"{message.datagram.remote} {message.datagram.remote_port}".encode()
        return hmac.digest(key, message.header.initiator_spi + nonce + where, "sha256")


def load(ctx: Context, remote: str) -> tuple[int, int]:
    """How many exchanges are unfinished: in all, and from `remote`."""
    unfinished = [each.sa.endpoint.remote for each in ctx.half_open()]
    return len(unfinished), unfinished.count(remote)
