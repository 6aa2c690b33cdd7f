"""MOBIKE (RFC 4555) with strongSwan over its kernel's ESP in a guest: addresses change, and no SA is made anew.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.guest import TAP, Guest
from secd.lab.guest_peers import MARK, GuestCharon
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK
from secd.lab.secd import Secd
from secd.lab.strongswan import IkeSA, Tunnel

pytestmark = [pytest.mark.root, pytest.mark.long]

US, GUEST = "192.0.2.1", "192.0.2.2"
US_LATER, GUEST_LATER = "192.0.2.77", "192.0.2.66"
NAME, PEER = "us.example.com", "guest.example.com"


@pytest.fixture
def host(lab: Lab) -> Host:
    """A host for each test."""
    return lab.host(f"mobike{len(lab.hosts)}")


@pytest.fixture
def guest(host: Host) -> Iterator[Guest]:
    """A guest with this machine's strongSwan."""
    with Guest(host, f"{GUEST}/24", f"{US}/24") as running:
        yield running


def charon(guest: Guest) -> GuestCharon:
    """strongSwan that takes any address for its own."""
    tunnel = Tunnel(
        GUEST, US, PSK, local_id=PEER, remote_id=NAME, version=2, ike="aes256gcm16-prfsha256-curve25519",
        esp="aes256gcm16", mobike=True, extra={"local_addrs": "%any"},
    )  # fmt: skip
    return GuestCharon(guest, tunnel, INNER_THEM, INNER_US)


def again(guest: Guest, ends: str) -> None:
    """Make the guest's interface anew with outer addresses that leave one open: SAs may have any."""
    guest.shell(f"""
        ip link del sec0
        ip link add sec0 type vti {ends} key {MARK}
        ip address add {INNER_THEM} peer {INNER_US} dev sec0
        ip link set sec0 mtu 1400 up
        sysctl -qw net.ipv4.conf.sec0.disable_policy=1
    """)


def start(host: Host, words: str) -> Secd:
    host.write("/etc/iked.conf", (
        f"ikev2 {words} ikesa enc aes-256-gcm prf hmac-sha2-256 group curve25519 childsa enc aes-256-gcm noesn "
        f'srcid {NAME} dstid {PEER} psk "{PSK}" iface sec0\n'
    ), mode=0o600)  # fmt: skip
    return Secd(host, "", {"sec0": HOSTNAME}, "-v")


def spis(secd: Secd) -> set[int]:
    return {sa["spi"] for sa in secd.sas()}


def established(peer: GuestCharon) -> IkeSA:
    """Give charon's IKE SA; one is left half-open when secd begins anew, now that it knows its own address."""
    [sa] = [sa for sa in peer.list_sas() if sa.state == "ESTABLISHED"]
    return sa


def moved(secd: Secd, *ends: str) -> bool:
    """Whether every SA is between these, as protocol 50."""
    sas = secd.sas()
    return {sa[end] for sa in sas for end in ("source", "destination")} == set(ends) and not any(
        sa["udpencap"] for sa in sas
    )


def carries(host: Host) -> bool:
    said = host.run("ping", "-q", "-n", "-c3", "-i0.2", "-W1", INNER_THEM, check=False).stdout
    return " 3 received" in said


def test_secd_moves_and_no_sa_is_made_anew(host: Host, guest: Guest) -> None:
    peer = charon(guest)
    again(guest, f"local {GUEST} remote any")
    with start(host, f"active from 0.0.0.0/0 to 0.0.0.0/0 peer {GUEST}") as secd:
        secd.wait_up("sec0", timeout=30)
        wait_until(lambda: carries(host), 10, "the guest's kernel to have the SAs too")
        before, ike = spis(secd), established(peer)
        host.address(f"{US_LATER}/24", TAP)
        host.ip("address", "del", f"{US}/24", "dev", TAP)
        host.address(f"{US_LATER}/24", TAP)
        wait_until(lambda: moved(secd, US_LATER, GUEST), 10, "SAs at our new address")
        wait_until(lambda: carries(host), 10, "the guest's kernel to follow")
        after = established(peer)
        assert spis(secd) == before
        assert (after.initiator_spi, after.remote_host) == (ike.initiator_spi, US_LATER)
        assert len(after.children) == 1


def test_strongswan_moves_and_no_sa_is_made_anew(host: Host, guest: Guest) -> None:
    peer = charon(guest)
    again(guest, f"local any remote {US}")
    with start(host, "passive from 0.0.0.0/0 to 0.0.0.0/0") as secd:
        peer.initiate()
        secd.wait_up("sec0", timeout=30)
        wait_until(lambda: carries(host), 10, "the guest's kernel to have the SAs too")
        before, ike = spis(secd), established(peer)
        guest.shell(f"ip address add {GUEST_LATER}/24 dev eth0; ip address del {GUEST}/24 dev eth0; "
                    f"ip address replace {GUEST_LATER}/24 dev eth0")  # fmt: skip
        wait_until(lambda: moved(secd, US, GUEST_LATER), 10, "SAs at the guest's new address")
        wait_until(lambda: carries(host), 10, "packets there and back")
        after = established(peer)
        assert spis(secd) == before
        assert (after.initiator_spi, after.local_host) == (ike.initiator_spi, GUEST_LATER)
        wait_until(lambda: "N(COOKIE2)" in peer.log(), 10, "secd's question at the new address")
