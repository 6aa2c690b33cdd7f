"""RSA signatures and aggressive mode with strongSwan, secd in both roles; certificates are made by its `pki`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.pki import Pki

from secd.ike.speaker import STARTING
from secd.lab.commands import LabError, wait_until
from secd.lab.pair import PSK, THEM, US, Pair, Role, theirs
from secd.lab.strongswan import Tunnel

pytestmark = pytest.mark.root

SUITE = "auth hmac-sha2-256 enc aes-256 group modp2048"
OUR_NAME, THEIR_NAME = "us.example.com", "them.example.com"
OUR_DN, THEIR_DN = "C=AU, O=secd, CN=us", "C=AU, O=secd, CN=them"

roles = pytest.mark.parametrize("role", ["initiator", "responder"])
modes = pytest.mark.parametrize("mode", ["main", "aggressive"])


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory, daemons: Pair) -> Pki:
    """One for all tests.  They begin when secd has been there for so long that it tries no passive tunnel by itself."""
    made = Pki(tmp_path_factory.mktemp("pki"))
    time.sleep(STARTING)
    return made


@pytest.fixture
def ends(pair: Pair, pki: Pki) -> Iterator[Ends]:
    """Both daemons, with no key or certificate of the test before."""
    made = Ends(pair, pki)
    yield made
    made.forget()


class Ends:
    """Where both daemons look for keys and certificates."""

    def __init__(self, pair: Pair, pki: Pki) -> None:
        """Begin empty."""
        self.pair, self.pki = pair, pki
        self._written: list[Path] = []

    def ours(self, path: str, text: str) -> None:
        self._written.append(self.pair.us.write(f"/etc/isakmpd/{path}", text, mode=0o600))

    def theirs(self, path: str, text: str) -> None:
        self._written.append(self.pair.them.write(f"/etc/swanctl/{path}", text, mode=0o600))

    def forget(self) -> None:
        for file in self._written:
            file.unlink(missing_ok=True)
        self._written.clear()

    def certify(self, **changes: object) -> None:
        """Give both a certificate and the root; `changes` are those of charon's certificate."""
        pki = self.pki
        self.ours("private/local.key", pki.key("us"))
        self.ours("certs/us.crt", pki.certificate("us", OUR_DN, OUR_NAME, US))
        self.ours("ca/root.crt", pki.text("root.crt"))
        self.theirs("private/them.key", pki.key("them"))
        self.theirs("x509/them.crt", pki.certificate("them", THEIR_DN, THEIR_NAME, THEM, **changes))  # type: ignore[arg-type]
        self.theirs("x509ca/root.crt", pki.text("root.crt"))

    def load(self, role: Role, ours: str, tunnel: Tunnel) -> None:
        """Load both; who is to begin does."""
        self.pair.charon.load(tunnel)
        self.pair.load(ours)
        if role == "responder":
            self.pair.charon.swanctl("--initiate", "--child", "sec0", "--timeout", "10", check=False)

    def log(self) -> str:
        return self.pair.secd.daemon.log.read_text()


def rule(role: Role, mode: str, ids: str, auth: str = "rsa", peer: str = THEM) -> str:
    kind = "active" if role == "initiator" else "passive"
    return f"ike {kind} interface sec0 local {US} peer {peer} {mode} {SUITE} quick {SUITE} {ids} {auth}\n"


def charon(mode: str, local_id: str, remote_id: str, **local: str) -> Tunnel:
    """charon's side with signatures."""
    return theirs(
        aggressive=mode == "aggressive", local_id=local_id, remote_id=remote_id,
        extra={"local": {"auth": "pubkey", "id": local_id, **local},
               "remote": {"auth": "pubkey", "id": remote_id, **({"pubkeys": "us.pub"} if "pubkeys" in local else {})}},
    )  # fmt: skip


@roles
@modes
@pytest.mark.parametrize(
    ("ours", "yours", "written"),
    [
        (OUR_NAME, THEIR_NAME, f"srcid {OUR_NAME} dstid {THEIR_NAME}"),
        (US, THEM, ""),
        (OUR_DN, THEIR_DN, f'srcid "/C=AU/O=secd/CN=us" dstid "{THEIR_DN}"'),
    ],
    ids=["names", "addresses", "distinguished names"],
)
def test_certificates(ends: Ends, role: Role, mode: str, ours: str, yours: str, written: str) -> None:
    ends.certify()
    sa = ends.pair.negotiate(role, rule(role, mode, written), charon(mode, yours, ours))
    assert sa.initiator == (role == "responder")
    ends.pair.ping(3)


@roles
@modes
def test_raw_public_keys(ends: Ends, role: Role, mode: str) -> None:
    ends.ours("private/local.key", ends.pki.key("us"))
    ends.ours(f"pubkeys/ipv4/{THEM}", ends.pki.public("them"))
    ends.theirs("private/them.key", ends.pki.key("them"))
    ends.theirs("pubkey/us.pub", ends.pki.public("us"))
    ends.theirs("pubkey/them.pub", ends.pki.public("them"))
    ends.pair.negotiate(role, rule(role, mode, ""), charon(mode, THEM, US, pubkeys="them.pub"))
    ends.pair.ping(3)


@roles
def test_a_chain_with_an_authority_between(ends: Ends, role: Role) -> None:
    """Each side knows the root alone: the authority between comes from the peer."""
    ends.certify()
    between = ends.pki.certificate("between", "C=AU, O=secd, CN=between", ca=True)
    ends.ours("certs/us.crt", ends.pki.certificate("us", OUR_DN, OUR_NAME, issuer="between"))
    ends.ours("certs/between.crt", between)
    ends.theirs("x509/them.crt", ends.pki.certificate("them", THEIR_DN, THEIR_NAME, issuer="between"))
    ends.theirs("x509ca/between.crt", between)
    ids = f"srcid {OUR_NAME} dstid {THEIR_NAME}"
    ends.pair.negotiate(role, rule(role, "main", ids), charon("main", THEIR_NAME, OUR_NAME))
    ends.pair.ping(3)


@roles
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("wrong authority", "nobody called /C=AU/O=secd/CN=other is known"),
        ("expired", "was valid until 2021-01-01"),
        ("revoked", "was revoked on"),
    ],
)
def test_a_certificate_that_must_not_be_believed_is_refused_in_words(
    ends: Ends, role: Role, what: str, words: str
) -> None:
    if what == "wrong authority":
        ends.certify(issuer="other")
        ends.theirs("x509ca/other.crt", ends.pki.text("other.crt"))
    else:
        ends.certify(expired=what == "expired")
    if what == "revoked":
        ends.ours("crls/root.crl", ends.pki.crl("them-root.crt"))
    before = len(ends.log())
    ids = f"srcid {OUR_NAME} dstid {THEIR_NAME}"
    ends.load(role, rule(role, "main", ids), charon("main", THEIR_NAME, OUR_NAME, certs="them.crt"))
    wait_until(lambda: words in ends.log()[before:], 15, f"{words} in the log")
    assert not ends.pair.secd.sas()


@roles
def test_aggressive_mode_with_a_pre_shared_key_that_was_asked_for(ends: Ends, role: Role) -> None:
    before = len(ends.log())
    ids = f"srcid {OUR_NAME} dstid {THEIR_NAME}"
    tunnel = theirs(aggressive=True, local_id=THEIR_NAME, remote_id=OUR_NAME)
    ends.pair.negotiate(role, rule(role, "aggressive", ids, f'psk "{PSK}" aggressive-psk'), tunnel)
    ends.pair.ping(3)
    assert "gets a hash to guess the key by, offline" in ends.log()[before:]


def test_aggressive_mode_of_a_peer_whose_address_nobody_knows(ends: Ends) -> None:
    """What people use it for: the rule and the key are chosen by name."""
    ids = f"srcid {OUR_NAME} dstid {THEIR_NAME}"
    tunnel = theirs(aggressive=True, local_id=THEIR_NAME, remote_id=OUR_NAME)
    other = (
        f"ike passive interface sec1 local {US} peer any aggressive {SUITE} srcid {OUR_NAME} dstid other.example "
        'psk "o" aggressive-psk\n'
    )
    ours = rule("responder", "aggressive", ids, f'psk "{PSK}" aggressive-psk', peer="any")
    ends.pair.negotiate("responder", other + ours, tunnel)
    ends.pair.ping(3)


@roles
@modes
def test_phase_1_with_signatures_is_renewed_by_the_peer(ends: Ends, role: Role, mode: str) -> None:
    ends.certify()
    ids = f"srcid {OUR_NAME} dstid {THEIR_NAME}"
    before = ends.pair.negotiate(role, rule(role, mode, ids), charon(mode, THEIR_NAME, OUR_NAME))
    ends.pair.charon.rekey(ike="sec0")

    def renewed() -> bool:
        return any(
            sa.state == "ESTABLISHED" and sa.initiator_spi != before.initiator_spi for sa in ends.pair.charon.list_sas()
        )

    wait_until(renewed, 10, "a new ISAKMP SA")
    ends.pair.ping(5)


@roles
@pytest.mark.parametrize(
    ("enc", "name", "words"),
    [("blowfish", "blowfish128", "BLOWFISH_CBC_128"), ("cast128", "cast128", "CAST_CBC")],
)
def test_old_ciphers_of_phase_1(pair: Pair, role: Role, enc: str, name: str, words: str) -> None:
    kind = "active" if role == "initiator" else "passive"
    ours = (
        f"ike {kind} interface sec0 local {US} peer {THEM} main auth hmac-sha1 enc {enc} group modp2048 "
        f'quick {SUITE} psk "{PSK}"\n'
    )
    sa = pair.negotiate(role, ours, theirs(ike=f"{name}-sha1-modp2048"))
    assert sa.encryption.startswith(words)
    pair.ping(1)


def test_a_rule_that_needs_keys_which_are_not_there_is_refused_with_the_file(ends: Ends) -> None:
    with pytest.raises(LabError, match=r"/etc/isakmpd/private/local\.key"):
        ends.pair.load(rule("initiator", "main", ""))
