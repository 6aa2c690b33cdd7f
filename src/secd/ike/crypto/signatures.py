"""RSA signatures as IKEv1 makes them: over the bare hash, without naming the hash function (RFC 2409 §5.1)."""

from __future__ import annotations

import hmac

from cryptography import exceptions
from cryptography.exceptions import UnsupportedAlgorithm as NotInLibrary
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.hazmat.primitives.serialization import load_der_public_key

from secd.ike.crypto.certificates import load_certificate
from secd.ike.crypto.errors import InvalidSignature, UnsupportedAlgorithm
from secd.ike.crypto.hashes import HASHES
from secd.ike.crypto.signature_schemes import PrivateKey

#: What `secd.ike.contract.ComputeSignature` calls these signatures.
SCHEME = "ikev1-rsa"
SMALLEST_KEY = 1024  # bits
#: A stranger's key must not cost us much.
LARGEST_KEY = 8192

#: Nothing else is signed: a DigestInfo, which has another size, would make a signature that others take for theirs.
_OCTETS = {each.octets for each in HASHES.values()}


def sign_hash(key: PrivateKey, hash_: bytes) -> bytes:
    """Sign HASH_I or HASH_R: PKCS #1 v1.5 padding around the hash itself; `UnsupportedAlgorithm` if that cannot be."""
    if not isinstance(key, RSAPrivateKey):
        raise UnsupportedAlgorithm("IKEv1 signs with RSA: the private key is of another kind")
    if len(hash_) not in _OCTETS:
        raise UnsupportedAlgorithm(f"{len(hash_)} octets to be signed, which no hash has")
    return key.sign(hash_, PKCS1v15(), NoDigestInfo())


def verify_hash(key: RSAPublicKey, hash_: bytes, signature: bytes) -> None:
    """Check a signature of HASH_I or HASH_R; `InvalidSignature` unless it is one.

    The library undoes the padding, which must be whole, and the rest must be the hash and nothing else: nothing in
    the signature is parsed, so nothing can be hidden in it.
    """
    if not SMALLEST_KEY <= key.key_size <= LARGEST_KEY:
        raise InvalidSignature(f"an RSA key of {key.key_size} bits, expected {SMALLEST_KEY} to {LARGEST_KEY}")
    try:
        recovered = key.recover_data_from_signature(signature, PKCS1v15(), NoDigestInfo())
    except (exceptions.InvalidSignature, ValueError):
        raise InvalidSignature("the signature was not made with this key") from None
    if not hmac.compare_digest(recovered, hash_):
        raise InvalidSignature("the signature was made over another hash")


def verify_by_certificate(der: bytes, hash_: bytes, signature: bytes) -> None:
    """Check a signature with the key of a certificate, whoever that belongs to.

    `CertificateError` for octets that are no certificate, else `InvalidSignature`.
    """
    _verify(load_certificate(der).public_key(), hash_, signature)


def verify_by_key(spki: bytes, hash_: bytes, signature: bytes) -> None:
    """Check a signature with a public key (SubjectPublicKeyInfo); `InvalidSignature` unless it was made with it."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, NotInLibrary):
        raise InvalidSignature("the public key cannot be read") from None
    _verify(key, hash_, signature)


def _verify(key: PublicKeyTypes, hash_: bytes, signature: bytes) -> None:
    if not isinstance(key, RSAPublicKey):
        raise InvalidSignature("IKEv1 signs with RSA: the key is of another kind")
    verify_hash(key, hash_, signature)
