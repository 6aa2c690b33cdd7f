"""RSA signatures over a bare hash, as IKEv1 makes them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from secd.ike.crypto.errors import InvalidSignature
from secd.ike.crypto.signatures import sign_hash, verify_hash

HASH = bytes(range(20))


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def power(key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    """What a forger who has the key could send: any block, raised to the private exponent."""
    numbers = key.private_numbers()
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(256, "big")


def padded(rest: bytes, block_type: int = 1, fill: int = 0xFF) -> bytes:
    return bytes((0, block_type)) + bytes((fill,)) * (256 - 3 - len(rest)) + b"\x00" + rest


def test_a_signature_is_the_hash_in_pkcs_1_padding_and_nothing_else(key: rsa.RSAPrivateKey) -> None:
    signature = sign_hash(key, HASH)
    assert signature == power(key, padded(HASH))
    verify_hash(key.public_key(), HASH, signature)


def test_another_hash_is_not_signed(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(InvalidSignature, match="another hash"):
        verify_hash(key.public_key(), HASH[:-1] + b"\x00", sign_hash(key, HASH))


def test_a_digest_info_around_the_hash_is_refused(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(InvalidSignature, match="another hash"):
        verify_hash(key.public_key(), HASH, key.sign(HASH, PKCS1v15(), SHA1()))


@pytest.mark.parametrize(
    "block",
    [
        padded(HASH, block_type=2),
        padded(HASH, fill=0x11),
        bytes((0, 1)) + b"\xff" * 8 + b"\x00" + HASH + bytes(256 - 31),
        bytes((0, 1)) + b"\x00" * 253 + b"\x01",
        bytes(236) + HASH,
    ],
    ids=["encryption padding", "not ones", "garbage behind the hash", "no padding", "zeros"],
)
def test_another_padding_is_refused(key: rsa.RSAPrivateKey, block: bytes) -> None:
    with pytest.raises(InvalidSignature):
        verify_hash(key.public_key(), HASH, power(key, block))


@pytest.mark.parametrize("signature", [b"", b"\x00" * 256, b"\xff" * 256, b"\x00" * 255, b"\x01" * 257])
def test_octets_that_are_no_signature_are_refused(key: rsa.RSAPrivateKey, signature: bytes) -> None:
    with pytest.raises(InvalidSignature):
        verify_hash(key.public_key(), HASH, signature)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_recovers_the_bare_hash(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command = ["openssl", "pkeyutl", "-verifyrecover", "-inkey", str(pem), "-pkeyopt", "rsa_padding_mode:pkcs1"]
    done = subprocess.run(command, input=sign_hash(key, HASH), capture_output=True, check=True)
    assert done.stdout == HASH
