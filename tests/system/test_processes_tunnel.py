"""Two secds with the announcement's rule: the tunnel comes up, and survives the killing of each process."""

import os
import re
import signal
import time

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import is_running
from secd.lab.probe import Probe
from secd.lab.secd import Secd

pytestmark = pytest.mark.root

RULE = """\
ike {mode} interface sec0 local {local} peer {peer} \\
        main auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 28800 \\
        quick auth hmac-sha2-256 enc aes-256 group modp3072 lifetime 3600 \\
        psk "one"
"""
HERE, THERE = ("192.0.2.1", "169.254.64.94"), ("192.0.2.2", "169.254.64.93")


def start(host, us, them, mode):
    rule = RULE.format(mode=mode, local=us[0], peer=them[0])
    hostname = f"inet {us[1]} 255.255.255.252 {them[1]}\nup\n"
    return Secd(host, rule, {"sec0": hostname}, "-v")


@pytest.fixture(scope="module")
def tunnel(lab):
    here, there = lab.host("here"), lab.host("there")
    lab.link(here, f"{HERE[0]}/24", there, f"{THERE[0]}/24")
    with start(there, THERE, HERE, "passive") as other, start(here, HERE, THERE, "active") as secd:
        secd.wait_up("sec0")
        # The passive side tries once after its start; if that was at the same time, there are two pairs for a while.
        wait_until(lambda: len(secd.sas()) == len(other.sas()) == 2, 120, "one pair")
        yield secd, other


def spis(secd):
    return sorted((sa["spi"], sa["direction"]) for sa in secd.sas())


def kill(secd, name):
    """Kill -9 a child; wait for its successor and give the seconds until it was ready."""
    log = len(secd.daemon.text())
    old = secd.processes()[name]
    began = time.monotonic()
    os.kill(old, signal.SIGKILL)
    secd.daemon.wait_for(rf"{name} is ready", 10, after=log)
    assert not is_running(old)
    return time.monotonic() - began


def ping(secd, address, count=3):
    result = secd.host.run("ping", "-q", "-c", str(count), "-i", "0.2", "-W", "1", address, check=False)
    return int(re.search(r"(\d+) received", result.stdout).group(1))


def test_the_tunnel_comes_up_and_carries_packets(tunnel):
    secd, _ = tunnel
    assert ping(secd, THERE[1]) == 3


@pytest.mark.parametrize("side", [0, 1], ids=["initiator", "responder"])
def test_a_killed_iked_loses_no_packet_and_negotiates_nothing(tunnel, side):
    secd = tunnel[side]
    before = spis(secd)
    with_traffic = Probe(tunnel[0].host, HERE[1], tunnel[1].host, THERE[1], rate=200)
    times = [kill(secd, "iked") for _ in range(3)]
    time.sleep(1)
    streams = with_traffic.stop()
    assert [stream.lost for stream in streams] == [0, 0]
    assert spis(secd) == before
    assert max(times) < 2
    assert "IKE SAs taken up where they were: 1" in secd.daemon.text()


@pytest.mark.parametrize("side", [0, 1], ids=["initiator", "responder"])
def test_a_killed_sadb_is_back_with_its_tunnel_within_five_seconds(tunnel, side):
    secd = tunnel[side]
    before = spis(secd)
    index = secd.host.ip("-o", "link", "show", "sec0").split(":")[0]
    kill(secd, "sadb")
    began = time.monotonic()
    wait_until(lambda: ping(tunnel[0], THERE[1], 1) == 1, 20, "the tunnel")
    assert time.monotonic() - began < 5
    assert set(spis(secd)).isdisjoint(before)
    assert secd.host.ip("-o", "link", "show", "sec0").split(":")[0] == index


def test_stopping_says_goodbye_to_the_peer(tunnel, lab):
    secd, other = tunnel
    wait_until(lambda: spis(secd) and len(spis(secd)) == len(spis(other)), 10, "both sides")
    secd.daemon.stop(grace=10)
    wait_until(lambda: spis(other) == [], 5, "the peer's deletes")
