"""An SA as it is shown: what the database knows of it and what the engine has counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secd.sadb.messages import Counters, Entry, Lifetime
from secd.sec.database import Record

if TYPE_CHECKING:
    from secd._engine import SACounters


def entry(seq: int, record: Record, counted: SACounters, *, with_keys: bool) -> Entry:
    """Show one SA."""
    if record.sa.direction == "in":
        counters = Counters(
            input_packets=counted["packets"],
            input_bytes=counted["esp_bytes"],
            input_decompressed_bytes=counted["inner_bytes"],
            input_drops=counted["drops"],
        )
    else:
        counters = Counters(
            output_packets=counted["packets"],
            output_bytes=counted["esp_bytes"],
            output_uncompressed_bytes=counted["inner_bytes"],
            output_drops=counted["drops"],
        )
    return Entry(
        seq=seq,
        sa=record.sa if with_keys else record.shown,
        state=record.state,
        current=Lifetime(counted["packets"], counted["inner_bytes"], int(record.added), int(counted["first_use"])),
        lastuse=int(counted["last_use"]),
        counters=counters,
        rpl=counted["rpl"],
        idle=counted["idle"] if counted["idle"] >= 0 else None,
        pmtu=counted["pmtu"],
    )
