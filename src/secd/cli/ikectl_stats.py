"""`ikectl show stats`: how many of what there are, and what the data plane counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from secd.cli.ikectl import Options
from secd.cli.sec_seam import data_plane
from secd.control import client
from secd.ike.contract import ConnectionStatus


def show_stats(options: Options) -> bool:
    """Print the numbers."""
    with data_plane() as sadb:
        counted = dict(sorted(sadb.counters().items()))
    numbers = count(client.status()) | counted
    if options.json:
        from secd.cli.ikectl_json import print_json

        print_json(numbers)
        return True
    sys.stdout.writelines(f"{line}\n" for line in _lines(numbers))
    return True


def count(tunnels: list[ConnectionStatus]) -> dict[str, int]:
    """Count IKE SAs by version and state, their children, and tunnels by state."""
    found = {
        "ikev2_sas_established": 0, "ikev2_sas_half_open": 0, "ikev1_sas_established": 0, "ikev1_sas_half_open": 0,
        "child_sas": sum(len(tunnel.children) for tunnel in tunnels),
        **{f"tunnels_{state}": 0 for state in ("up", "connecting", "waiting", "down")},
    }  # fmt: skip
    for tunnel in tunnels:
        found[f"tunnels_{tunnel.state}"] += 1
        for ike in tunnel.ike:
            state = "established" if ike.state.lower() == "established" else "half_open"
            found[f"ikev{ike.version}_sas_{state}"] += 1
    return found


def _lines(numbers: dict[str, int]) -> Iterator[str]:
    yield "iked:"
    yield from (f"\t{number} {name.replace('_', ' ')}" for name, number in numbers.items())
