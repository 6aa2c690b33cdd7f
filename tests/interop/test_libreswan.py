"""libreswan in a guest, over its kernel's ESP: IKEv1 main mode in both roles, with and without UDP encapsulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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


def _answers(host: Host) -> bool:
    return " 1 received" in host.run("ping", "-q", "-n", "-c1", "-W1", INNER_THEM, check=False).stdout
