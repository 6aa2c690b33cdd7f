"""IKEv2 with certificates and public keys between two speakers: every way through, and whom neither believes."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from msgspec.structs import replace
from tests.pair.network import BOB, Network, Node, matches, start
from tests.pair.pki import Authority, der, rsa_key
from tests.pair.v2_support import connection, pair

from secd.ike.connection import PostQuantumKey, PreSharedKey, Signature
from secd.ike.crypto.certificates import Verified, verify_certificate
from secd.sadb.messages import Identity

ROOT = Authority("Root")
KEYS = {
    "rsa": rsa_key("v2 one"),
    "ecdsa256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa384": ec.generate_private_key(ec.SECP384R1()),
    "ecdsa521": ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
A_NAME, B_NAME = Identity("fqdn", "alice.example"), Identity("fqdn", "bob.example")
NAMES = {"srcid": A_NAME, "dstid": B_NAME}, {"srcid": B_NAME, "dstid": A_NAME}

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def certificate(key: Key, name: str, authority: Authority = ROOT, **changes: int) -> x509.Certificate:
    return authority.leaf(name, key=key, **changes)  # type: ignore[arg-type]


def signing(kind: str, name: str, authority: Authority = ROOT, **changes: object) -> Signature:
    """Authentication with a certificate for `name` of the key of this kind."""
    values = {"key": kind, "chain": (der(certificate(KEYS[kind], name, authority)),), "authorities": (ROOT.der,)}
    return Signature(**{**values, **changes})  # type: ignore[arg-type]


def two(alice: object, bob: object, **both: object) -> tuple[Network, Node, Node]:
    """Alice and Bob with their names and these ways to authenticate."""
    net, one, other = pair({**NAMES[0], "auth": alice}, {**NAMES[1], "auth": bob}, **both)
    pems = {
        kind: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for kind, key in KEYS.items()
    }  # fmt: skip
    one.keys = other.keys = {"key": b"a shared secret", **pems}
    return net, one, other


def refused(net: Network, alice: Node, bob: Node, who: Node, words: str) -> None:
    """Nothing comes up, and `who` says why."""
    bob.start(settled=True)
    alice.start()
    net.run(10)
    assert not matches(alice, bob)
    assert words in who.said("signature-mismatch")[0], who.logs


@pytest.mark.parametrize("kind", KEYS)
def test_both_sides_by_certificates_of_every_kind(kind: str) -> None:
    net, alice, bob = two(signing(kind, "alice.example"), signing(kind, "bob.example"))
    start(net, alice, bob)
    net.run(60)
    assert matches(alice, bob)


def test_the_two_sides_need_not_have_keys_of_the_same_kind() -> None:
    start(*two(signing("ed25519", "alice.example"), signing("rsa", "bob.example")))


@pytest.mark.parametrize("kind", ["ecdsa256", "ecdsa384", "ecdsa521"])
def test_the_methods_before_rfc_7427(kind: str) -> None:
    start(*two(signing(kind, "alice.example", method=kind), signing(kind, "bob.example", method=kind)))


@pytest.mark.parametrize("mine", ["any", "rfc7427"])
def test_a_peer_without_rfc_7427_is_signed_to_as_the_words_allow(mine: str) -> None:
    """Bob's word forbids RFC 7427, so he does not announce it."""
    old = signing("ecdsa384", "bob.example", method="ecdsa384")
    net, alice, bob = two(signing("ecdsa384", "alice.example", method=mine), old)
    if mine == "any":
        start(net, alice, bob)
        return
    bob.start(settled=True)
    alice.start()
    net.run(5)
    assert "does not know RFC 7427, which `rfc7427` at" in alice.said("cannot-sign")[0]


@pytest.mark.parametrize(("kind", "words"), [("rsa", "or write `rsa` at"), ("ed25519", "use an ECDSA key")])
def test_a_responder_that_cannot_sign_for_this_peer_says_so_and_answers(kind: str, words: str) -> None:
    """Alice's word forbids RFC 7427."""
    net, alice, bob = two(signing("ecdsa256", "alice.example", method="ecdsa256"), signing(kind, "bob.example"))
    bob.start(settled=True)
    alice.start()
    net.run(5)
    assert words in bob.said("cannot-sign")[0]
    assert "AUTHENTICATION_FAILED" in alice.said("authentication-failed")[0]


def test_rsa_with_sha_1_where_both_policies_say_so_with_a_warning() -> None:
    net, alice, bob = two(signing("rsa", "alice.example", method="rsa"), signing("rsa", "bob.example", method="rsa"))
    start(net, alice, bob)
    for node in (alice, bob):
        assert "one with SHA-1, which must not be used (RFC 8247 §3.2)" in node.said("certificate")[0]


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_speaker_killed_at_any_step_comes_up_with_certificates(name: str, when: str) -> None:
    for step in range(2, 16):
        net, alice, bob = two(signing("ecdsa256", "alice.example"), signing("ed25519", "bob.example"))
        alice.compute_delay = bob.compute_delay = 0.05
        (alice if name == "alice" else bob).kill_at = step if when == "before" else -step
        bob.start(settled=True)
        alice.start()
        assert net.run(60, lambda a=alice, b=bob: matches(a, b)), f"killed at {step}"  # type: ignore[misc]


def test_the_signature_without_ppk_counts_where_the_two_have_no_ppk_in_common() -> None:
    net, alice, bob = two(signing("ecdsa256", "alice.example"), signing("ed25519", "bob.example"))
    for node, name in ((alice, b"one"), (bob, b"two")):
        [made] = node.connections
        assert made.ikev2 is not None
        ppk = PostQuantumKey("key", name, required=False)
        node.connections = [replace(made, ikev2=replace(made.ikev2, ppk=ppk))]
    start(net, alice, bob)


def test_a_strangers_certificate_is_judged_once_for_all_policies_that_it_may_be_meant_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, alice, bob = two(signing("rsa", "alice.example", Authority("Stranger")), signing("rsa", "bob.example"))
    policies = [connection(BOB, None, name=f"sec{n}", iface=f"sec{n}", mode="passive", auth=bob.connections[0].auth,
                           srcid=Identity("fqdn", f"bob{n}.example")) for n in range(20)]  # fmt: skip
    bob.connections = policies
    judged: list[str] = []

    def judge(*arguments: object) -> Verified:
        judged.append("once")
        return verify_certificate(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("secd.ike.v2.signing.verify_certificate", judge)
    bob.start(settled=True)
    alice.start()
    net.run(1)
    assert bob.said("signature-mismatch")
    assert judged == ["once"]


def test_a_chain_over_an_intermediate_authority() -> None:
    between = Authority("Between", ROOT)
    leaf = der(certificate(KEYS["rsa"], "alice.example", between))
    start(*two(signing("rsa", "alice.example", chain=(leaf, between.der)), signing("rsa", "bob.example")))


@pytest.mark.parametrize("kind", KEYS)
def test_public_keys_that_are_known_need_no_certificate(kind: str) -> None:
    public = KEYS[kind].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    own = Signature(kind, peer_keys=(public,), public=public)
    start(*two(own, own))


def test_messages_with_certificates_are_fragmented_and_put_together() -> None:
    between = Authority("Between", ROOT)
    leaf = der(certificate(KEYS["rsa"], "alice.example", between))
    net, alice, bob = two(signing("rsa", "alice.example", chain=(leaf, between.der)), signing("rsa", "bob.example"))
    start(net, alice, bob)
    assert max(len(each.data) for each in alice.sent + bob.sent) <= 1280 - 32
    assert sum(each.data[16] == 53 for each in alice.sent) >= 2


@pytest.mark.parametrize("number", range(3, 8))
def test_any_fragment_may_be_lost(number: int) -> None:
    between = Authority("Between", ROOT)
    leaf = der(certificate(KEYS["rsa"], "alice.example", between))
    net, alice, bob = two(signing("rsa", "alice.example", chain=(leaf, between.der)), signing("rsa", "bob.example"))
    net.drop = lambda count, send: count == number
    start(net, alice, bob, seconds=20)


def test_without_fragmentation_on_one_side_messages_go_whole() -> None:
    net, alice, bob = pair()
    net, alice, bob = two(signing("rsa", "alice.example"), signing("rsa", "bob.example"), fragmentation=False)
    start(net, alice, bob)
    assert not [each for each in alice.sent if each.data[16] == 53]


def test_a_certificate_of_another_authority_is_not_believed() -> None:
    stranger = Authority("Stranger")
    net, alice, bob = two(signing("rsa", "alice.example", stranger), signing("rsa", "bob.example"))
    refused(net, alice, bob, bob, "has not proved who it is")


def test_the_initiator_does_not_believe_a_certificate_of_another_authority() -> None:
    stranger = Authority("Stranger")
    net, alice, bob = two(signing("rsa", "alice.example"), signing("rsa", "bob.example", stranger))
    refused(net, alice, bob, alice, "has not proved who it is")


def test_a_certificate_for_another_name_is_not_believed() -> None:
    net, alice, bob = two(signing("rsa", "carol.example"), signing("rsa", "bob.example"))
    refused(net, alice, bob, bob, "certificate is for")


def test_a_certificate_that_is_out_of_date_is_not_believed() -> None:
    old = der(certificate(KEYS["rsa"], "alice.example", days=-1, since=90))
    net, alice, bob = two(signing("rsa", "alice.example", chain=(old,)), signing("rsa", "bob.example"))
    refused(net, alice, bob, bob, "has not proved who it is")


def test_a_certificate_that_is_revoked_is_not_believed() -> None:
    leaf = certificate(KEYS["rsa"], "alice.example")
    ours = signing("rsa", "bob.example", crls=(ROOT.crl(leaf),))
    net, alice, bob = two(signing("rsa", "alice.example", chain=(der(leaf),)), ours)
    refused(net, alice, bob, bob, "revoked")


def test_a_signature_by_another_key_than_the_certificates_is_not_believed() -> None:
    net, alice, bob = two(signing("ecdsa256", "alice.example"), signing("rsa", "bob.example"))
    alice.keys = {
        **alice.keys,
        "ecdsa256": ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    }
    refused(net, alice, bob, bob, "has not proved who it is")


def test_a_way_to_authenticate_that_is_not_expected_is_named() -> None:
    net, alice, bob = two(PreSharedKey("key"), signing("rsa", "bob.example"))
    bob.start(settled=True)
    alice.start()
    net.run(5)
    assert "with a pre-shared key, expected a signature" in bob.said("authentication-method")[0]
    assert not bob.sas
