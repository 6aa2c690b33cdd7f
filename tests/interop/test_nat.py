"""NAT between secd and strongSwan: each of them behind it, port numbers changed, a mapping that moves under traffic."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.interop.life import BEFORE, BEHIND, OUTSIDE, behind_a_nat, move

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK
from secd.lab.probe import Probe
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = pytest.mark.root

MAIN, QUICK = (f"{phase} auth hmac-sha2-256 enc aes-256 group modp2048" for phase in ("main", "quick"))
SUITE = "aes256-sha256-modp2048"


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host, Host]:
    """One host behind a NAT that also changes ports, the NAT, one host outside."""
    return behind_a_nat(lab)


def _rule(mode: str, peer: str, ids: str) -> str:
    return f'ike {mode} interface sec0 peer {peer} {MAIN} {QUICK} {ids} psk "{PSK}"\n'


@pytest.fixture
def secd_behind(hosts: tuple[Host, Host, Host]) -> Iterator[tuple[Secd, Charon]]:
    """secd behind the NAT with a tunnel to strongSwan."""
    behind, _, outside = hosts
    theirs = Tunnel(OUTSIDE, "%any", PSK, remote_id="branch.example.com", ike=SUITE, esp=SUITE, unique="replace")
    with Charon(outside, theirs, log_level=2) as charon:
        charon.inner(INNER_THEM, INNER_US)
        with Secd(behind, _rule("active", OUTSIDE, "srcid branch.example.com"), {"sec0": HOSTNAME}, "-v") as secd:
            secd.wait_up("sec0")
            yield secd, charon


@pytest.fixture
def charon_behind(hosts: tuple[Host, Host, Host]) -> Iterator[tuple[Secd, Charon]]:
    """strongSwan behind the NAT with a tunnel to secd, which takes any peer of that name."""
    behind, _, outside = hosts
    theirs = Tunnel(BEHIND, OUTSIDE, PSK, local_id="branch.example.com", ike=SUITE, esp=SUITE, dpd_delay=2)
    with Charon(behind, theirs, log_level=2) as charon:
        charon.inner(INNER_THEM, INNER_US)
        with Secd(outside, _rule("passive", "any", "dstid branch.example.com"), {"sec0": HOSTNAME}, "-v") as secd:
            charon.initiate()
            secd.wait_up("sec0")
            yield secd, charon


def _ping(host: Host, address: str) -> None:
    said = host.run("ping", "-q", "-n", "-c3", "-i0.05", "-W2", address, check=False).stdout
    assert " 3 received" in said, said


def test_secd_behind_nat(secd_behind: tuple[Secd, Charon], hosts: tuple[Host, Host, Host]) -> None:
    secd, charon = secd_behind
    sa = charon.established()
    assert sa
    assert (sa.remote_host, sa.remote_id) == (BEFORE, "branch.example.com")
    assert sa.remote_port not in (500, 4500)
    assert [entry["udpencap"] is not None for entry in secd.sas()] == [True, True]
    _ping(hosts[0], INNER_THEM)
    _ping(hosts[2], INNER_US)


def test_charon_behind_nat(charon_behind: tuple[Secd, Charon], hosts: tuple[Host, Host, Host]) -> None:
    secd, _ = charon_behind
    out = next(sa for sa in secd.sas() if sa["direction"] == "out")
    assert out["destination"] == BEFORE
    assert out["udpencap"]["remote_port"] != 4500
    _ping(hosts[2], INNER_THEM)
    _ping(hosts[0], INNER_US)


def test_secd_follows_a_peer_whose_mapping_moves_under_traffic(
    charon_behind: tuple[Secd, Charon], hosts: tuple[Host, Host, Host]
) -> None:
    secd, _ = charon_behind
    before = {sa["spi"] for sa in secd.sas()}
    with Probe(hosts[2], INNER_US, hosts[0], INNER_THEM, rate=200) as probe:
        time.sleep(0.3)
        move(hosts[1], "203.0.113.9")
        wait_until(lambda: "203.0.113.9" in {sa["destination"] for sa in secd.sas()}, 10, "the new address")
        time.sleep(0.5)
        to_charon, from_charon = probe.stop()
    assert {sa["spi"] for sa in secd.sas()} == before
    assert from_charon.lost < 100, str(from_charon)
    assert to_charon.longest_gap < 2000, str(to_charon)
    _ping(hosts[2], INNER_THEM)


def test_secd_survives_that_its_own_mapping_moves(
    secd_behind: tuple[Secd, Charon], hosts: tuple[Host, Host, Host]
) -> None:
    """charon's userspace ESP cannot move an SA, so at worst the tunnel is made anew, within the time of DPD."""
    move(hosts[1], "203.0.113.9")

    def answered() -> bool:
        said = hosts[0].run("ping", "-q", "-n", "-c1", "-W1", INNER_THEM, check=False).stdout
        return " 1 received" in said

    wait_until(answered, 60, "an answer through the tunnel")


def test_a_nat_keepalive_holds_the_mapping(secd_behind: tuple[Secd, Charon], hosts: tuple[Host, Host, Host]) -> None:
    """RFC 3948 §2.3: one octet of 0xff at least every 20 s or so, seen by the NAT."""
    nat = hosts[1]
    nat.run("nft", "-f", "-", text=(
        "table ip watch {\n counter keepalives { }\n chain forward {\n type filter hook forward priority filter;\n"
        ' iifname "eth0" udp length 9 @th,64,8 0xff counter name "keepalives"\n }\n}\n'
    ))  # fmt: skip

    def seen() -> bool:
        words = nat.run("nft", "list", "counter", "ip", "watch", "keepalives").stdout.split()
        return int(words[words.index("packets") + 1]) > 0

    wait_until(seen, 25, "a keepalive", interval=0.5)
