"""The key holder: its results are HMAC's, its handles say nothing, and it forgets."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from secd.ike.crypto.signature_schemes import PrivateKey
from secd.ike.crypto.signatures import verify_hash
from secd.parent.keys import KeyHolder, KeyHolderError

HASHES = {"md5": "md5", "sha1": "sha1", "sha2-256": "sha256", "sha2-384": "sha384", "sha2-512": "sha512"}


@pytest.mark.parametrize("name", HASHES)
def test_prf_is_the_hmac_of_the_hash(name):
    keys = KeyHolder()
    handle = keys.hold(b"mekmitasdigoat")
    expected = hmac.new(b"mekmitasdigoat", b"Ni | Nr", HASHES[name]).digest()
    assert keys.prf(handle, name, b"Ni | Nr") == expected


def test_prf_of_a_key_longer_than_a_block_is_the_hmac_too():
    keys = KeyHolder()
    secret = b"x" * 300
    handle = keys.hold(secret)
    assert keys.prf(handle, "sha1", b"data") == hmac.new(secret, b"data", hashlib.sha1).digest()


def test_rfc_2202_test_case_2():
    keys = KeyHolder()
    handle = keys.hold(b"Jefe")
    data = b"what do ya want for nothing?"
    assert keys.prf(handle, "md5", data).hex() == "750c783e6ab0b503eaa86e310a5db738"
    assert keys.prf(handle, "sha1", data).hex() == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"


def test_an_unchanged_secret_keeps_its_handle():
    keys = KeyHolder()
    first = keys.hold(b"one")
    assert keys.hold(b"one") == first
    assert keys.hold(b"two") != first
    keys.keep_only({first})
    assert keys.hold(b"one") == first


def test_a_handle_says_nothing_about_its_secret():
    handles = {KeyHolder().hold(b"one") for _ in range(10)}
    assert len(handles) == 10


def test_a_secret_that_is_not_kept_is_overwritten_and_unknown():
    keys = KeyHolder()
    gone, kept = keys.hold(b"gone"), keys.hold(b"kept")
    memory = keys._secrets[gone]
    keys.keep_only([kept])
    assert memory == bytes(4)
    assert len(keys) == 1
    with pytest.raises(KeyHolderError, match="no such key"):
        keys.prf(gone, "sha1", b"")
    assert keys.hold(b"gone") != gone


def test_errors_say_what_is_possible_and_never_the_secret():
    keys = KeyHolder()
    handle = keys.hold(b"mekmitasdigoat")
    with pytest.raises(KeyHolderError, match="sha2-256") as raised:
        keys.prf(handle, "tiger", b"")
    assert "mekmita" not in str(raised.value)
    with pytest.raises(KeyHolderError, match="not a private key"):
        keys.sign(handle, "ikev1-rsa", bytes(20))
    assert "mekmita" not in repr(keys)


def pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_ikev1_s_signature_is_over_the_bare_hash_and_nothing_but_a_hash_is_signed():
    keys, key = KeyHolder(), rsa.generate_private_key(65537, 2048)
    handle = keys.hold(pem(key))
    verify_hash(key.public_key(), b"h" * 32, keys.sign(handle, "ikev1-rsa", b"h" * 32))
    with pytest.raises(KeyHolderError, match="51 octets"):
        keys.sign(handle, "ikev1-rsa", bytes(51))


def test_a_scheme_of_rfc_7427_is_signed_with_a_key_of_its_kind():
    keys, key = KeyHolder(), ec.generate_private_key(ec.SECP256R1())
    handle = keys.hold(pem(key))
    assert keys.sign(handle, "ecdsa-sha2-256", b"octets")
    for scheme in ("rsa-sha2-256", "ikev1-rsa"):
        with pytest.raises(KeyHolderError, match="another kind"):
            keys.sign(handle, scheme, bytes(20))


def test_a_private_key_that_is_not_kept_signs_no_more():
    keys, key = KeyHolder(), rsa.generate_private_key(65537, 2048)
    handle = keys.hold(pem(key))
    keys.sign(handle, "ikev1-rsa", bytes(20))
    keys.keep_only([])
    with pytest.raises(KeyHolderError, match="no such key"):
        keys.sign(handle, "ikev1-rsa", bytes(20))
    assert not keys._private
