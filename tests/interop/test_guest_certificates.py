"""IKEv2 by signatures with libreswan and OpenIKED in guests, over their kernels' ESP: certificates and public keys.

A skip proves nothing here, so what is missing is a failure: `make test-long` installs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.interop.pki import Pki

from secd.lab.commands import wait_until
from secd.lab.guest import LIBRESWAN_TREE, Guest
from secd.lab.guest_openiked import OpenIKED
from secd.lab.guest_peers import Pluto
from secd.lab.namespaces import Host, Lab
from secd.lab.pair import HOSTNAME, INNER_THEM, Role
from secd.lab.secd import Secd
from secd.lab.strongswan import Tunnel

pytestmark = [pytest.mark.root, pytest.mark.long]

US, GUEST = "192.0.2.1", "192.0.2.2"
OUR_NAME, THEIR_NAME = "us.example.com", "them.example.com"
IKESA = "enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group modp2048"
CHILDSA = "enc aes-256 auth hmac-sha2-512 group modp2048"

roles = pytest.mark.parametrize("role", ["initiator", "responder"])


@pytest.fixture
def host(lab: Lab) -> Host:
    """A host for each test."""
    return lab.host(f"certus{len(lab.hosts)}")


@pytest.fixture
def guest(host: Host) -> Iterator[Guest]:
    """A guest that has libreswan and OpenIKED."""
    with Guest(host, f"{GUEST}/24", f"{US}/24", root=LIBRESWAN_TREE) as running:
        yield running


@roles
@pytest.mark.parametrize(("kind", "authby", "said"), [
    ("rsa2048", "rsa-sha2", "RSASSA-PSS"), ("ecdsa256", "ecdsa", "ECDSA"),
])  # fmt: skip
def test_libreswan_with_certificates(
    host: Host, guest: Guest, role: Role, pki: Pki, kind: str, authby: str, said: str
) -> None:
    """With rsa-sha2 it takes PSS alone: as initiator we are refused once, and then pad as it wants."""
    _certify(host, pki, kind)
    pki.certificate(f"them-{kind}", "C=AU, O=secd, CN=them", THEIR_NAME)
    (guest.share / "them.p12").write_bytes(pki.bundle(f"them-{kind}-root.crt", f"them-{kind}"))
    (guest.share / "root.crt").write_text(pki.text("root.crt"))
    store = "-d sql:/var/lib/ipsec/nss"
    keys = f"""
            pk12util -i /mnt/share/them.p12 {store} -W ''
            certutil -A -n root {store} -t CT,, -a -i /mnt/share/root.crt
    """
    tunnel = Tunnel(
        local=GUEST, remote=US, psk="", version=2, ike="aes256-sha2_256-modp2048", esp="aes256-sha2_512-modp2048",
        local_id=f"@{THEIR_NAME}", remote_id=f"@{OUR_NAME}",
    )  # fmt: skip
    extra = {"authby": authby, "leftcert": f"them-{kind}", "leftsendcert": "always", "rightca": "%same"}
    pluto = Pluto(guest, tunnel, INNER_THEM, extra=extra, keys=keys)
    with _secd(host, role) as secd:
        if role == "responder":
            pluto.initiate()
        secd.wait_up("sec0", timeout=30)
        wait_until(pluto.established, 10, "libreswan's ESP pair")
        assert re.search(rf"authenticated peer '[^']*{said} with SHA2_256'", pluto.log())
        _carries(host)


@roles
@pytest.mark.parametrize(
    ("kind", "bare"), [("rsa2048", False), ("ecdsa256", True)], ids=["certificates", "public keys"]
)
def test_openiked(host: Host, guest: Guest, role: Role, pki: Pki, kind: str, bare: bool) -> None:
    """Both read the same words, and keep keys in the same places."""
    theirs = {"private/local.key": pki.key(f"them-{kind}", kind), "local.pub": pki.public(f"them-{kind}", kind)}
    if bare:
        host.write("/etc/iked/private/local.key", pki.key(f"us-{kind}", kind), mode=0o600)
        host.write(f"/etc/iked/pubkeys/fqdn/{THEIR_NAME}", pki.public(f"them-{kind}", kind))
        theirs[f"pubkeys/fqdn/{OUR_NAME}"] = pki.public(f"us-{kind}", kind)
    else:
        _certify(host, pki, kind)
        theirs["certs/them.crt"] = pki.certificate(f"them-{kind}", "C=AU, O=secd, CN=them", THEIR_NAME)
        theirs["ca/root.crt"] = pki.text("root.crt")
    options = {
        "local": GUEST, "remote": US, "ids": f"srcid {THEIR_NAME} dstid {OUR_NAME}", "ikesa": IKESA,
        "childsa": CHILDSA, "files": theirs,
    }  # fmt: skip
    if role == "initiator":
        iked = OpenIKED(guest, INNER_THEM, mode="passive", **options)
    with _secd(host, role) as secd:
        if role == "responder":
            iked = OpenIKED(guest, INNER_THEM, mode="active", **options)
        secd.wait_up("sec0", timeout=30)
        _carries(host)
        assert "ESTABLISHED" in iked.show()


def _certify(host: Host, pki: Pki, kind: str) -> None:
    ours = {
        "private/local.key": pki.key(f"us-{kind}", kind), "ca/root.crt": pki.text("root.crt"),
        "certs/us.crt": pki.certificate(f"us-{kind}", "C=AU, O=secd, CN=us", OUR_NAME),
    }  # fmt: skip
    pki.key(f"them-{kind}", kind)
    for path, text in ours.items():
        host.write(f"/etc/iked/{path}", text, mode=0o600)


def _secd(host: Host, role: Role) -> Secd:
    mode = "active" if role == "initiator" else "passive"
    policy = (
        f'ikev2 "test" {mode} from 0.0.0.0/0 to 0.0.0.0/0 local {US} peer {GUEST} ikesa {IKESA} childsa {CHILDSA} '
        f"noesn srcid {OUR_NAME} dstid {THEIR_NAME} iface sec0\n"
    )
    host.write("/etc/iked.conf", policy, mode=0o600)
    return Secd(host, "", {"sec0": HOSTNAME}, "-v")


def _carries(host: Host) -> None:
    wait_until(lambda: _pings(host, 1), 10, "the guest's kernel to have the SAs too")
    assert _pings(host, 3)


def _pings(host: Host, count: int) -> bool:
    said = host.run("ping", "-q", "-n", f"-c{count}", "-i0.2", "-W1", INNER_THEM, check=False).stdout
    return f" {count} received" in said
