"""REDIRECT (RFC 5685) by strongSwan while a tunnel is up: `swanctl --redirect` sends secd to another gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK
from secd.lab.probe import Probe
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = pytest.mark.root

US, ONE, OTHER, NOBODY = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
NAME, HUB = "branch.example.com", "hub.example.com"


@pytest.fixture(scope="module")
def gateways(lab: Lab) -> Iterator[tuple[Host, dict[str, Charon]]]:
    """Our host, and two gateways that take it alike."""
    us, one, other = (lab.host(name) for name in ("client", "gateway1", "gateway2"))
    lab.bridge("switch", {us: f"{US}/24", one: f"{ONE}/24", other: f"{OTHER}/24"})
    made = {
        address: Charon(host, Tunnel(
            address, US, PSK, local_id=HUB, remote_id=NAME, version=2, ike="aes256gcm16-prfsha256-x25519",
            esp="aes256gcm16", unique="replace",
        ), log_level=2)
        for address, host in ((ONE, one), (OTHER, other))
    }  # fmt: skip
    with made[ONE], made[OTHER]:
        for charon in made.values():
            charon.inner(INNER_THEM, INNER_US)
        yield us, made


@pytest.fixture
def tunnel(gateways: tuple[Host, dict[str, Charon]], request: pytest.FixtureRequest) -> Iterator[Secd]:
    """secd with a tunnel to the first gateway; a test's parameter is what iked.conf sets."""
    us, charons = gateways
    suite = "enc aes-256-gcm prf hmac-sha2-256 group curve25519"
    us.write("/etc/iked.conf", (
        f"{getattr(request, 'param', 'set redirect')}\nikev2 active from any to any peer {ONE} ikesa {suite} "
        f'childsa enc aes-256-gcm srcid {NAME} dstid {HUB} psk "{PSK}" iface sec0\n'
    ), mode=0o600)  # fmt: skip
    with Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        secd.wait_up("sec0")
        wait_until(charons[ONE].established, 5, "the first gateway's pair")
        yield secd
    wait_until(lambda: not any(charon.list_sas() for charon in charons.values()), 5, "both gateways to be free")


def peers(secd: Secd) -> set[str]:
    """Where secd's tunnel leads."""
    return {sa["destination"] for sa in secd.sas() if sa["direction"] == "out"}


def redirect(charon: Charon, to: str) -> None:
    charon.swanctl("--redirect", "--ike", "sec0", "--gateway", to)


def test_secd_goes_where_strongswan_sends_it_and_back(gateways: tuple[Host, dict[str, Charon]], tunnel: Secd) -> None:
    us, charons = gateways
    with Probe(us, INNER_US, charons[OTHER].host, INNER_THEM, rate=200) as probe:
        redirect(charons[ONE], OTHER)
        wait_until(lambda: peers(tunnel) == {OTHER}, 5, "the tunnel to lead to the other gateway")
        wait_until(lambda: not charons[ONE].list_sas(), 5, "the first gateway to be left")
        before = probe.received()
        time.sleep(0.5)
        assert all(after - early > 50 for early, after in zip(before, probe.received(), strict=True))
        probe.close()
    assert "N(REDIR_SUP)" in charons[ONE].log()
    assert "N(REDIR_FROM)" in charons[OTHER].log()
    redirect(charons[OTHER], ONE)
    wait_until(lambda: peers(tunnel) == {ONE}, 5, "the tunnel to lead back")


def test_secd_stays_when_the_other_gateway_does_not_answer(
    gateways: tuple[Host, dict[str, Charon]], tunnel: Secd
) -> None:
    us, charons = gateways
    redirect(charons[ONE], NOBODY)
    tunnel.daemon.wait_for("sends us to 192.0.2.4", 5)
    time.sleep(1)
    assert peers(tunnel) == {ONE}
    said = us.run("ping", "-q", "-n", "-c3", "-i0.05", "-W2", INNER_THEM, check=False).stdout
    assert " 3 received" in said, said


@pytest.mark.parametrize("tunnel", [""], ids=["by default"], indirect=True)
def test_secd_says_nothing_of_redirects_and_stays(gateways: tuple[Host, dict[str, Charon]], tunnel: Secd) -> None:
    _, charons = gateways
    asked = [line for line in charons[ONE].log().splitlines() if "parsed IKE_SA_INIT request" in line]
    assert "N(REDIR_SUP)" not in asked[-1]
    redirect(charons[ONE], OTHER)
    time.sleep(1)
    assert peers(tunnel) == {ONE}
