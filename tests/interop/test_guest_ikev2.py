"""IKEv2 over kernels' ESP in guests: protocol 50, extended sequence numbers; strongSwan, libreswan, OpenIKED.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.guest import LIBRESWAN_TREE, Guest
from secd.lab.guest_openiked import OpenIKED
from secd.lab.guest_peers import GuestCharon, Pluto
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK, Role
from secd.lab.secd import Secd
from secd.lab.strongswan import Tunnel

pytestmark = [pytest.mark.root, pytest.mark.long]

US, GUEST = "192.0.2.1", "192.0.2.2"
roles = pytest.mark.parametrize("role", ["initiator", "responder"])


@pytest.fixture
def host(lab: Lab) -> Host:
    """A host for each test."""
    return lab.host(f"v2us{len(lab.hosts)}")


@pytest.fixture
def plain(host: Host) -> Iterator[Guest]:
    """A guest with this machine's strongSwan."""
    with Guest(host, f"{GUEST}/24", f"{US}/24") as running:
        yield running


@pytest.fixture
def guest(host: Host) -> Iterator[Guest]:
    """A guest that has libreswan and OpenIKED."""
    with Guest(host, f"{GUEST}/24", f"{US}/24", root=LIBRESWAN_TREE) as running:
        yield running


@roles
@pytest.mark.parametrize(
    ("child", "esp", "esn"),
    [
        ("enc aes-256-gcm group curve25519 esn", "aes256gcm16-curve25519-esn", True),
        ("enc aes-256-gcm group curve25519 noesn", "aes256gcm16-curve25519", False),
        ("enc aes-128 auth hmac-sha2-256 group ecp256 esn", "aes128-sha256-ecp256-esn", True),
        ("enc chacha20-poly1305 group curve25519 esn", "chacha20poly1305-curve25519-esn", True),
    ],
)
def test_strongswan(host: Host, plain: Guest, role: Role, child: str, esp: str, esn: bool) -> None:
    tunnel = Tunnel(local=GUEST, remote=US, psk=PSK, version=2, ike="aes256gcm16-prfsha256-curve25519", esp=esp)
    charon = GuestCharon(plain, tunnel, INNER_THEM, INNER_US)
    with _secd(host, role, "enc aes-256-gcm prf hmac-sha2-256 group curve25519", child) as secd:
        if role == "responder":
            charon.initiate()
        _carries(host, secd, esn=esn)
        assert {child.encap for sa in charon.list_sas() for child in sa.children} == {False}
        old = {sa["spi"] for sa in secd.sas()}
        secd.sec("rekey", "sec0")
        wait_until(lambda: len({sa["spi"] for sa in secd.sas()} - old) == 2, 10, "another pair")
        _carries(host, secd, esn=esn)


@roles
@pytest.mark.parametrize("esn", [True, False], ids=["esn", "32 bits"])
@pytest.mark.parametrize(
    ("child", "esp"),
    [
        ("auth hmac-sha2-256 enc aes-256 group modp2048", "aes256-sha2_256-modp2048"),
        ("enc aes-256-gcm group modp2048", "aes_gcm256-null-modp2048"),
    ],
)
def test_libreswan(host: Host, guest: Guest, role: Role, child: str, esp: str, esn: bool) -> None:
    tunnel = Tunnel(local=GUEST, remote=US, psk=PSK, version=2, ike="aes256-sha2_256-modp2048", esp=esp)
    pluto = Pluto(guest, tunnel, INNER_THEM, extra={"esn": "yes" if esn else "no"})
    child += " esn" if esn else " noesn"
    with _secd(host, role, "enc aes-256 auth hmac-sha2-256 prf hmac-sha2-256 group modp2048", child) as secd:
        if role == "responder":
            pluto.initiate()
        secd.wait_up("sec0", timeout=30)
        wait_until(pluto.established, 10, "libreswan's ESP pair")
        _carries(host, secd, esn=esn)


@roles
@pytest.mark.parametrize(
    ("ikesa", "childsa"),
    [
        ("enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group modp3072",
         "enc aes-256 auth hmac-sha2-512 group modp3072"),
        ("enc aes-256-gcm prf hmac-sha2-384 group curve25519", "enc aes-128 auth hmac-sha1 group curve25519"),
    ],
)  # fmt: skip
def test_openiked(host: Host, guest: Guest, role: Role, ikesa: str, childsa: str) -> None:
    """Both ends read the same words; `noesn` because its kernel interface has none."""
    options = {"local": GUEST, "remote": US, "psk": PSK, "ikesa": ikesa, "childsa": childsa}
    if role == "initiator":
        iked = OpenIKED(guest, INNER_THEM, mode="passive", **options)
    with _secd(host, role, ikesa, f"{childsa} noesn") as secd:
        if role == "responder":
            iked = OpenIKED(guest, INNER_THEM, mode="active", **options)
        secd.wait_up("sec0", timeout=30)
        _carries(host, secd, esn=False)
        assert "ESTABLISHED" in iked.show()


def _secd(host: Host, role: Role, ikesa: str, childsa: str) -> Secd:
    mode = "active" if role == "initiator" else "passive"
    policy = (
        f'set {mode}\nikev2 "test" {mode} from 0.0.0.0/0 to 0.0.0.0/0 local {US} peer {GUEST} '
        f'ikesa {ikesa} childsa {childsa} srcid {US} dstid {GUEST} psk "{PSK}" iface sec0\n'
    )
    host.write("/etc/iked.conf", policy, mode=0o600)
    return Secd(host, "", {"sec0": HOSTNAME}, "-v")


def _carries(host: Host, secd: Secd, *, esn: bool) -> None:
    """See pings pass by protocol 50 and nothing else, with or without extended sequence numbers."""
    secd.wait_up("sec0", timeout=30)
    assert {(sa["udpencap"], sa["esn"]) for sa in secd.sas()} == {(None, esn)}
    wait_until(lambda: _pings(host, 1), 10, "the guest's kernel to have the SAs too")
    assert _pings(host, 5)


def _pings(host: Host, count: int) -> bool:
    said = host.run("ping", "-q", "-n", f"-c{count}", "-i0.2", "-W1", INNER_THEM, check=False).stdout
    return f" {count} received" in said
