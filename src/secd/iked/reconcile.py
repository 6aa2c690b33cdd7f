"""What the machine took up against what the data plane has: neither side may keep an SA that the other lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from secd.ike.contract import InstalledSA
from secd.sadb.messages import SA, Direction, Entry

Name = tuple[int, Direction, str]


def name(sa: SA | InstalledSA) -> Name:
    """Name an SA as the seam does: SPI, direction, outer destination."""
    return sa.spi, sa.direction, sa.destination


def orphans(believed: Iterable[InstalledSA], entries: Iterable[Entry], interfaces: Collection[str]) -> list[SA]:
    """List the SAs of `interfaces` (the ones that IKE keys) that no IKE SA knows.

    SAs of other interfaces are somebody else's: manual ones, or another key daemon's.
    """
    known = {name(sa) for sa in believed}
    return [
        entry.sa
        for entry in entries
        if entry.state != "larval" and entry.sa.iface in interfaces and name(entry.sa) not in known
    ]


def lost(believed: Iterable[InstalledSA], entries: Iterable[Entry]) -> list[SA]:
    """List the SAs that the machine believes in and that are not there, without their algorithms and keys."""
    there = {name(entry.sa) for entry in entries}
    return [
        SA(sa.spi, sa.direction, sa.iface, sa.source, sa.destination, encryption="", encryption_key=b"")
        for sa in believed
        if name(sa) not in there
    ]
