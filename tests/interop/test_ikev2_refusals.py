"""Certificates and signatures that must not be believed, in both roles: refused, and a person is told what to do."""

from __future__ import annotations

import pytest
from tests.interop.signed_ends import NAMES, OUR_NAME, THEIR_DN, THEIR_NAME, Ends, policy, signing

from secd.lab.commands import wait_until
from secd.lab.pair import THEM, US, Role

pytestmark = pytest.mark.root

roles = pytest.mark.parametrize("role", ["initiator", "responder"])

ROOT, OTHER = "/C=AU/O=secd/CN=root", "/C=AU/O=secd/CN=other"
DN = "/" + THEIR_DN.replace(", ", "/")


@roles
@pytest.mark.parametrize(("what", "words"), [
    ("other authority", f"no path from the peer's certificate {DN} to a trusted authority: nobody called {OTHER} is"),
    ("expired", f"the peer's certificate {DN} was valid until 2021-01-01 00:00:00 UTC, now is "),
    ("revoked", f"the certificate {DN} was revoked on 20"),
    ("the authority between revoked", "the certificate /C=AU/O=secd/CN=between was revoked on 20"),
    ("none", "no certificate came with it, and no public key of the peer is known"),
])  # fmt: skip
def test_a_certificate_that_must_not_be_believed(ends: Ends, role: Role, what: str, words: str) -> None:
    ends.certify_us()
    issuer = {"other authority": "other", "the authority between revoked": "between"}.get(what, "root")
    between = ends.pki.certificate("between", "C=AU, O=secd, CN=between", ca=True)
    ends.certify_them(issuer=issuer, expired=what == "expired")
    ends.theirs("x509ca/between.crt", between)
    if what == "revoked":
        ends.ours("crls/root.crl", ends.pki.crl("them-ecdsa256-root.crt"))
    elif issuer == "between":
        ends.ours("crls/root.crl", ends.pki.crl("between-root.crt"))
    tunnel = signing(local={"certs": "them.crt"}, send_cert="never" if what == "none" else "ifasked")
    line = ends.refused(role, words, tunnel=tunnel)
    assert f"{THEM} (fqdn {THEIR_NAME}) has not proved who it is" in line
    assert "by /etc/iked.conf: 1 and the ca, crls and pubkeys in /etc/iked" in line


@roles
def test_another_identity_than_the_expected(ends: Ends, role: Role) -> None:
    """Charon is told whom we mean, and does not answer to another name."""
    ends.certify()
    rules = policy(role, f"srcid {OUR_NAME} dstid other.example.com")
    if role == "initiator":
        line = ends.refused(role, "refuses our authentication", rules)
        assert "or is not fqdn other.example.com itself" in line
    else:
        line = ends.refused(role, "calls itself", rules)
        assert f"{THEM} calls itself fqdn {THEIR_NAME}" in line
        assert f"write `dstid {THEIR_NAME}` at /etc/iked.conf: 1" in line


@roles
def test_the_peer_does_not_believe_us(ends: Ends, role: Role) -> None:
    """As initiator we are refused; a responder has said yes before it is told."""
    ends.certify_us(expired=True)
    ends.certify_them()
    words = "refuses our authentication" if role == "initiator" else "does not believe that we are"
    line = ends.refused(role, words)
    assert f"fqdn {OUR_NAME}" in line
    assert "compare the certificates at /etc/iked.conf: 1" in line


@roles
def test_a_policy_for_pre_shared_keys_and_a_peer_that_signs(ends: Ends, role: Role) -> None:
    ends.certify_them()
    ends.theirs("x509ca/root.crt", ends.pki.text("root.crt"))
    tunnel = signing(remote={"auth": "psk"})
    line = ends.refused(role, "authenticates itself with", policy(role, auth=f'psk "{tunnel.psk}"'), tunnel)
    assert "expected a pre-shared key; write `" in line


@roles
def test_a_signature_of_another_kind_than_the_word_says(ends: Ends, role: Role) -> None:
    ends.certify_us("ecdsa256")
    ends.certify_them("ecdsa384")
    line = ends.refused(role, "authenticates itself with", policy(role, auth="ecdsa256"))
    assert "a signature (`ecdsa384`), expected a signature (`ecdsa256`); write `ecdsa384` at /etc/iked.conf: 1" in line


@roles
def test_rsa_with_sha_1_unless_it_is_asked_for(ends: Ends, role: Role) -> None:
    ends.certify("rsa2048")
    ends.settings(signature_authentication=False)
    line = ends.refused(role, "one with SHA-1, which must not be used (RFC 8247 §3.2): make the peer speak RFC 7427")
    assert "or write `rsa`" in line
    ends.pair.charon.swanctl("--terminate", "--ike", "sec0", "--force", check=False)
    if role == "initiator":
        ends.up(role, policy(role, auth="rsa"))
        assert "its signature is one with SHA-1" in wait_until(ends.said, 1, "the warning")


def test_a_key_that_needs_rfc_7427_and_a_peer_that_does_not_know_it(ends: Ends) -> None:
    ends.certify_us("ed25519")
    ends.certify_them("ecdsa256")
    ends.settings(signature_authentication=False)
    line = ends.refused("responder", "does not know RFC 7427, which a key of this kind needs")
    assert "use an ECDSA key" in line


def test_keys_that_are_not_there_are_told_by_file(ends: Ends) -> None:
    done = ends.pair.us.run("ikectl", "load", "-", text=policy("initiator", NAMES), check=False)
    assert "/etc/iked/private/local.key" in done.stderr
    ends.certify_us()
    done = ends.pair.us.run("ikectl", "load", "-", text=policy("initiator", "srcid other.example.com"), check=False)
    assert f"not for this identity: it is for /C=AU/O=secd/CN=us, {US}, {OUR_NAME}, " in done.stderr
