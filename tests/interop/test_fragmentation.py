"""IKEv2 fragments (RFC 7383) with strongSwan: IKE_AUTH with chains of certificates, which no single datagram holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.interop.fragments import Wire
from tests.interop.pki import Pki

from secd.lab.namespaces import Host
from secd.lab.pair import HOSTNAME, INNER_THEM, INNER_US, THEM, US, Pair, Role
from secd.lab.secd import Secd
from secd.lab.strongswan import Charon, Tunnel

pytestmark = pytest.mark.root

roles = pytest.mark.parametrize("role", ["initiator", "responder"])

OUR_NAME, THEIR_NAME = "us.example.com", "them.example.com"
#: Octets of charon's datagrams; ours have 1280.
SMALL = 300


class CertifiedPair(Pair):
    """secd and charon, with iked.conf and certificates."""

    def load(self, rules: str) -> None:
        """Load `rules` in place of those of before."""
        self.us.run("ikectl", "load", "-", text=rules)

    def up(self, role: Role, *, fragmentation: str = "yes", settings: str = "") -> None:
        """Bring a tunnel up; `fragmentation` is charon's word, `settings` are iked.conf's."""
        mode = "active" if role == "initiator" else "passive"
        suite = "enc aes-256-gcm group curve25519"
        self.negotiate(
            role,
            f"set {mode}\n{settings}\nikev2 {mode} from any to any local {US} peer {THEM} "
            f"ikesa {suite} prf hmac-sha2-256 childsa {suite} srcid {OUR_NAME} dstid {THEIR_NAME} iface sec0\n",
            replace(THEIRS, extra={**THEIRS.extra, "fragmentation": fragmentation}),
        )
        self.ping()


THEIRS = Tunnel(
    local=THEM, remote=US, psk="", version=2, unique="replace",
    ike="aes256gcm16-prfsha256-x25519", esp="aes256gcm16-x25519", local_id=THEIR_NAME, remote_id=OUR_NAME,
    extra={"local": {"auth": "pubkey", "id": THEIR_NAME, "certs": "them.crt"},
           "remote": {"auth": "pubkey", "id": OUR_NAME}, "send_cert": "always"},
)  # fmt: skip


@pytest.fixture(scope="module")
def daemons(hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CertifiedPair]:
    """Both daemons with chains of their own: each side knows the root alone."""
    us, them = hosts
    pki = Pki(tmp_path_factory.mktemp("pki"))
    between = pki.certificate("between", "C=AU, O=secd, CN=between", ca=True)
    for host, name, where in ((us, "us", "/etc/iked/certs"), (them, "them", "/etc/swanctl/x509")):
        own = pki.certificate(name, f"C=AU, O=secd, CN={name}", f"{name}.example.com", issuer="between")
        host.write(f"{where}/{name}.crt", own)
    us.write("/etc/iked/private/local.key", pki.key("us"), mode=0o600)
    us.write("/etc/iked/certs/between.crt", between)
    us.write("/etc/iked/ca/root.crt", pki.text("root.crt"))
    us.write("/etc/iked.conf", "", mode=0o600)
    them.write("/etc/swanctl/private/them.key", pki.key("them"), mode=0o600)
    them.write("/etc/swanctl/x509ca/between.crt", between)
    them.write("/etc/swanctl/x509ca/root.crt", pki.text("root.crt"))
    quick = {"fragment_size": SMALL, "retransmit_timeout": "1.0"}
    with Charon(them, charon=quick) as charon, Secd(us, "", {"sec0": HOSTNAME}, "-v") as secd:
        charon.inner(INNER_THEM, INNER_US)
        yield CertifiedPair(us, them, secd, charon)


@pytest.fixture
def wire(pair: CertifiedPair) -> Wire:
    """Nothing is lost yet."""
    return Wire(pair.us)


@roles
def test_both_sides_send_fragments(pair: CertifiedPair, wire: Wire, role: Role) -> None:
    pair.up(role, fragmentation="force")
    sent, received = wire.fragments()
    assert 2 <= sent <= 4
    assert received >= 8


@roles
def test_a_peer_that_only_accepts_fragments_gets_them_and_sends_none(
    pair: CertifiedPair, wire: Wire, role: Role
) -> None:
    pair.up(role, fragmentation="accept")
    sent, received = wire.fragments()
    assert sent >= 2
    assert received == 0


@roles
@pytest.mark.parametrize(
    ("fragmentation", "settings"),
    [("no", ""), ("yes", "set nofragmentation")],
    ids=["theirs", "ours"],
)
def test_where_one_side_does_without_neither_sends_any(
    pair: CertifiedPair, wire: Wire, role: Role, fragmentation: str, settings: str
) -> None:
    pair.up(role, fragmentation=fragmentation, settings=settings)
    assert wire.fragments() == (0, 0)


@roles
@pytest.mark.parametrize(("sent", "received"), [(2, 0), (0, 5), (1, 1)], ids=["ours", "theirs", "one of each"])
def test_a_lost_fragment_comes_again_with_its_message(
    pair: CertifiedPair, wire: Wire, role: Role, sent: int, received: int
) -> None:
    wire.lose(sent=sent, received=received)
    pair.up(role)
    assert wire.lost() == bool(sent) + bool(received)
