"""The seam for others: a foreign process makes a tunnel without IKE, and `ipsecctl -m` shows it as it happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secd.lab.commands import CommandError, scripts_directory
from secd.lab.namespaces import Host, Lab
from secd.lab.processes import Daemon
from secd.lab.secd import Secd

pytestmark = pytest.mark.root

EXAMPLE = Path(__file__).parents[2] / "examples" / "inject_sa.py"
ONE, OTHER = "192.0.2.1", "192.0.2.2"


def inject(host: Host, *arguments: str) -> str:
    """Run the example with the machine's own Python, which knows nothing of secd."""
    return host.run("/usr/bin/env", "python3", "-I", str(EXAMPLE), *arguments).stdout


def test_sas_that_a_foreign_process_adds_carry_traffic_and_are_shown_live(lab: Lab) -> None:
    one, other = lab.host("one"), lab.host("other")
    lab.link(one, f"{ONE}/30", other, f"{OTHER}/30")
    to_one, to_other = os.urandom(36).hex(), os.urandom(36).hex()
    with Secd(one), Secd(other) as there:
        monitor = Daemon(other, "monitor", str(scripts_directory() / "ipsecctl"), "-m")
        with monitor:
            _registered(monitor, there)
            inject(one, "sec0", ONE, OTHER, "0x1001", "0x2002", to_one, to_other)
            said = inject(other, "sec0", OTHER, ONE, "0x2002", "0x1001", to_other, to_one)
            assert said == f"sec0: {ONE} -> {OTHER} SPI 0x00002002, {OTHER} -> {ONE} SPI 0x00001001\n"
            for host, local, peer in ((one, "10.1.1.1", "10.1.1.2"), (other, "10.1.1.2", "10.1.1.1")):
                host.address(f"{local}/32", "sec0", peer=peer)
                host.ip("link", "set", "sec0", "up")
            assert "3 received" in one.run("ping", "-n", "-c", "3", "-i", "0.1", "-W", "3", "10.1.1.2").stdout
            added = r"^sadb_add: esp tunnel from {} to {} spi {} .* interface sec0 direction {}$"
            monitor.wait_for(added.format(ONE, OTHER, "0x00002002", "in"))
            monitor.wait_for(added.format(OTHER, ONE, "0x00001001", "out"))
            there.ipsecctl("-F")
            monitor.wait_for(r"^sadb_delete: .* spi 0x00002002 .* direction in$")
            monitor.wait_for(r"^sadb_flush")
        assert {sa["spi"] for sa in there.sas()} == set()


def _registered(monitor: Daemon, secd: Secd) -> None:
    """Wait until the monitor hears of something: of an SPI that is reserved for the purpose."""
    script = (
        "import sys; from secd.sadb.client import SADB; from secd.ipc.paths import sadb_socket\n"
        "with SADB.connect(str(sadb_socket())) as sadb: sadb.get_spi('sec7')"
    )

    def heard() -> bool:
        secd.host.run(str(scripts_directory() / "python"), "-c", script)
        return "sadb_getspi" in monitor.text()

    monitor.wait_until(heard, 10, "a first event")


def test_a_refusal_says_why(lab: Lab) -> None:
    host = lab.host("refusing")
    with Secd(host), pytest.raises(CommandError, match="takes a key of 36 octets, not of 2"):
        inject(host, "sec0", ONE, OTHER, "0x1001", "0x2002", "aaaa", "bbbb")
