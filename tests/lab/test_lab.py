"""The lab itself: that what it measures with can be trusted, with strongSwan on both sides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secd.lab.bird import Bird
from secd.lab.commands import WaitTimeout, run, wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.openbgpd import OpenBGPD
from secd.lab.probe import Probe, Receiver
from secd.lab.processes import Daemon
from secd.lab.relay import Fate, Faults, Relay
from secd.lab.strongswan import Charon, Tunnel, parse_raw

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> tuple[Host, Host, Host]:
    """`us` behind `middle`, and `them`."""
    us, middle, them = lab.host("us"), lab.host("middle"), lab.host("them")
    lab.link(us, "10.0.0.1/30", middle, "10.0.0.2/30")
    lab.link(middle, "203.0.113.1/30", them, "203.0.113.2/30", a_device="eth1")
    us.route("default", "10.0.0.2")
    them.route("default", "203.0.113.1")
    middle.forward()
    return us, middle, them


def test_a_host_has_etc_and_run_to_itself(hosts: tuple[Host, Host, Host]) -> None:
    us, _, them = hosts
    us.write("/etc/secd-lab-test/deep/file", "ours\n", mode=0o600)
    us.write("/run/file", "ours\n")
    assert us.run("cat", "/etc/secd-lab-test/deep/file", "/run/file").stdout == "ours\nours\n"
    assert them.run("ls", "/etc/secd-lab-test", "/run/file", check=False).returncode == 2
    assert not Path("/etc/secd-lab-test").exists()
    assert us.run("cat", "/etc/passwd").stdout == Path("/etc/passwd").read_text()


def test_a_host_that_is_interrupted_in_its_making_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_self: Host, *_argv: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Host, "ip", interrupted)
    with pytest.raises(KeyboardInterrupt), Lab() as lab:
        lab.host("half")
    assert lab.run_name not in run("ip", "netns", "list").stdout
    assert not lab.directory.exists()


def test_waiting_for_what_does_not_come_shows_the_log(hosts: tuple[Host, Host, Host]) -> None:
    with Daemon(hosts[0], "talker", "sh", "-c", "echo started; exec sleep 60") as daemon:
        daemon.wait_for("^started$")
        with pytest.raises(WaitTimeout, match=r"us: talker: .*never.* not within 0.1 s\nstarted"):
            daemon.wait_for("never", 0.1)


@pytest.fixture(scope="module")
def tunnel(hosts: tuple[Host, Host, Host]) -> Iterator[tuple[Charon, Charon]]:
    """An IKEv1 tunnel through the masquerading `middle`."""
    us, middle, them = hosts
    middle.masquerade("eth1")
    theirs = Tunnel("203.0.113.2", "203.0.113.1", "a secret", remote_id="10.0.0.1")
    with Charon(them, theirs) as responder, Charon(us, Tunnel("10.0.0.1", "203.0.113.2", "a secret")) as initiator:
        initiator.initiate()
        initiator.inner("169.254.64.94", "169.254.64.93")
        responder.inner("169.254.64.93", "169.254.64.94")
        yield initiator, responder


def test_strongswan_brings_a_tunnel_up_through_nat(tunnel: tuple[Charon, Charon]) -> None:
    ours, theirs = (charon.established() for charon in tunnel)
    assert ours
    assert theirs
    assert theirs.remote_host == "203.0.113.1"
    assert (ours.version, ours.encryption, ours.integrity, ours.group) == (
        1, "AES_CBC_256", "HMAC_SHA2_256_128", "MODP_3072",
    )  # fmt: skip
    assert [child.spi_in for child in ours.children] == [child.spi_out for child in theirs.children]


def test_numbered_traffic_through_the_tunnel_is_all_there(
    tunnel: tuple[Charon, Charon], hosts: tuple[Host, Host, Host]
) -> None:
    with Probe(hosts[0], "169.254.64.94", hosts[2], "169.254.64.93", rate=500) as probe:
        time.sleep(0.5)
        for stream in probe.stop():
            assert (stream.lost, stream.duplicates, stream.reordered) == (0, 0, 0)
            assert stream.sent >= 200


def test_routes_come_by_openbgpd_and_bird_installs_them(
    tunnel: tuple[Charon, Charon], hosts: tuple[Host, Host, Host]
) -> None:
    us, _, them = hosts
    speaker = (
        "AS 64512\nnetwork 100.64.64.0/22\nholdtime min 3\nneighbor 169.254.64.94 { remote-as 65001 }\n"
        "allow from any\nallow to any\nmatch to any set med 200\n"
    )
    ours = "AS 65001\nrouter-id 10.0.0.1\nneighbor 169.254.64.93 { remote-as 64512 }\n"
    bird = (
        "router id 10.0.0.1;\nprotocol device { scan time 1; }\nprotocol kernel { ipv4 { export all; }; }\n"
        "protocol bgp far { local as 65001; neighbor 169.254.64.93 as 64512; connect delay time 1;\n"
        "error wait time 1, 2; ipv4 { import all; export all; }; }\n"
    )
    with OpenBGPD(them, speaker):
        with OpenBGPD(us, ours) as bgpd:
            wait_until(bgpd.received, 15, "a route")
            assert [(r.prefix, r.neighbor, r.med) for r in bgpd.received()] == [
                ("100.64.64.0/22", "169.254.64.93", 200)
            ]
            assert bgpd.sessions() == {"169.254.64.93": "Established"}
        with Bird(us, bird) as daemon:
            wait_until(lambda: "100.64.64.0/22 via 169.254.64.93" in us.ip("route"), 15, "an installed route")
            assert daemon.sessions() == {"far": "Established"}


def test_swanctl_raw_messages_are_read() -> None:
    text = "list-sa event {sec0 {uniqueid=1 ts=[0.0.0.0/0 ::/0] child-sas {a-1 {name=a}}}}\nlist-sas reply {}\n"
    assert parse_raw(text)[0] == {
        "sec0": {"uniqueid": "1", "ts": ["0.0.0.0/0", "::/0"], "child-sas": {"a-1": {"name": "a"}}}
    }


def test_the_relay_decides_the_same_by_the_same_seed() -> None:
    faults = Faults(loss=0.1, duplicate=0.1, reorder=0.1)
    one, same, other = Fate(1), Fate(1), Fate(2)
    for fate in (one, same, other):
        fate.faults = faults
    decisions = [[fate.decide() for _ in range(500)] for fate in (one, same, other)]
    assert decisions[0] == decisions[1] != decisions[2]
    assert 20 < one.counts["lost"] < 90


def test_the_probe_counts_what_is_lost_doubled_and_overtaken() -> None:
    receiver = Receiver()
    for when, number in enumerate((0, 1, 4, 3, 3, 8)):
        receiver.take(number, when / 1000)
    assert (receiver.received, receiver.duplicates, receiver.reordered) == (5, 1, 1)
    assert receiver.missing() == [(2, 2), (5, 7)]
    assert receiver.longest_gap == pytest.approx(1)


def test_what_the_relay_did_is_what_the_probe_saw(lab: Lab) -> None:
    left, relay_host, right = lab.host("left"), lab.host("relay"), lab.host("right")
    lab.link(left, "10.1.0.1/30", relay_host, "10.1.0.2/30")
    lab.link(relay_host, "10.2.0.1/30", right, "10.2.0.2/30", a_device="eth1")
    left.route("default", "10.1.0.2")
    right.route("default", "10.2.0.1")
    with Relay(relay_host, seed=3) as relay:
        left.run("ping", "-qc1", "10.2.0.2")
        relay.set(Faults(loss=0.1, duplicate=0.1, reorder=0.1))
        before = relay.counts()
        with Probe(left, "10.1.0.1", right, "10.2.0.2", rate=500) as probe:
            time.sleep(1)
            there, back = probe.stop()
        counts = {name: count - before[name] for name, count in relay.counts().items()}
    assert there.lost + back.lost == counts["lost"] > 0
    assert there.duplicates + back.duplicates == counts["duplicated"] > 0
    assert there.reordered + back.reordered > 0


LEFT_RUNNING = """
import time
from secd.lab.namespaces import Lab
from secd.lab.processes import Daemon
with Lab() as lab:
    host = lab.host("one")
    daemon = Daemon(host, "sleeper", "sleep", "1000")
    print(lab.directory, host.namespace, daemon.pid, flush=True)
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_stays_behind(number: signal.Signals) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", LEFT_RUNNING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout
    directory, namespace, pid = child.stdout.readline().split()
    assert Path(f"/proc/{pid}").exists()
    os.kill(child.pid, number)
    child.wait(10)
    if number == signal.SIGKILL:
        with Lab():  # the next run finds what this one had to leave
            pass
    assert not Path(directory).exists()
    assert namespace not in run("ip", "netns", "list").stdout
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), 15, "end of the sleeper")
    assert Path(directory).parent == Path(tempfile.gettempdir())
