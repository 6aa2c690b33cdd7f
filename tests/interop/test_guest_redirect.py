"""REDIRECT (RFC 5685) by libreswan in a guest, at each of the three times that a gateway has; strongSwan takes over.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secd.lab.commands import wait_until
from secd.lab.guest import LIBRESWAN_TREE, Guest
from secd.lab.guest_peers import Pluto
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, PSK
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = [pytest.mark.root, pytest.mark.long]

US, GUEST, HERE, OTHER = "192.0.2.1", "192.0.2.2", "192.0.3.1", "192.0.3.2"
NAME, HUB = "branch.example.com", "hub.example.com"
SUITE = "enc aes-256 auth hmac-sha2-256 prf hmac-sha2-256 group modp2048"


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host]:
    """Ours, and the other gateway's."""
    us, other = (lab.host(f"{name}{len(lab.hosts)}") for name in ("us", "other"))
    lab.link(us, f"{HERE}/24", other, f"{OTHER}/24")
    return us, other


@pytest.fixture
def other(hosts: tuple[Host, Host]) -> Iterator[Charon]:
    """The other gateway."""
    tunnel = Tunnel(
        OTHER, HERE, PSK, local_id=HUB, remote_id=NAME, version=2, ike="aes256-sha256-modp2048", esp="aes256-sha256"
    )
    with Charon(hosts[1], tunnel, log_level=2) as charon:
        charon.inner(INNER_THEM, INNER_US)
        yield charon


@pytest.fixture
def guest(hosts: tuple[Host, Host]) -> Iterator[Guest]:
    """A guest that has libreswan."""
    with Guest(hosts[0], f"{GUEST}/24", f"{US}/24", root=LIBRESWAN_TREE) as running:
        yield running


@pytest.mark.parametrize("when", ["first answer", "ike_auth", "up"])
def test_libreswan_sends_secd_to_strongswan(hosts: tuple[Host, Host], guest: Guest, other: Charon, when: str) -> None:
    tunnel = Tunnel(
        GUEST, US, PSK, local_id=f"@{HUB}", remote_id=f"@{NAME}", version=2, ike="aes256-sha2_256-modp2048",
        esp="aes256-sha2_256",
    )  # fmt: skip
    extra = {"send-redirect": "yes", "redirect-to": OTHER} if when == "ike_auth" else {}
    pluto = Pluto(guest, tunnel, INNER_THEM, extra=extra)
    if when == "first answer":
        guest.shell(f"/usr/libexec/ipsec/whack --global-redirect yes --global-redirect-to {OTHER}")
    hosts[0].write("/etc/iked.conf", (
        f"set redirect\nikev2 active from 0.0.0.0/0 to 0.0.0.0/0 peer {GUEST} ikesa {SUITE} childsa enc aes-256 auth "
        f'hmac-sha2-256 noesn srcid {NAME} dstid {HUB} psk "{PSK}" iface sec0\n'
    ), mode=0o600)  # fmt: skip
    with Secd(hosts[0], "", {"sec0": HOSTNAME}, "-v") as secd:
        if when == "up":
            secd.wait_up("sec0", timeout=30)
            assert _peers(secd) == {GUEST}
            guest.shell(f"/usr/libexec/ipsec/whack --name {tunnel.name} --redirect-to {OTHER}")
        wait_until(lambda: _peers(secd) == {OTHER}, 30, "a tunnel to the other gateway")
        wait_until(lambda: not pluto.established(), 10, "libreswan to be left")
        said = hosts[0].run("ping", "-q", "-n", "-c3", "-i0.2", "-W2", INNER_THEM, check=False).stdout
        assert " 3 received" in said, said
        assert f"{GUEST} sends us to {OTHER}" in secd.daemon.log.read_text()
        assert "N(REDIR_FROM)" in other.log()


def _peers(secd: Secd) -> set[str]:
    return {sa["destination"] for sa in secd.sas() if sa["direction"] == "out"}
