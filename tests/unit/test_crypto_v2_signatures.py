"""Signatures in AUTH: RFC 7427's encodings, the methods before it, and what must not verify.

Vectors: RFC 7427 App. A and RFC 8420 App. A.1 (AlgorithmIdentifiers), RFC 4754 §8.1 (ECDSA), RFC 8032 §7.1 (Ed25519).
That strongSwan's signatures verify is in tests/vectors/test_ike_v2_recordings.py.
"""

from __future__ import annotations

from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from secd.ike.crypto.errors import InvalidSignature, UnsupportedAlgorithm
from secd.ike.crypto.signature_schemes import (
    ACCEPTED_HASHES,
    RSA_SHA1,
    SCHEMES,
    PrivateKey,
    auth_data,
    load_private_key,
    old_method_for,
    raw_ecdsa,
    schemes_for,
    sign,
    verify,
)
from secd.ike.wire.ikev2.iana import AuthMethod, HashAlgorithm

DIGITAL = AuthMethod.DIGITAL_SIGNATURE
SIGNED = b"what AUTH covers" * 20

IDENTIFIERS = {
    "rsa-sha2-256": "300d06092a864886f70d01010b0500",
    "rsa-sha2-384": "300d06092a864886f70d01010c0500",
    "rsa-sha2-512": "300d06092a864886f70d01010d0500",
    "ecdsa-sha2-256": "300a06082a8648ce3d040302",
    "ecdsa-sha2-384": "300a06082a8648ce3d040303",
    "ecdsa-sha2-512": "300a06082a8648ce3d040304",
    "rsa-pss-sha2-256": "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120",
    "ed25519": "300506032b6570",
}
#: RSASSA-PSS with every parameter at its default, which is SHA-1 (RFC 7427 App. A.4.2).
PSS_SHA1 = bytes.fromhex("300d06092a864886f70d01010a3000")
SHA1_WITH_RSA = bytes.fromhex("300d06092a864886f70d0101050500")


@cache
def key(kind: str) -> PrivateKey:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


KINDS = {"rsa": "rsa", "rsa-pss": "rsa", "ecdsa": "p384", "ed25519": "ed25519"}


def test_identifiers_are_those_of_the_rfcs() -> None:
    for name, encoding in IDENTIFIERS.items():
        assert SCHEMES[name].identifiers[0].hex() == encoding
    assert {name for name in SCHEMES if name not in IDENTIFIERS} == {"rsa-pss-sha2-384", "rsa-pss-sha2-512"}
    assert len({each for scheme in SCHEMES.values() for each in scheme.identifiers}) == 16


@pytest.mark.parametrize("name", SCHEMES)
def test_a_signature_verifies_with_each_encoding_of_its_scheme_and_no_other(name: str) -> None:
    scheme = SCHEMES[name]
    private = key(KINDS[scheme.kind])
    signature = sign(private, name, SIGNED)
    assert verify(DIGITAL, auth_data(scheme, signature), private.public_key(), SIGNED) is scheme
    for other in SCHEMES.values():
        for identifier in other.identifiers:
            data = bytes((len(identifier),)) + identifier + signature
            if other is scheme:
                assert verify(DIGITAL, data, private.public_key(), SIGNED) is scheme
                continue
            with pytest.raises(InvalidSignature, match="not made with this key"):
                verify(DIGITAL, data, private.public_key(), SIGNED)


@pytest.mark.parametrize("name", SCHEMES)
def test_what_was_changed_or_signed_by_another_does_not_verify(name: str) -> None:
    scheme = SCHEMES[name]
    private = key(KINDS[scheme.kind])
    signature = sign(private, name, SIGNED)
    public = private.public_key()
    for wrong in (signature[:-1], signature + b"\x00", b"\x00" + signature, bytes(len(signature)), signature[::-1]):
        with pytest.raises(InvalidSignature):
            verify(DIGITAL, auth_data(scheme, wrong), public, SIGNED)
    with pytest.raises(InvalidSignature):
        verify(DIGITAL, auth_data(scheme, signature), public, SIGNED + b"\x00")
    for kind in ("rsa", "p256", "p384", "ed25519"):
        other = key(kind).public_key()
        if other != public:
            with pytest.raises(InvalidSignature):
                verify(DIGITAL, auth_data(scheme, signature), other, SIGNED)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x00signature", b"\x0f\x30\x0d", b"\x07" + bytes.fromhex("300506032b6570"), b"\xff" * 40],
)
def test_an_auth_payload_without_identifier_and_signature_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidSignature, match=r"AlgorithmIdentifier|unknown or refused"):
        verify(DIGITAL, data, key("ed25519").public_key(), SIGNED)


@pytest.mark.parametrize("identifier", [PSS_SHA1, SHA1_WITH_RSA, bytes.fromhex("300906072a8648ce3d0401")])
def test_sha1_is_refused_by_its_identifier(identifier: bytes) -> None:
    with pytest.raises(InvalidSignature, match="unknown or refused algorithm"):
        verify(DIGITAL, bytes((len(identifier),)) + identifier + bytes(256), key("rsa").public_key(), SIGNED)


def test_an_identifier_with_more_in_it_is_none() -> None:
    identifier = bytes.fromhex("300f06092a864886f70d01010b05000500")
    with pytest.raises(InvalidSignature, match="unknown or refused"):
        verify(DIGITAL, bytes((len(identifier),)) + identifier + bytes(256), key("rsa").public_key(), SIGNED)


def test_a_small_rsa_key_neither_verifies_nor_is_loaded() -> None:
    small = rsa.generate_private_key(65537, 1024)
    signature = small.sign(SIGNED, padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature, match="1024 bits, expected 2048"):
        verify(DIGITAL, auth_data(SCHEMES["rsa-sha2-256"], signature), small.public_key(), SIGNED)
    pem = small.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnsupportedAlgorithm, match="1024 bits"):
        load_private_key(pem)


def test_pss_with_another_salt_is_refused() -> None:
    private = key("rsa")
    assert isinstance(private, rsa.RSAPrivateKey)
    signature = private.sign(SIGNED, padding.PSS(padding.MGF1(hashes.SHA256()), 20), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        verify(DIGITAL, auth_data(SCHEMES["rsa-pss-sha2-256"], signature), private.public_key(), SIGNED)


# -- the methods before RFC 7427 --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rsa-sha2-256", "rsa-sha2-384", "rsa-sha2-512"])
def test_method_1_with_sha2(name: str) -> None:
    signature = sign(key("rsa"), name, SIGNED)
    assert verify(AuthMethod.RSA_DIGITAL_SIGNATURE, signature, key("rsa").public_key(), SIGNED).name == name
    with pytest.raises(InvalidSignature, match="not made with this key"):
        verify(AuthMethod.RSA_DIGITAL_SIGNATURE, signature, key("rsa").public_key(), SIGNED[1:])
    with pytest.raises(InvalidSignature):
        verify(AuthMethod.RSA_DIGITAL_SIGNATURE, signature, key("p256").public_key(), SIGNED)


def test_method_1_with_sha_1_is_taken_where_it_was_asked_for_alone() -> None:
    signature = sign(key("rsa"), RSA_SHA1.name, SIGNED)
    public = key("rsa").public_key()
    assert verify(AuthMethod.RSA_DIGITAL_SIGNATURE, signature, public, SIGNED, sha1=True) is RSA_SHA1
    with pytest.raises(InvalidSignature, match=r"must not be used.*write `rsa`"):
        verify(AuthMethod.RSA_DIGITAL_SIGNATURE, signature, public, SIGNED)
    with pytest.raises(InvalidSignature, match="not made with this key"):
        verify(AuthMethod.RSA_DIGITAL_SIGNATURE, signature, public, SIGNED[1:], sha1=True)


@pytest.mark.parametrize(
    ("kind", "method", "octets"),
    [
        ("p256", AuthMethod.ECDSA_SHA_256, 64),
        ("p384", AuthMethod.ECDSA_SHA_384, 96),
        ("p521", AuthMethod.ECDSA_SHA_512, 132),
    ],
)
def test_methods_9_to_11_are_two_numbers_of_the_curves_size(kind: str, method: AuthMethod, octets: int) -> None:
    public = key(kind).public_key()
    chosen = old_method_for(public)
    assert chosen is not None
    assert chosen[0] == method
    signature = raw_ecdsa(public, sign(key(kind), chosen[1].name, SIGNED))
    assert len(signature) == octets
    assert verify(method, signature, public, SIGNED) is chosen[1]
    for wrong in (signature[:-1], signature + b"\x00", bytes(octets), b"\xff" * octets):
        with pytest.raises(InvalidSignature):
            verify(method, wrong, public, SIGNED)
    for other in ("p256", "p384", "p521", "rsa", "ed25519"):
        if other != kind:
            with pytest.raises(InvalidSignature, match="wants a key on"):
                verify(method, signature, key(other).public_key(), SIGNED)


def test_rfc_4754_ecdsa_256() -> None:
    x = 0x2442A5CC0ECD015FA3CA31DC8E2BBC70BF42D60CBCA20085E0822CB04235E970
    y = 0x6FC98BD7E50211A4A27102FA3549DF79EBCB4BF246B80945CDDFE7D509BBFD7D
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    signature = bytes.fromhex(
        "cb28e0999b9c7715fd0a80d8e47a77079716cbbf917dd72e97566ea1c066957c"
        "86fa3bb4e26cad5bf90b7f81899256ce7594bb1ea0c89212748bff3b3d5b0315"
    )
    assert verify(AuthMethod.ECDSA_SHA_256, signature, public, b"abc").name == "ecdsa-sha2-256"


def test_rfc_8032_ed25519() -> None:
    private = Ed25519PrivateKey.from_private_bytes(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert sign(private, "ed25519", b"\x72") == signature
    assert verify(DIGITAL, auth_data(SCHEMES["ed25519"], signature), private.public_key(), b"\x72").name == "ed25519"


@pytest.mark.parametrize("method", [0, 2, 3, 12, 13, 15, 201])
def test_other_methods_are_no_signatures(method: int) -> None:
    with pytest.raises(InvalidSignature, match="is none of"):
        verify(method, bytes(64), key("ed25519").public_key(), SIGNED)


# -- choices ----------------------------------------------------------------------------------------------


def names(kind: str, hashes_: tuple[int, ...]) -> list[str]:
    return [each.name for each in schemes_for(key(kind).public_key(), hashes_)]


def test_the_scheme_follows_the_key_and_what_the_peer_lists() -> None:
    everything = tuple(ACCEPTED_HASHES)
    assert names("ed25519", everything) == ["ed25519"]
    assert names("ed25519", (HashAlgorithm.SHA2_256,)) == []
    assert names("p256", everything)[0] == "ecdsa-sha2-256"
    assert names("p384", everything)[0] == "ecdsa-sha2-384"
    assert names("p521", everything)[0] == "ecdsa-sha2-512"
    assert names("p384", (HashAlgorithm.SHA2_256,)) == ["ecdsa-sha2-256"]
    assert names("rsa", everything)[0] == "rsa-sha2-256"
    assert names("rsa", (HashAlgorithm.SHA2_512,)) == ["rsa-sha2-512", "rsa-pss-sha2-512"]
    assert names("rsa", (HashAlgorithm.SHA1,)) == []
    pss = schemes_for(key("rsa").public_key(), everything, pss=True)
    assert pss[0].name == "rsa-pss-sha2-256"


def test_an_old_method_there_is_not_for_every_key() -> None:
    assert old_method_for(key("rsa").public_key()) == (AuthMethod.RSA_DIGITAL_SIGNATURE, RSA_SHA1)
    assert old_method_for(key("ed25519").public_key()) is None
    assert old_method_for(ec.generate_private_key(ec.BrainpoolP256R1()).public_key()) is None
    with pytest.raises(UnsupportedAlgorithm):
        raw_ecdsa(key("rsa").public_key(), b"")


def test_a_key_signs_with_its_own_schemes_only() -> None:
    for name, scheme in SCHEMES.items():
        for kind in ("rsa", "p256", "ed25519"):
            if not (KINDS[scheme.kind] == kind or (scheme.kind == "ecdsa" and kind == "p256")):
                with pytest.raises(UnsupportedAlgorithm, match="of another kind"):
                    sign(key(kind), name, SIGNED)
    with pytest.raises(UnsupportedAlgorithm, match="expected one of"):
        sign(key("rsa"), "rsa-md5", SIGNED)


# -- private keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa", "p256", "ed25519"])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_private_keys_are_read(kind: str, encoding: Encoding) -> None:
    data = key(kind).private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())
    assert load_private_key(data).public_key() == key(kind).public_key()


def test_what_is_no_private_key_of_ours_is_refused_in_words() -> None:
    locked = key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    with pytest.raises(UnsupportedAlgorithm, match="has a password"):
        load_private_key(locked)
    for junk in (b"", b"junk", b"-----BEGIN PRIVATE KEY-----\njunk\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(UnsupportedAlgorithm, match="not a private key"):
            load_private_key(junk)
    other = dsa.generate_private_key(2048).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnsupportedAlgorithm, match="expected RSA, ECDSA or Ed25519"):
        load_private_key(other)
