"""MOBIKE (RFC 4555) with strongSwan: one of the two has two ways to the other, and changes from one to the other.

    roamer  eth0 10.1.0.2 ---- 10.1.0.1  router  192.0.2.1 ---- 192.0.2.2  fixed
            eth1 10.2.0.2 ---- 10.2.0.1

The SAs of the IKE SA stay, and so do secd's ESP SAs; charon's userspace ESP cannot move one and renews the pair.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK, Pair, Role
from secd.lab.probe import Probe
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, IkeSA, Tunnel

pytestmark = pytest.mark.root

HERE, THERE, FIXED = "10.1.0.2", "10.2.0.2", "192.0.2.2"
#: Where a NAT before the roamer seems to be.
OUTSIDE, ELSEWHERE = "192.0.2.1", "192.0.2.9"
NAME, HUB = "roamer.example.com", "hub.example.com"
SUITE = "enc aes-256-gcm prf hmac-sha2-256 group curve25519"
THEIRS = {"ike": "aes256gcm16-prfsha256-x25519", "esp": "aes256gcm16", "version": 2, "psk": PSK, "unique": "replace"}


class Network:
    """The three hosts; the roamer is at home on eth0."""

    def __init__(self, lab: Lab) -> None:
        """Make them."""
        number = len(lab.hosts)
        self.roamer, self.router, self.fixed = (lab.host(f"{name}{number}") for name in ("roamer", "router", "fixed"))
        lab.link(self.roamer, None, self.router, "10.1.0.1/24")
        lab.link(self.roamer, f"{THERE}/24", self.router, "10.2.0.1/24", a_device="eth1", b_device="eth1")
        lab.link(self.router, None, self.fixed, f"{FIXED}/24", a_device="eth2")
        self.router.forward()
        self.home()

    def home(self) -> None:
        """Put everything back."""
        self.router.run("nft", "flush", "ruleset")
        self.outside(OUTSIDE)
        self.roamer.ip("address", "flush", "dev", "eth0")
        self.roamer.ip("link", "set", "eth0", "up")
        self.roamer.address(f"{HERE}/24", "eth0")
        self.roamer.route("default", "10.1.0.1")

    def move(self, *, nat: bool = False) -> None:
        """Unplug eth0; the other way leads through a NAT or not."""
        if nat:
            rule = 'ip saddr 10.2.0.0/24 oifname "eth2" masquerade'
            chain = f"chain post {{ type nat hook postrouting priority srcnat; {rule}\n }}"
            self.router.run("nft", "-f", "-", text=f"table ip nat {{ {chain}\n }}\n")
        self.roamer.ip("link", "set", "eth0", "down")
        self.roamer.ip("address", "flush", "dev", "eth0")
        self.roamer.route("default", "10.2.0.1")

    def outside(self, address: str) -> None:
        """Give the router, which is a NAT if there is one, another address; it makes new mappings."""
        self.router.ip("address", "flush", "dev", "eth2")
        self.router.address(f"{address}/24", "eth2")
        self.router.forget_connections()
        self.fixed.route("10.0.0.0/8", address)


class IKEv2Pair(Pair):
    """secd and charon, with iked.conf."""

    begun = 0

    def begin(self, role: Role, ours: str, theirs: Tunnel) -> None:
        """Bring a tunnel up."""
        self.begun = len(self.charon.log())
        self.negotiate(role, ours, theirs)
        self.ping()

    def ping(self, count: int = 3) -> None:
        """See that packets pass both ways, within some seconds.

        charon renews its pair after a move, and asks for that only when what it has asked before is answered: if the
        move has lost that question, 2 s later (`ADD_4_ADDR`, when its own host gets an address meanwhile).
        """
        wait_until(lambda: not self.lost_pings(count), 6, "packets both ways")

    def said(self) -> str:
        """Give what charon has logged of this tunnel."""
        return self.charon.log()[self.begun :]

    def load(self, rules: str) -> None:
        """Load `rules` in place of those of before."""
        self.us.run("ikectl", "load", "-", text=rules)


# -- secd moves -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secd_with_two_ways(lab: Lab) -> Iterator[tuple[Network, IKEv2Pair]]:
    """secd on the roamer, charon where it is called."""
    network = Network(lab)
    network.roamer.write("/etc/iked.conf", "", mode=0o600)
    with Charon(network.fixed, log_level=2) as charon, Secd(network.roamer, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield network, IKEv2Pair(network.roamer, network.fixed, secd, charon)


@pytest.fixture
def secd_roams(
    secd_with_two_ways: tuple[Network, IKEv2Pair], request: pytest.FixtureRequest
) -> Iterator[tuple[Network, IKEv2Pair]]:
    """secd at home with a tunnel; a test's parameter is (settings, words of the policy, charon's mobike)."""
    network, pair = secd_with_two_ways
    settings, words, mobike = getattr(request, "param", ("", "", True))
    pair.begin(
        "initiator",
        f"{settings}\nikev2 active from any to any {words} peer {FIXED} ikesa {SUITE} childsa enc aes-256-gcm "
        f'srcid {NAME} dstid {HUB} psk "{PSK}" iface sec0\n',
        Tunnel(FIXED, "%any", local_id=HUB, remote_id=NAME, mobike=mobike, **THEIRS),
    )
    yield network, pair
    network.home()
    pair.clear()


def test_secd_moves_to_another_interface_under_traffic(secd_roams: tuple[Network, IKEv2Pair]) -> None:
    network, pair = secd_roams
    secd, charon = pair.secd, pair.charon
    before = ike(charon)
    with Probe(network.roamer, INNER_US, network.fixed, INNER_THEM, rate=200) as probe:
        time.sleep(0.3)
        network.move()
        wait_until(lambda: outer(secd) == {THERE, FIXED}, 5, "SAs at the new address")
        time.sleep(1)
        streams = probe.stop()
    after = ike(charon)
    assert spis_of(before) == spis_of(after)
    assert (after.remote_host, after.nat_remote) == (THERE, False)
    assert all(stream.longest_gap < 3000 for stream in streams), [str(stream) for stream in streams]
    assert "our address is 10.2.0.2 now, it was 10.1.0.2" in secd.daemon.log.read_text()
    pair.ping()


def test_secd_moves_and_comes_back(secd_roams: tuple[Network, IKEv2Pair]) -> None:
    network, pair = secd_roams
    secd, charon = pair.secd, pair.charon
    before = ike(charon)
    for gateway, address in (("10.2.0.1", THERE), ("10.1.0.1", HERE), ("10.2.0.1", THERE)):
        network.roamer.route("default", gateway)
        wait_until(lambda address=address: outer(secd) == {address, FIXED}, 5, f"SAs at {address}")  # type: ignore[misc]
        pair.ping()
    assert spis_of(before) == spis_of(ike(charon))


def test_secd_gets_another_address_on_the_same_interface(secd_roams: tuple[Network, IKEv2Pair]) -> None:
    network, pair = secd_roams
    secd, charon = pair.secd, pair.charon
    before = ike(charon)
    network.roamer.address("10.1.0.77/24", "eth0")
    network.roamer.ip("address", "del", f"{HERE}/24", "dev", "eth0")
    network.roamer.ip("address", "replace", "10.1.0.77/24", "dev", "eth0")
    network.roamer.route("default", "10.1.0.1")
    wait_until(lambda: outer(secd) == {"10.1.0.77", FIXED}, 5, "SAs at the new address")
    assert spis_of(before) == spis_of(ike(charon))
    pair.ping()


def test_secd_moves_behind_a_nat(secd_roams: tuple[Network, IKEv2Pair]) -> None:
    network, pair = secd_roams
    secd, charon = pair.secd, pair.charon
    before = ike(charon)
    network.move(nat=True)
    wait_until(lambda: outer(secd) == {THERE, FIXED}, 5, "SAs at the new address")
    after = wait_until(lambda: moved(charon, OUTSIDE), 5, "charon to follow to the NAT's address")
    assert spis_of(before) == spis_of(after)
    assert after.nat_remote
    pair.ping()


@pytest.mark.parametrize("secd_roams", [("set dpd_check_interval 1", "", True)], ids=["asks"], indirect=True)
def test_the_nat_before_secd_gets_another_address(secd_roams: tuple[Network, IKEv2Pair]) -> None:
    network, pair = secd_roams
    charon = pair.charon
    before = ike(charon)
    network.move(nat=True)
    wait_until(lambda: moved(charon, OUTSIDE), 5, "charon to follow to the NAT's address")
    wait_until(lambda: len(re.findall("INFORMATIONAL request.*COOKIE2.*NATD", pair.said())) >= 2, 10, "a question")
    network.outside(ELSEWHERE)
    after = wait_until(lambda: moved(charon, ELSEWHERE), 10, "charon to follow to the NAT's other address")
    assert spis_of(before) == spis_of(after)
    pair.ping()


@pytest.mark.parametrize(
    "secd_roams",
    [("set nomobike", "", True), ("", "", False), ("", f"local {HERE}", True)],
    ids=["ours is off", "theirs is off", "the policy fixes our address"],
    indirect=True,
)
def test_secd_stays_where_it_may_not_move(secd_roams: tuple[Network, IKEv2Pair]) -> None:
    network, pair = secd_roams
    secd = pair.secd
    before = spis(secd)
    network.roamer.route("default", "10.2.0.1")
    time.sleep(1.5)
    assert (outer(secd), spis(secd)) == ({HERE, FIXED}, before)
    assert "N(UPD_SA_ADDR)" not in pair.said()


# -- charon moves -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def charon_with_two_ways(lab: Lab) -> Iterator[tuple[Network, IKEv2Pair]]:
    """charon on the roamer, secd where it is called."""
    network = Network(lab)
    network.fixed.write("/etc/iked.conf", "", mode=0o600)
    with Charon(network.roamer, log_level=2) as charon, Secd(network.fixed, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield network, IKEv2Pair(network.fixed, network.roamer, secd, charon)


@pytest.fixture
def charon_roams(
    charon_with_two_ways: tuple[Network, IKEv2Pair], request: pytest.FixtureRequest
) -> Iterator[tuple[Network, IKEv2Pair]]:
    """charon at home with a tunnel to secd; a test's parameter is (secd's settings, charon's mobike)."""
    network, pair = charon_with_two_ways
    settings, mobike = getattr(request, "param", ("", True))
    pair.begin(
        "responder",
        f"{settings}\nikev2 passive from any to any ikesa {SUITE} childsa enc aes-256-gcm srcid {HUB} dstid {NAME} "
        f'psk "{PSK}" iface sec0\n',
        Tunnel("%any", FIXED, local_id=NAME, remote_id=HUB, mobike=mobike, dpd_delay=1, **THEIRS),
    )
    yield network, pair
    network.home()
    pair.clear()


@pytest.mark.parametrize(("nat", "seen"), [(False, THERE), (True, OUTSIDE)], ids=["open", "behind a NAT"])
def test_secd_follows_charon(charon_roams: tuple[Network, IKEv2Pair], nat: bool, seen: str) -> None:
    network, pair = charon_roams
    secd, charon = pair.secd, pair.charon
    before, old = ike(charon), spis(secd)
    network.move(nat=nat)
    wait_until(lambda: outer(secd) >= {seen, FIXED}, 5, "SAs at the new address")
    assert old & spis(secd)
    wait_until(lambda: outer(secd) == {seen, FIXED}, 5, "every SA at the new address")
    after = ike(charon)
    assert spis_of(before) == spis_of(after)
    wait_until(lambda: "INFORMATIONAL request" in cookies(pair), 5, "secd's question at the new address")
    pair.ping()


def test_the_nat_before_charon_gets_another_address(charon_roams: tuple[Network, IKEv2Pair]) -> None:
    """It finds that out by what our answers say of where it is, as we do by what its say."""
    network, pair = charon_roams
    secd, charon = pair.secd, pair.charon
    before = ike(charon)
    network.move(nat=True)
    wait_until(lambda: outer(secd) == {OUTSIDE, FIXED}, 10, "every SA at the NAT's address")
    told = pair.said().count("N(UPD_SA_ADDR)")
    network.outside(ELSEWHERE)
    wait_until(lambda: pair.said().count("N(UPD_SA_ADDR)") > told, 10, "charon to tell")
    wait_until(lambda: outer(secd) == {ELSEWHERE, FIXED}, 10, "every SA at the NAT's other address")
    assert spis_of(before) == spis_of(ike(charon))
    pair.ping()


@pytest.mark.parametrize("charon_roams", [("set nomobike", True), ("", False)], ids=["ours", "theirs"], indirect=True)
def test_secd_does_not_follow_where_one_side_does_without(charon_roams: tuple[Network, IKEv2Pair]) -> None:
    network, pair = charon_roams
    secd = pair.secd
    old = spis(secd)
    network.move()
    time.sleep(1.5)
    assert {sa["source"] for sa in secd.sas() if sa["spi"] in old and sa["direction"] == "in"} <= {HERE}
    assert "N(UPD_SA_ADDR)" not in pair.said()


# -- helpers ----------------------------------------------------------------------------------------------


def ike(charon: Charon) -> IkeSA:
    return wait_until(charon.established, 5, "charon's IKE SA with a pair")


def moved(charon: Charon, remote: str) -> IkeSA | None:
    sa = charon.established()
    return sa if sa and sa.remote_host == remote else None


def cookies(pair: IKEv2Pair) -> str:
    """Give the lines of charon's log about messages that bring a cookie to it."""
    return "\n".join(line for line in pair.said().splitlines() if "parsed" in line and "N(COOKIE2)" in line)


def spis_of(sa: IkeSA) -> tuple[str, str]:
    return sa.initiator_spi, sa.responder_spi


def outer(secd: Secd) -> set[str]:
    """Give the outer addresses of secd's SAs."""
    return {sa[end] for sa in secd.sas() for end in ("source", "destination")}


def spis(secd: Secd) -> set[int]:
    return {sa["spi"] for sa in secd.sas()}
