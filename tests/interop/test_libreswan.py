"""libreswan in a guest, over its kernel's ESP: IKEv1 in both roles, with and without UDP encapsulation.

Main and aggressive mode, pre-shared keys and certificates.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.pki import Pki

from secd.lab.commands import wait_until
from secd.lab.guest import LIBRESWAN_TREE, Guest
from secd.lab.guest_peers import Pluto
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, PSK, Role, rule
from secd.lab.secd import Secd
from secd.lab.strongswan import Tunnel

pytestmark = [pytest.mark.root, pytest.mark.long]

US, GUEST = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def host(lab: Lab, request: pytest.FixtureRequest) -> Host:
    """A host for each test."""
    return lab.host(f"us{len(lab.hosts)}")


@pytest.fixture
def guest(host: Host) -> Iterator[Guest]:
    """A guest that has libreswan."""
    with Guest(host, f"{GUEST}/24", f"{US}/24", root=LIBRESWAN_TREE) as running:
        yield running


@pytest.mark.parametrize("role", ["initiator", "responder"])
@pytest.mark.parametrize("encapsulation", ["auto", "yes"])
@pytest.mark.parametrize(
    ("quick", "esp"),
    [
        ("auth hmac-sha2-256 enc aes-256 group modp2048", "aes256-sha2_256-modp2048"),
        ("enc aes-256-gcm group modp2048", "aes_gcm256-null-modp2048"),
    ],
)
def test_libreswan(host: Host, guest: Guest, role: Role, encapsulation: str, quick: str, esp: str) -> None:
    tunnel = Tunnel(local=GUEST, remote=US, psk=PSK, ike="aes256-sha2_256-modp2048", esp=esp)
    pluto = Pluto(guest, tunnel, INNER_THEM, encapsulation="yes" if encapsulation == "yes" else "auto")
    with Secd(host, rule(role, quick=f"quick {quick}"), {"sec0": HOSTNAME}, "-v") as secd:
        if role == "responder":
            pluto.initiate()
        secd.wait_up("sec0", timeout=30)
        wait_until(pluto.established, 10, "libreswan's IPsec SA")
        wait_until(lambda: _answers(host), 5, "the guest's kernel to have the SA too")
        said = host.run("ping", "-q", "-n", "-c5", "-i0.2", "-W2", INNER_THEM, check=False).stdout
        assert " 5 received" in said, said + pluto.log()[-2000:]
        assert {sa["udpencap"] is not None for sa in secd.sas()} == {encapsulation == "yes"}


SUITE = "auth hmac-sha2-256 enc aes-256 group modp2048"
PROPOSAL = "aes256-sha2_256-modp2048"
OUR_NAME, THEIR_NAME = "us.example.com", "them.example.com"

roles = pytest.mark.parametrize("role", ["initiator", "responder"])
modes = pytest.mark.parametrize("mode", ["main", "aggressive"])


def _written(role: Role, mode: str, ids: str, auth: str) -> str:
    kind = "active" if role == "initiator" else "passive"
    return f"ike {kind} interface sec0 local {US} peer {GUEST} {mode} {SUITE} quick {SUITE} {ids} {auth}\n"


def _up(host: Host, secd: Secd, pluto: Pluto, role: Role) -> None:
    if role == "responder":
        pluto.initiate()
    secd.wait_up("sec0", timeout=30)
    wait_until(pluto.established, 10, "libreswan's IPsec SA")
    wait_until(lambda: _answers(host), 5, "the guest's kernel to have the SA too")


@roles
def test_libreswan_in_aggressive_mode_with_a_pre_shared_key(host: Host, guest: Guest, role: Role) -> None:
    tunnel = Tunnel(local=GUEST, remote=US, psk=PSK, ike=PROPOSAL, esp=PROPOSAL, aggressive=True)
    pluto = Pluto(guest, tunnel, INNER_THEM)
    with Secd(host, _written(role, "aggressive", "", f'psk "{PSK}" aggressive-psk'), {"sec0": HOSTNAME}, "-v") as secd:
        _up(host, secd, pluto, role)


@roles
@modes
def test_libreswan_with_certificates(host: Host, guest: Guest, role: Role, mode: str, tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    ours = pki.certificate("us", "C=AU, O=secd, CN=us", OUR_NAME)
    pki.certificate("them", "C=AU, O=secd, CN=them", THEIR_NAME)
    for path, text in (
        ("private/local.key", pki.key("us")), ("certs/us.crt", ours), ("ca/root.crt", pki.text("root.crt")),
    ):  # fmt: skip
        host.write(f"/etc/isakmpd/{path}", text, mode=0o600)
    (guest.share / "them.p12").write_bytes(pki.bundle("them-root.crt", "them"))
    (guest.share / "root.crt").write_text(pki.text("root.crt"))
    store = "-d sql:/var/lib/ipsec/nss"
    keys = f"""
            pk12util -i /mnt/share/them.p12 {store} -W ''
            certutil -A -n root {store} -t CT,, -a -i /mnt/share/root.crt
    """
    tunnel = Tunnel(
        local=GUEST, remote=US, psk=PSK, ike=PROPOSAL, esp=PROPOSAL, aggressive=mode == "aggressive",
        local_id=f"@{THEIR_NAME}", remote_id=f"@{OUR_NAME}",
    )  # fmt: skip
    extra = {"authby": "rsasig", "leftcert": "them", "leftsendcert": "always", "rightca": "%same"}
    pluto = Pluto(guest, tunnel, INNER_THEM, extra=extra, keys=keys)
    ids = f"srcid {OUR_NAME} dstid {THEIR_NAME}"
    with Secd(host, _written(role, mode, ids, "rsa"), {"sec0": HOSTNAME}, "-v") as secd:
        _up(host, secd, pluto, role)


def _answers(host: Host) -> bool:
    return " 1 received" in host.run("ping", "-q", "-n", "-c1", "-W1", INNER_THEM, check=False).stdout
