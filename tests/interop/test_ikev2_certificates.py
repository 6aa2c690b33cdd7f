"""IKEv2 by signatures with strongSwan, secd in both roles: keys of every kind, chains, identities, bare public keys."""

from __future__ import annotations

import pytest
from tests.interop.pki import KINDS
from tests.interop.signed_ends import (
    NAMES,
    OUR_DN,
    OUR_MAIL,
    OUR_NAME,
    THEIR_DN,
    THEIR_MAIL,
    THEIR_NAME,
    Ends,
    policy,
    signing,
)

from secd.lab.pair import THEM, US, Role

pytestmark = pytest.mark.root

roles = pytest.mark.parametrize("role", ["initiator", "responder"])

#: What charon calls signatures that name their algorithms.
CALLED = {
    "rsa2048": "RSA_EMSA_PKCS1_SHA2_256", "rsa3072": "RSA_EMSA_PKCS1_SHA2_256", "ecdsa256": "ECDSA_WITH_SHA256_DER",
    "ecdsa384": "ECDSA_WITH_SHA384_DER", "ecdsa521": "ECDSA_WITH_SHA512_DER", "ed25519": "ED25519",
}  # fmt: skip


@roles
@pytest.mark.parametrize("kind", KINDS)
def test_certificates_of_every_kind_of_key(ends: Ends, role: Role, kind: str) -> None:
    ends.certify(kind)
    ends.up(role)
    assert f"authentication of '{OUR_NAME}' with {CALLED[kind]} successful" in ends.said_charon()


@pytest.mark.parametrize(("auth", "called", "role"), [
    ("rsa-sha384", "RSA_EMSA_PKCS1_SHA2_384", "initiator"), ("rsa-sha512", "RSA_EMSA_PKCS1_SHA2_512", "responder"),
    ("rsa/pss-sha256", "RSA_EMSA_PSS_SHA2_256", "initiator"), ("rsa/pss-sha384", "RSA_EMSA_PSS_SHA2_384", "responder"),
    ("rsa/pss-sha512", "RSA_EMSA_PSS_SHA2_512", "initiator"),
])  # fmt: skip
def test_rsa_signatures_by_hash_and_padding(ends: Ends, role: Role, auth: str, called: str) -> None:
    ends.certify("rsa2048")
    ends.settings(rsa_pss="pss" in auth)
    ends.up(role, tunnel=signing(local={"auth": auth}))
    assert f"authentication of '{THEIR_NAME}' (myself) with {called}" in ends.said_charon()


@roles
def test_a_peer_that_takes_pss_alone(ends: Ends, role: Role) -> None:
    """As responder we pad as it does; as initiator we try the other way after we were refused."""
    ends.certify("rsa2048")
    ends.settings(rsa_pss=True)
    pss = {"auth": "ike:rsa/pss-sha256"}
    ends.up(role, tunnel=signing(local=pss, remote=pss))
    assert f"authentication of '{OUR_NAME}' with RSA_EMSA_PSS_SHA2_256" in ends.said_charon()


@pytest.mark.parametrize(("auth", "called"), [
    ("rsa-sha384", "RSA_EMSA_PKCS1_SHA2_384"), ("rsa-sha512", "RSA_EMSA_PKCS1_SHA2_512"),
])  # fmt: skip
def test_we_sign_by_a_hash_that_the_peer_has_listed(ends: Ends, auth: str, called: str) -> None:
    """Charon as initiator lists those alone that it will accept."""
    ends.certify("rsa2048")
    ends.up("responder", tunnel=signing(remote={"auth": f"ike:{auth}"}))
    assert f"authentication of '{OUR_NAME}' with {called} successful" in ends.said_charon()


@roles
@pytest.mark.parametrize(("kind", "word", "called"), [
    ("rsa2048", "rsa", "RSA signature"), ("ecdsa256", "", "ECDSA-256 signature"),
    ("ecdsa384", "ecdsa384", "ECDSA-384 signature"), ("ecdsa521", "ecdsa521", "ECDSA-521 signature"),
])  # fmt: skip
def test_a_peer_that_does_not_know_rfc_7427(ends: Ends, role: Role, kind: str, word: str, called: str) -> None:
    ends.certify(kind)
    ends.settings(signature_authentication=False)
    ends.up(role, policy(role, auth=word))
    assert f"authentication of '{OUR_NAME}' with {called} successful" in ends.said_charon()
    assert f"authentication of '{THEIR_NAME}' (myself) with {called}" in ends.said_charon()


@roles
def test_the_words_for_an_old_method_hold_for_a_peer_that_knows_better(ends: Ends, role: Role) -> None:
    ends.certify("ecdsa256")
    ends.up(role, policy(role, auth="ecdsa256"))
    assert f"authentication of '{OUR_NAME}' with ECDSA-256 signature successful" in ends.said_charon()


@roles
@pytest.mark.parametrize(
    ("ours", "yours"),
    [(OUR_NAME, THEIR_NAME), (US, THEM), (OUR_MAIL, THEIR_MAIL), (OUR_DN, THEIR_DN)],
    ids=["host names", "addresses", "mail addresses", "distinguished names"],
)
def test_identities(ends: Ends, role: Role, ours: str, yours: str) -> None:
    ends.certify()
    ids = f'srcid "{_slashed(ours)}" dstid "{_slashed(yours)}"'
    ends.up(role, policy(role, ids), signing(yours, ours))
    assert f"authentication of '{ours}' with" in ends.said_charon()


def _slashed(name: str) -> str:
    """A distinguished name as iked.conf has it."""
    return "/" + name.replace(", ", "/") if "=" in name else name


@roles
def test_whoever_the_authority_has_certified_may_come_without_dstid(ends: Ends, role: Role) -> None:
    ends.certify()
    ends.up(role, policy(role, f"srcid {OUR_NAME}"))


@roles
def test_chains_whose_messages_go_in_fragments_both_ways(ends: Ends, role: Role) -> None:
    """Each side knows the root alone: the authority between comes from the peer.  Each asks the other for it."""
    between = ends.pki.certificate("between", "C=AU, O=secd, CN=between", ca=True)
    ends.certify_us("rsa3072", issuer="between")
    ends.certify_them("rsa3072", issuer="between")
    ends.ours("certs/between.crt", between)
    ends.theirs("x509ca/between.crt", between)
    ends.up(role, tunnel=signing(fragmentation="yes"))
    said = ends.said_charon()
    for words in (
        "splitting IKE message", "received fragment #1", 'received issuer cert "C=AU, O=secd, CN=between"',
        'received cert request for "C=AU, O=secd, CN=root"', 'sending cert request for "C=AU, O=secd, CN=root"',
    ):  # fmt: skip
        assert words in said, words


@roles
def test_certificates_of_ikectl_ca(ends: Ends, role: Role) -> None:
    us = ends.pair.us
    us.write("/etc/ssl/own", "")  # makes the directory this host's own
    try:
        us.run("ikectl", "ca", "vpn", "create")
        for name in (OUR_NAME, THEIR_NAME):
            us.run("ikectl", "ca", "vpn", "certificate", name, "create", "ecdsa384")
        us.run("ikectl", "ca", "vpn", "install")
        us.run("ikectl", "ca", "vpn", "certificate", OUR_NAME, "install")
        us.run("sh", "-c", f"cd /run && ikectl ca vpn certificate {THEIR_NAME} export")
        ends.pair.them.path("/run/them.tgz").write_bytes(us.path(f"/run/{THEIR_NAME}.tgz").read_bytes())
        ends.pair.them.run("tar", "-C", "/run", "-xzpf", "/run/them.tgz")
        for path, file in (
            ("private/them.key", "private/local.key"), ("x509/them.crt", f"certs/{THEIR_NAME}.crt"),
            ("x509ca/ca.crt", "ca/ca.crt"), ("x509crl/ca.crl", "crls/ca.crl"),
        ):  # fmt: skip
            ends.theirs(path, ends.pair.them.path(f"/run/{file}").read_text())
        ends.up(role)
    finally:
        us.run("rm", "-rf", "/etc/ssl/vpn", "/etc/iked")


@roles
@pytest.mark.parametrize("kind", ["rsa2048", "ecdsa256", "ed25519"])
def test_public_keys_that_are_known_need_no_certificate(ends: Ends, role: Role, kind: str) -> None:
    _bare_keys(ends, kind)
    ends.up(role, tunnel=signing(local={"pubkeys": "them.pub"}, remote={"pubkeys": "us.pub"}))


@roles
@pytest.mark.parametrize(("kind", "word"), [("rsa2048", "rsa"), ("ecdsa384", "")])
def test_public_keys_with_a_peer_that_does_not_know_rfc_7427(ends: Ends, role: Role, kind: str, word: str) -> None:
    _bare_keys(ends, kind)
    ends.settings(signature_authentication=False)
    tunnel = signing(local={"pubkeys": "them.pub"}, remote={"pubkeys": "us.pub"})
    ends.up(role, policy(role, NAMES, word), tunnel)


def _bare_keys(ends: Ends, kind: str) -> None:
    """Give each side its key and the other's public one."""
    ends.ours("private/local.key", ends.pki.key(f"us-{kind}", kind))
    ends.ours(f"pubkeys/fqdn/{THEIR_NAME}", ends.pki.public(f"them-{kind}", kind))
    ends.theirs("private/them.key", ends.pki.key(f"them-{kind}", kind))
    ends.theirs("pubkey/us.pub", ends.pki.public(f"us-{kind}", kind))
    ends.theirs("pubkey/them.pub", ends.pki.public(f"them-{kind}", kind))
