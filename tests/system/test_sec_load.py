"""Data planes that have much to do: SAs replaced under full load, and many interfaces.

a: sec0 169.254.64.94 -- eth0 10.77.0.1 ======== eth0 10.77.0.2 -- sec0 169.254.64.93 :b
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from tests.system.sec_process import SecProcess, pings, tunnel, until

from secd.lab.namespaces import Lab
from secd.lab.probe import Probe
from secd.lab.processes import Daemon
from secd.sadb import messages as m
from secd.sadb.client import SADB

pytestmark = pytest.mark.root

OUTER = "10.77.0.1", "10.77.0.2"
INNER = "169.254.64.94", "169.254.64.93"
#: So many changes later nothing is under way of the SA that was replaced.
UNDER_WAY = 8
#: What may not happen to a packet while its SA is replaced.
DROPS = ("drop_no_sa", "drop_unknown_spi", "drop_replay", "drop_auth", "drop_hard_lifetime", "drop_send")


class Pair:
    """Two data planes on one link, sec0 up in each; 0 is a, 1 is b."""

    def __init__(self, processes: list[SecProcess], seams: list[SADB]) -> None:
        self.processes, self.seams = processes, seams

    def install(self, spi: int, sender: int) -> None:
        """Install an SA of `sender`, at its receiver first."""
        out, into = tunnel(spi, OUTER[sender], OUTER[1 - sender])
        self.seams[1 - sender].add(into)
        self.seams[sender].add(out)

    def delete_outbound(self, spi: int, sender: int) -> None:
        """Delete it where packets are sent by it."""
        self.seams[sender].ask(m.Delete(0, spi, "out", OUTER[1 - sender]), m.Done)

    def delete_inbound(self, spi: int, sender: int) -> None:
        """Delete it at its receiver."""
        self.seams[1 - sender].ask(m.Delete(0, spi, "in", OUTER[1 - sender]), m.Done)


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Iterator[Pair]:
    """Both of them."""
    hosts = [lab.host("load-a"), lab.host("load-b")]
    lab.link(hosts[0], f"{OUTER[0]}/24", hosts[1], f"{OUTER[1]}/24")
    with SecProcess(hosts[0]) as a, SecProcess(hosts[1]) as b, a.connect() as seam_a, b.connect() as seam_b:
        for end, (process, seam) in enumerate(((a, seam_a), (b, seam_b))):
            seam.create("sec0")
            process.host.address(f"{INNER[end]}/32", "sec0", peer=f"{INNER[1 - end]}/32")
            process.host.ip("link", "set", "sec0", "mtu", "1420", "up")
        until(lambda: all(seam.interfaces()[0].running for seam in (seam_a, seam_b)), "sec0 to run")
        yield Pair([a, b], [seam_a, seam_b])


def test_sas_that_are_installed_and_deleted_under_full_load_lose_no_packet(pair: Pair) -> None:
    hosts = [process.host for process in pair.processes]
    for sender in (0, 1):
        pair.install(0x5000 + sender, sender)
    assert pings(hosts[0], INNER[1])
    with Daemon(hosts[1], "iperf3", "iperf3", "-s", "-1", "-p", "5201", "--forceflush") as server:
        server.wait_for("listening", 5)
        with Probe(hosts[0], INNER[0], hosts[1], INNER[1], rate=300) as probe:
            # A window that the interface's own queue always has room for: what is lost then, an SA has lost.
            load = Daemon(hosts[0], "load", "iperf3", "-c", INNER[1], "-p", "5201", "-t", "3", "-w", "1M", "-J")
            changes = 0
            while load.running:
                changes += 1
                for sender in (0, 1):
                    new = 0x5000 + 2 * changes + sender
                    pair.install(new, sender)
                    pair.delete_outbound(new - 2, sender)
                    if changes > UNDER_WAY:
                        pair.delete_inbound(new - 2 - 2 * UNDER_WAY, sender)
                time.sleep(0.05)
            streams = probe.stop()
    total = json.loads(load.text())["end"]
    assert total["sum_received"]["bytes"] > 100e6
    assert changes >= 10
    assert [stream.lost for stream in streams] == [0, 0]
    for seam in pair.seams:
        counters = seam.counters()
        assert {name: counters[name] for name in DROPS} == dict.fromkeys(DROPS, 0)


def test_hundreds_of_interfaces_are_made_and_removed_within_seconds_and_leave_others_alone(pair: Pair) -> None:
    host, seam = pair.processes[0].host, pair.seams[0]
    host.ip("tuntap", "add", "other0", "mode", "tun")
    names = [f"sec{number}" for number in range(100, 400)]
    began = time.monotonic()
    for kind in (m.InterfaceCreate, m.InterfaceDestroy):
        for seq, name in enumerate(names, 1):
            seam.send(kind(seq, name))
        for _ in names:
            assert isinstance(seam.receive(), m.Done)
        there = {link["ifname"] for link in json.loads(host.ip("-j", "link"))}
        assert {"sec0", "other0"} <= there
        assert there.issuperset(names) if kind is m.InterfaceCreate else there.isdisjoint(names)
    assert time.monotonic() - began < 10  # one by one the kernel takes 20 ms for each to be removed
    host.ip("link", "del", "other0")


def test_an_interface_may_be_made_again_in_the_same_breath(pair: Pair) -> None:
    seam = pair.seams[0]
    seam.create("sec50")
    seam.send(m.InterfaceDestroy(1, "sec50"))
    seam.send(m.InterfaceCreate(2, "sec50"))
    assert [seam.receive() for _ in range(2)] == [m.Done(1), m.Done(2)]
    seam.destroy("sec50")
