"""Two secds that know each other by certificates of `ikectl ca`, or by their bare public keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ikectl_ends import THEM, US, Ends, policy, two_secds

from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab

pytestmark = pytest.mark.root

NAMES = ("here.example.com", "there.example.com")


def certified(host: Host, name: str, authority: Host, kind: str) -> None:
    """Have `authority` certify `name`, and put key and certificate where `host` looks for them."""
    authority.run("ikectl", "ca", "vpn", "certificate", name, "create", kind)
    authority.run("sh", "-c", f"cd /run && ikectl ca vpn certificate {name} export")
    archive = authority.path(f"/run/{name}.tgz").read_bytes()
    host.path("/etc/iked").mkdir(parents=True, exist_ok=True)
    host.path("/run/certificate.tgz").write_bytes(archive)
    host.run("tar", "-C", "/etc/iked", "-xzpf", "/run/certificate.tgz")


def signed(ends: Ends, kind: str, words: str = "") -> None:
    """Give both ends a certificate and load policies that use it."""
    ca = ends.us.host
    ca.run("ikectl", "ca", "vpn", "create")
    for secd, name in ((ends.us, NAMES[0]), (ends.them, NAMES[1])):
        certified(secd.host, name, ca, kind)
    ours, theirs = f"srcid {NAMES[0]} dstid {NAMES[1]} {words}", f"srcid {NAMES[1]} dstid {NAMES[0]} {words}"
    ends.load(policy("active", US[0], THEM[0], ours), policy("passive", THEM[0], US[0], theirs))


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Ends]:
    with two_secds(lab, "ikecert") as both:
        both.us.host.write("/etc/ssl/own", "")  # makes the directory this host's own
        yield both


@pytest.fixture
def ends(running: Ends) -> Iterator[Ends]:
    yield running
    for secd in (running.us, running.them):
        secd.host.run("rm", "-rf", "/etc/iked", "/etc/ssl/vpn")


@pytest.mark.parametrize(
    ("kind", "words"), [("rsa", ""), ("rsa", "rsa"), ("ecdsa256", "ecdsa256"), ("ecdsa384", "rfc7427"), ("ed25519", "")]
)
def test_a_tunnel_by_certificates_of_our_own_authority(ends: Ends, kind: str, words: str):
    signed(ends, kind, words)
    ends.up()
    assert "<FQDN/there.example.com>" in ends.ikectl("show", "sa")


def test_a_revoked_certificate_is_refused(ends: Ends):
    signed(ends, "ecdsa256")
    ends.up()
    ends.ikectl("ca", "vpn", "certificate", NAMES[1], "revoke")
    ends.ikectl("ca", "vpn", "install")
    ends.ikectl("reset", "ca")
    wait_until(lambda: "revoked" in ends.us.status()["sec0"]["reason"], 15, "the reason")
    assert ends.spis() == set()


def test_a_public_key_is_trusted_without_a_certificate(ends: Ends):
    signed(ends, "ecdsa256")
    for secd, other, name in ((ends.us, ends.them, NAMES[1]), (ends.them, ends.us, NAMES[0])):
        key = other.host.path("/etc/iked/local.pub").read_text()
        secd.host.write(f"/etc/iked/pubkeys/fqdn/{name}", key)
        secd.host.run("rm", "-rf", "/etc/iked/ca", "/etc/iked/certs", "/etc/iked/crls")
        secd.host.run("ikectl", "reload")
    ends.ikectl("reset", "sa")
    ends.up()
