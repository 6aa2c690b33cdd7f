"""A bad line: 10 % of all packets lost, doubled and overtaken.  Tunnels come up, rekey, and stay single."""

from __future__ import annotations

import time

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK, THEM, US, Role, rule, theirs
from secd.lab.probe import Probe
from secd.lab.relay import Faults, Relay
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

ROUTER = "198.51.100.1"
BAD_LINE = Faults(loss=0.10, duplicate=0.10, reorder=0.10)


@pytest.mark.parametrize(("role", "seed"), [("initiator", 1), ("responder", 2)])
def test_a_tunnel_over_a_bad_line_comes_up_rekeys_and_stays_single(lab: Lab, role: Role, seed: int) -> None:
    us, middle, them = (lab.host(f"{name}{seed}") for name in ("us", "relay", "them"))
    lab.link(us, f"{US}/32", middle, None)
    lab.link(middle, None, them, f"{THEM}/32", a_device="eth1")
    for host, address in ((us, US), (them, THEM)):
        host.ip("route", "add", ROUTER, "dev", "eth0")
        host.ip("route", "add", "default", "via", ROUTER, "src", address)
    middle.address(f"{ROUTER}/32", "lo")
    middle.ip("route", "add", US, "dev", "eth0")
    middle.ip("route", "add", THEM, "dev", "eth1")
    # Of 40 s the last 4 to 6 are left for the rekeying: time to repeat a message twice.
    ours = rule(role, quick="quick auth hmac-sha2-256 enc aes-256 group modp2048 lifetime 40")
    with (
        Relay(middle, seed=seed) as relay,
        Charon(them, theirs(child_rekey=3600)) as charon,
        Secd(us, ours, {"sec0": HOSTNAME}, "-v") as secd,
    ):
        relay.set(BAD_LINE)
        charon.inner(INNER_THEM, INNER_US)
        if role == "responder":
            charon.initiate(timeout=60)
        secd.wait_up("sec0", timeout=60)
        # If message 3 is lost, charon sends nothing until it comes again.
        wait_until(lambda: us.run("ping", "-c1", "-W1", INNER_THEM, check=False).returncode == 0, 40, "a ping")
        with Probe(us, INNER_US, them, INNER_THEM, rate=100) as probe:
            first = _ours(secd)
            wait_until(lambda: not first & _ours(secd), 60, "a rekeying")
            time.sleep(5)
            streams = probe.stop()
        assert relay.counts()["lost"] > 0
        relay.set(Faults())
        wait_until(
            lambda: len(_ours(secd)) == 2 and _ours(secd) == _theirs(charon), 30, "one pair, the same at both ends"
        )
        for stream in streams:
            assert stream.lost < 0.2 * stream.sent, str(stream)
            assert stream.duplicates == 0, str(stream)  # the replay window sees to that
        assert PSK not in secd.daemon.text()


def _ours(secd: Secd) -> set[int]:
    return {sa["spi"] for sa in secd.sas()}


def _theirs(charon: Charon) -> set[int]:
    children = [child for sa in charon.list_sas() for child in sa.children if child.state == "INSTALLED"]
    return {int(spi, 16) for child in children for spi in (child.spi_in, child.spi_out)}
