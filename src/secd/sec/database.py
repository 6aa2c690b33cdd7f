"""The security association database: who, when and in which state.  Packets are the engine's business.

An inbound SA is named by its SPI alone (the SPI is ours to choose), an outbound one by SPI and destination.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Literal

from secd.sadb.messages import SA, Direction, Lifetime, State
from secd.sec.checks import Refusal, address, without_keys

#: Bounds of the database.
MAX_SAS = 65_536
MAX_RESERVATIONS = 4096
#: Seconds that a reserved SPI waits for its SA.
LARVAL_LIFETIME = 120.0
#: SPIs are chosen from here up: 1 to 255 are reserved (RFC 4303 §2.1), small ones are left to manual keying.
_FIRST_SPI = 0x10000
#: Seconds by which a timer may come early.
_CLOCK_GRAIN = 0.01

Key = tuple[Direction, int, str]
Kind = Literal["soft", "hard"]


class Record:
    """One SA and what is known of it here."""

    __slots__ = ("added", "born", "sa", "shown", "state", "timers")

    def __init__(self, sa: SA) -> None:
        """Start its life now."""
        self.sa = sa
        self.shown = without_keys(sa)
        self.state: State = "mature"
        self.added = time.time()
        self.born = time.monotonic()
        self.timers: dict[Kind, asyncio.TimerHandle] = {}


def key_of(direction: Direction, spi: int, destination: str) -> Key:
    """Name an SA whose destination is in canonical spelling."""
    return direction, spi, "" if direction == "in" else destination


class Database:
    """Every SA and every reserved SPI."""

    def __init__(self, on_expire: Callable[[Record, Kind], None], first_use: Callable[[Record], float]) -> None:
        """`on_expire` is told when a limit in seconds is reached; `first_use` gives epoch seconds, 0: never used."""
        self._on_expire = on_expire
        self._first_use = first_use
        # What the engine's times count from; the time of day may be set meanwhile.
        self._epoch = time.time() - time.monotonic()
        self._records: dict[Key, Record] = {}
        self._checkpoints: dict[str, set[Key]] = {}
        self._reserved: dict[int, tuple[str, float]] = {}  # in order of their ends
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """Count the SAs."""
        return len(self._records)

    # -- reservations -------------------------------------------------------------------------------------

    def reserve(self, iface: str) -> int:
        """Choose an unused SPI at random and keep it for an inbound SA of `iface`."""
        self._forget_old_reservations()
        if len(self._reserved) >= MAX_RESERVATIONS:
            raise Refusal(errno.ENOBUFS, f"{MAX_RESERVATIONS} reserved SPIs wait for their SA already")
        while True:
            spi = _FIRST_SPI + secrets.randbelow(2**32 - _FIRST_SPI)
            if spi not in self._reserved and ("in", spi, "") not in self._records:
                break
        self._reserved[spi] = iface, time.monotonic() + LARVAL_LIFETIME
        return spi

    def _forget_old_reservations(self) -> None:
        now = time.monotonic()
        for spi, (_, end) in list(self._reserved.items()):
            if end > now:
                return
            del self._reserved[spi]

    # -- SAs ----------------------------------------------------------------------------------------------

    def check_free(self, sa: SA) -> None:
        """Refuse `sa` if its name is taken or there is no room."""
        if key_of(sa.direction, sa.spi, sa.destination) in self._records:
            where = "" if sa.direction == "in" else f" to {sa.destination}"
            raise Refusal(errno.EEXIST, f"there is an SA {sa.direction} with SPI 0x{sa.spi:08x}{where} already")
        if len(self._records) >= MAX_SAS:
            raise Refusal(errno.ENOBUFS, f"the database is full: {MAX_SAS} SAs")
        self._forget_old_reservations()
        iface = self._reserved.get(sa.spi, (sa.iface,))[0]
        if sa.direction == "in" and iface != sa.iface:
            raise Refusal(errno.EINVAL, f"SPI 0x{sa.spi:08x} was reserved for {iface}, not for {sa.iface}")

    def add(self, sa: SA) -> Record:
        """Take in an SA that the engine has, and start its clocks."""
        if sa.direction == "in":
            self._reserved.pop(sa.spi, None)
        record = Record(sa)
        key = key_of(sa.direction, sa.spi, sa.destination)
        self._records[key] = record
        if sa.checkpoint:
            self._checkpoints.setdefault(sa.checkpoint, set()).add(key)
        limits: tuple[tuple[Kind, Lifetime], ...] = (("soft", sa.soft), ("hard", sa.hard))
        for kind, limit in limits:
            self._start(record, kind, limit)
        return record

    def find(self, direction: Direction, spi: int, destination: str) -> Record:
        """Find an SA by its name; refuse with ESRCH."""
        destination = address(destination, "destination")
        record = self._records.get(key_of(direction, spi, destination))
        if record is None or record.sa.destination != destination:
            raise Refusal(errno.ESRCH, f"there is no SA {direction} with SPI 0x{spi:08x} to {destination}")
        return record

    def inbound(self, spi: int) -> Record | None:
        """Find an inbound SA."""
        return self._records.get(("in", spi, ""))

    def rename(self, record: Record, sa: SA) -> None:
        """`record` goes on as `sa`, with other outer addresses."""
        self._unlink(record)
        record.sa, record.shown = sa, without_keys(sa)
        key = key_of(sa.direction, sa.spi, sa.destination)
        self._records[key] = record
        if sa.checkpoint:
            self._checkpoints.setdefault(sa.checkpoint, set()).add(key)

    def remove(self, record: Record) -> None:
        """Forget an SA and stop its clocks."""
        for timer in record.timers.values():
            timer.cancel()
        record.state = "dead"
        self._unlink(record)

    def _unlink(self, record: Record) -> None:
        sa = record.sa
        key = key_of(sa.direction, sa.spi, sa.destination)
        self._records.pop(key, None)
        named = self._checkpoints.get(sa.checkpoint)
        if named:
            named.discard(key)
            if not named:
                del self._checkpoints[sa.checkpoint]

    def all(self) -> list[Record]:
        """List every SA in order of SPI, as `ipsecctl -sa` shows them."""
        return [self._records[key] for key in sorted(self._records, key=lambda key: (key[1], key[0], key[2]))]

    def of_interface(self, iface: str | None) -> list[Record]:
        """List the SAs of an interface (None: of all)."""
        return [record for record in self._records.values() if iface in {None, record.sa.iface}]

    def of_checkpoint(self, checkpoint: str) -> Iterable[Record]:
        """List the SAs that a checkpoint speaks of."""
        return [self._records[key] for key in self._checkpoints.get(checkpoint, ())]

    # -- lifetimes in seconds (RFC 2367 §2.3.2) -------------------------------------------------------------

    def _start(self, record: Record, kind: Kind, limit: Lifetime) -> None:
        delays = [seconds for seconds in (limit.addtime, limit.usetime) if seconds]
        if delays:
            record.timers[kind] = self._loop.call_later(min(delays), self._due, record, kind, limit)

    def _due(self, record: Record, kind: Kind, limit: Lifetime) -> None:
        """The earliest moment at which the limit could be reached: it is, or the next such moment is waited for."""
        left = []
        if limit.addtime:
            left.append(limit.addtime - (time.monotonic() - record.born))
        if limit.usetime:
            used = self._first_use(record)
            passed = time.monotonic() + self._epoch - used if used else 0.0
            left.append(min(limit.usetime, limit.usetime - passed))
        if min(left) > _CLOCK_GRAIN:
            record.timers[kind] = self._loop.call_later(min(left), self._due, record, kind, limit)
            return
        del record.timers[kind]
        self._on_expire(record, kind)
