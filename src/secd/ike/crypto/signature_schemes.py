"""Signatures in IKEv2's AUTH payload: RFC 7427 (method 14) and the methods before it, 1 and 9 to 11.

A scheme's name is what `secd.ike.contract.ComputeSignature` asks the key holder for; `sign` is what that does with it.
An AlgorithmIdentifier is compared with the encodings that there are, never parsed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from secd.ike.crypto.errors import InvalidSignature, UnsupportedAlgorithm
from secd.ike.wire.ikev2.iana import AuthMethod, HashAlgorithm

SMALLEST_RSA_KEY = 2048  # bits
LARGEST_RSA_KEY = 8192  # a stranger's key must not cost us much

Kind = Literal["rsa", "rsa-pss", "ecdsa", "ed25519"]
PrivateKey = RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = PublicKeyTypes

_HASHES: Mapping[HashAlgorithm, hashes.HashAlgorithm] = {
    HashAlgorithm.SHA1: hashes.SHA1(),  # noqa: S303 (`RSA_SHA1` says for whom)
    HashAlgorithm.SHA2_256: hashes.SHA256(),
    HashAlgorithm.SHA2_384: hashes.SHA384(),
    HashAlgorithm.SHA2_512: hashes.SHA512(),
}
_HASH_OIDS = {
    HashAlgorithm.SHA2_256: bytes.fromhex("608648016503040201"),
    HashAlgorithm.SHA2_384: bytes.fromhex("608648016503040202"),
    HashAlgorithm.SHA2_512: bytes.fromhex("608648016503040203"),
}
_RSA_OIDS = {
    HashAlgorithm.SHA2_256: bytes.fromhex("2a864886f70d01010b"),
    HashAlgorithm.SHA2_384: bytes.fromhex("2a864886f70d01010c"),
    HashAlgorithm.SHA2_512: bytes.fromhex("2a864886f70d01010d"),
}
_ECDSA_OIDS = {
    HashAlgorithm.SHA2_256: bytes.fromhex("2a8648ce3d040302"),
    HashAlgorithm.SHA2_384: bytes.fromhex("2a8648ce3d040303"),
    HashAlgorithm.SHA2_512: bytes.fromhex("2a8648ce3d040304"),
}
_PSS_OID = bytes.fromhex("2a864886f70d01010a")
_MGF1_OID = bytes.fromhex("2a864886f70d010108")
_ED25519_OID = bytes.fromhex("2b6570")
_NULL = b"\x05\x00"

#: Methods 9 to 11 fix curve and hash (RFC 4754 §3).
_ECDSA_METHODS: Mapping[int, tuple[type[ec.EllipticCurve], HashAlgorithm]] = {
    AuthMethod.ECDSA_SHA_256: (ec.SECP256R1, HashAlgorithm.SHA2_256),
    AuthMethod.ECDSA_SHA_384: (ec.SECP384R1, HashAlgorithm.SHA2_384),
    AuthMethod.ECDSA_SHA_512: (ec.SECP521R1, HashAlgorithm.SHA2_512),
}


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to sign.  `hash` is what the peer must have listed in SIGNATURE_HASH_ALGORITHMS.

    `identifiers`: the DER encodings of its AlgorithmIdentifier; the first is what we send (RFC 7427 App. A).
    """

    name: str
    kind: Kind
    hash: HashAlgorithm
    identifiers: tuple[bytes, ...] = field(repr=False)


def _tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return bytes((tag, len(body))) + body  # nothing here is longer than 127 octets


def _pss_identifier(hash_: HashAlgorithm, *, null: bool) -> bytes:
    """RSASSA-PSS with MGF1 over the same hash and a salt of the hash's size; RFC 4055 §2.1 lets the NULLs be absent."""
    digest = _tlv(0x30, _tlv(0x06, _HASH_OIDS[hash_]), _NULL if null else b"")
    mgf = _tlv(0x30, _tlv(0x06, _MGF1_OID), digest)
    salt = _tlv(0x02, bytes((_HASHES[hash_].digest_size,)))
    parameters = _tlv(0x30, _tlv(0xA0, digest), _tlv(0xA1, mgf), _tlv(0xA2, salt))
    return _tlv(0x30, _tlv(0x06, _PSS_OID), parameters)


def _all() -> Iterator[Scheme]:
    yield Scheme("ed25519", "ed25519", HashAlgorithm.IDENTITY, (_tlv(0x30, _tlv(0x06, _ED25519_OID)),))
    for hash_, oid in _ECDSA_OIDS.items():
        yield Scheme(f"ecdsa-{_words(hash_)}", "ecdsa", hash_, (_tlv(0x30, _tlv(0x06, oid)),))
    for hash_, oid in _RSA_OIDS.items():
        with_null, without = _tlv(0x30, _tlv(0x06, oid), _NULL), _tlv(0x30, _tlv(0x06, oid))
        yield Scheme(f"rsa-{_words(hash_)}", "rsa", hash_, (with_null, without))
    for hash_ in _RSA_OIDS:
        encodings = (_pss_identifier(hash_, null=True), _pss_identifier(hash_, null=False))
        yield Scheme(f"rsa-pss-{_words(hash_)}", "rsa-pss", hash_, encodings)


def _words(hash_: HashAlgorithm) -> str:
    return hash_.name.lower().replace("_", "-")


SCHEMES: dict[str, Scheme] = {each.name: each for each in _all()}
_BY_IDENTIFIER = {encoding: each for each in SCHEMES.values() for encoding in each.identifiers}

#: Method 1 as RFC 7296 §3.8 has it, and as peers without RFC 7427 make and expect it.  RFC 8247 §3.2 forbids SHA-1 in
#: signatures: it is for a policy that says `rsa`, nobody else.
RSA_SHA1 = Scheme("rsa-sha1", "rsa", HashAlgorithm.SHA1, ())
SHA1_PROBLEM = "one with SHA-1, which must not be used (RFC 8247 §3.2): make the peer speak RFC 7427"

#: What we list in SIGNATURE_HASH_ALGORITHMS.
ACCEPTED_HASHES: tuple[HashAlgorithm, ...] = (
    HashAlgorithm.SHA2_256,
    HashAlgorithm.SHA2_384,
    HashAlgorithm.SHA2_512,
    HashAlgorithm.IDENTITY,
)


# -- the key holder's part --------------------------------------------------------------------------------


def load_private_key(data: bytes) -> PrivateKey:
    """A private key without a password, PEM or DER; `UnsupportedAlgorithm` says what is wrong with it."""
    try:
        if b"-----BEGIN" in data:
            key = serialization.load_pem_private_key(data, None)
        else:
            key = serialization.load_der_private_key(data, None)
    except TypeError:
        raise UnsupportedAlgorithm("the private key has a password: expected one without") from None
    except (ValueError, exceptions.UnsupportedAlgorithm):
        raise UnsupportedAlgorithm("not a private key: expected PKCS #8 or PKCS #1, PEM or DER") from None
    if not isinstance(key, PrivateKey):
        raise UnsupportedAlgorithm("a private key of an unknown kind: expected RSA, ECDSA or Ed25519")
    _check_rsa_size(key)
    return key


def sign(key: PrivateKey, scheme: str, data: bytes) -> bytes:
    """Sign `data` (the signed octets themselves); `UnsupportedAlgorithm` if the key cannot sign so.

    An ECDSA signature is DER, as RFC 7427 has it; `raw_ecdsa` makes that of methods 9 to 11 out of it.
    """
    entry = RSA_SHA1 if scheme == RSA_SHA1.name else SCHEMES.get(scheme)
    if entry is None:
        raise UnsupportedAlgorithm(f"signature scheme {scheme}: expected one of {', '.join(SCHEMES)}")
    if isinstance(key, Ed25519PrivateKey) and entry.kind == "ed25519":
        return key.sign(data)
    if isinstance(key, ec.EllipticCurvePrivateKey) and entry.kind == "ecdsa":
        return key.sign(data, ec.ECDSA(_HASHES[entry.hash]))
    if isinstance(key, RSAPrivateKey) and entry.kind in ("rsa", "rsa-pss"):
        return key.sign(data, _rsa_padding(entry), _HASHES[entry.hash])
    raise UnsupportedAlgorithm(f"signature scheme {scheme}: the private key is of another kind")


# -- what the machine asks for ----------------------------------------------------------------------------


def load_public_key(spki: bytes) -> PublicKeyTypes:
    """A public key out of its SubjectPublicKeyInfo, DER; `InvalidSignature` says what is wrong with it."""
    try:
        return serialization.load_der_public_key(spki)
    except (ValueError, exceptions.UnsupportedAlgorithm):
        raise InvalidSignature("a public key that is known of the peer cannot be read") from None


def schemes_for(key: PublicKeyTypes, peer_hashes: Collection[int], *, pss: bool = False) -> tuple[Scheme, ...]:
    """How the owner of `key` may sign for a peer that listed `peer_hashes`, the best choice first.

    RSA with PKCS #1 v1.5 comes before PSS, which not every peer has, unless `pss`.
    """
    kinds: tuple[Kind, ...]
    if isinstance(key, Ed25519PublicKey):
        kinds = ("ed25519",)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kinds = ("ecdsa",)
    elif isinstance(key, RSAPublicKey):
        kinds = ("rsa-pss", "rsa") if pss else ("rsa", "rsa-pss")
    else:
        return ()
    found = [each for kind in kinds for each in SCHEMES.values() if each.kind == kind and each.hash in peer_hashes]
    if isinstance(key, ec.EllipticCurvePublicKey):
        found.sort(key=lambda each: abs(_HASHES[each.hash].digest_size * 8 - key.curve.key_size))
    return tuple(found)


def old_method_for(key: PublicKeyTypes) -> tuple[AuthMethod, Scheme] | None:
    """How the owner of `key` signs for a peer without RFC 7427: method and scheme; None if that cannot be done."""
    if isinstance(key, RSAPublicKey):
        return AuthMethod.RSA_DIGITAL_SIGNATURE, RSA_SHA1
    if isinstance(key, ec.EllipticCurvePublicKey):
        for method, (curve, hash_) in _ECDSA_METHODS.items():
            if isinstance(key.curve, curve):
                return AuthMethod(method), SCHEMES[f"ecdsa-{_words(hash_)}"]
    return None


def auth_data(scheme: Scheme, signature: bytes) -> bytes:
    """The data of an AUTH payload of method DIGITAL_SIGNATURE (RFC 7427 §3)."""
    identifier = scheme.identifiers[0]
    return bytes((len(identifier),)) + identifier + signature


def raw_ecdsa(key: PublicKeyTypes, signature: bytes) -> bytes:
    """r | s, each as long as the curve's order (RFC 4754 §3), of a DER signature of our own."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UnsupportedAlgorithm("not an ECDSA key")
    octets = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(signature)
    return r.to_bytes(octets, "big") + s.to_bytes(octets, "big")


def uses_pss(method: int, data: bytes) -> bool:
    """Whether the data of an AUTH payload is an RSA signature padded as PSS, or at least says so."""
    try:
        return method == AuthMethod.DIGITAL_SIGNATURE and _split(data)[0].kind == "rsa-pss"
    except InvalidSignature:
        return False


def verify(method: int, data: bytes, key: PublicKeyTypes, signed: bytes, *, sha1: bool = False) -> Scheme:
    """Check the data of an AUTH payload over the signed octets; `InvalidSignature` says what is wrong.

    Gives the scheme that it was made with, for the log; `RSA_SHA1` only with `sha1`.
    """
    _check_rsa_size(key)
    if method == AuthMethod.DIGITAL_SIGNATURE:
        scheme, signature = _split(data)
        if not _verifies(scheme, key, signature, signed):
            raise InvalidSignature(f"the signature ({scheme.name}) was not made with this key over these octets")
        return scheme
    if method == AuthMethod.RSA_DIGITAL_SIGNATURE:
        for scheme in (RSA_SHA1, *(each for each in SCHEMES.values() if each.kind == "rsa")):
            if _verifies(scheme, key, data, signed):
                if scheme is RSA_SHA1 and not sha1:
                    raise InvalidSignature(f"its RSA signature is {SHA1_PROBLEM}, or write `rsa` to do so all the same")
                return scheme
        raise InvalidSignature("the RSA signature was not made with this key over these octets")
    if method in _ECDSA_METHODS:
        return _verify_ecdsa(method, data, key, signed)
    raise InvalidSignature(f"authentication method {method} is none of 1, 9, 10, 11 and 14")


def _verify_ecdsa(method: int, data: bytes, key: PublicKeyTypes, signed: bytes) -> Scheme:
    curve, hash_ = _ECDSA_METHODS[method]
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, curve):
        raise InvalidSignature(f"authentication method {method} wants a key on {curve.name}, which this is not")
    octets = (key.curve.key_size + 7) // 8
    if len(data) != 2 * octets:
        raise InvalidSignature(f"a signature of {len(data)} octets, expected {2 * octets}")
    der = encode_dss_signature(int.from_bytes(data[:octets], "big"), int.from_bytes(data[octets:], "big"))
    scheme = SCHEMES[f"ecdsa-{_words(hash_)}"]
    if not _verifies(scheme, key, der, signed):
        raise InvalidSignature("the ECDSA signature was not made with this key over these octets")
    return scheme


def _split(data: bytes) -> tuple[Scheme, bytes]:
    """Scheme and signature of RFC 7427 §3's authentication value."""
    octets = data[0] if data else 0
    identifier, signature = data[1 : 1 + octets], data[1 + octets :]
    if not octets or len(identifier) != octets or not signature:
        raise InvalidSignature("the AUTH payload holds no AlgorithmIdentifier and signature")
    scheme = _BY_IDENTIFIER.get(identifier)
    if scheme is None:
        raise InvalidSignature(
            f"a signature of unknown or refused algorithm {identifier[:80].hex()}: expected {', '.join(SCHEMES)}"
        )
    return scheme, signature


def _verifies(scheme: Scheme, key: PublicKeyTypes, signature: bytes, signed: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey) and scheme.kind == "ed25519":
            key.verify(signature, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and scheme.kind == "ecdsa":
            key.verify(signature, signed, ec.ECDSA(_HASHES[scheme.hash]))
        elif isinstance(key, RSAPublicKey) and scheme.kind in ("rsa", "rsa-pss"):
            key.verify(signature, signed, _rsa_padding(scheme), _HASHES[scheme.hash])
        else:
            return False
    except (exceptions.InvalidSignature, ValueError):
        return False
    return True


def _rsa_padding(scheme: Scheme) -> padding.AsymmetricPadding:
    if scheme.kind == "rsa":
        return padding.PKCS1v15()
    hash_ = _HASHES[scheme.hash]
    return padding.PSS(padding.MGF1(hash_), hash_.digest_size)


def _check_rsa_size(key: PrivateKey | PublicKeyTypes) -> None:
    if isinstance(key, RSAPrivateKey | RSAPublicKey) and not SMALLEST_RSA_KEY <= key.key_size <= LARGEST_RSA_KEY:
        problem = f"an RSA key of {key.key_size} bits, expected {SMALLEST_RSA_KEY} to {LARGEST_RSA_KEY}"
        raise InvalidSignature(problem) if isinstance(key, RSAPublicKey) else UnsupportedAlgorithm(problem)
