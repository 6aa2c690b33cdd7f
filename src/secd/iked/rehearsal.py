"""All cryptography used once, before the sandbox: what the library loads at first use it could not load afterwards."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from secd.ike.crypto import signature_schemes as schemes
from secd.ike.crypto import signatures
from secd.ike.crypto.certificates import Trust, verify_certificate
from secd.ike.crypto.errors import InvalidSignature
from secd.ike.crypto.groups import GROUPS
from secd.ike.crypto.ikev2_ciphers import MESSAGE_CIPHERS, DirectionKeys
from secd.ike.crypto.signature_schemes import PublicKey
from secd.ike.wire.ikev2.iana import AuthMethod, IdType

_NAME = "rehearsal.invalid"
#: A number of the right size is enough: nothing was signed with it.
_RSA = RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()


def rehearse() -> None:
    """Use once what iked uses."""
    for group in {type(each): each for each in reversed(GROUPS.values())}.values():  # the smallest of each kind
        pair = group.generate(os.urandom(group.seed_octets))
        answer = group.encapsulate(os.urandom(group.seed_octets), pair.public)
        group.shared(pair.private, answer.public)
    for cipher in MESSAGE_CIPHERS:
        keys = DirectionKeys(os.urandom(cipher.encryption_key_octets), os.urandom(cipher.integrity_key_octets))
        cipher.open(keys, b"", cipher.seal(keys, os.urandom(cipher.iv_octets), b"", bytes(cipher.block_octets)))
    _signatures()
    _certificates()
    thread = threading.Thread(target=os.getpid)
    thread.start()
    thread.join()


def _signatures() -> None:
    """Check signatures of every kind; those by elliptic curves are true ones."""
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        private = ec.generate_private_key(curve)
        _check(private.public_key(), {each: schemes.sign(private, each, b"") for each in _names("ecdsa")})
    signer = Ed25519PrivateKey.generate()
    _check(signer.public_key(), {"ed25519": schemes.sign(signer, "ed25519", b"")})
    _check(_RSA, dict.fromkeys((*_names("rsa"), *_names("rsa-pss")), bytes(256)))
    with suppress(InvalidSignature):
        schemes.verify(AuthMethod.RSA_DIGITAL_SIGNATURE, bytes(256), _RSA, b"", sha1=True)
    with suppress(InvalidSignature):
        signatures.verify_hash(_RSA, bytes(32), bytes(256))


def _names(kind: str) -> list[str]:
    return [each.name for each in schemes.SCHEMES.values() if each.kind == kind]


def _check(key: PublicKey, made: dict[str, bytes]) -> None:
    key = schemes.load_public_key(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    for name, signature in made.items():
        data = schemes.auth_data(schemes.SCHEMES[name], signature)
        with suppress(InvalidSignature):
            schemes.verify(AuthMethod.DIGITAL_SIGNATURE, data, key, b"")


def _certificates() -> None:
    """Have a certificate with all that certificates have judged, by an authority with a revocation list."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    root = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")])
    names = [x509.DNSName(_NAME), x509.RFC822Name(f"a@{_NAME}"), x509.IPAddress(ip_address("192.0.2.1"))]
    constraints = x509.NameConstraints([x509.DNSName("invalid")], None)
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)

    def certificate(name: str, *extensions: x509.ExtensionType) -> bytes:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        builder = x509.CertificateBuilder(root, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for each in extensions:
            builder = builder.add_extension(each, critical=True)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    authority = certificate("root", x509.BasicConstraints(True, None), usage, constraints)
    leaf = certificate(
        "leaf", usage, x509.SubjectAlternativeName(names), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.IPSEC_IKE])
    )
    crl = x509.CertificateRevocationListBuilder(root).last_update(now).next_update(now + timedelta(days=1))
    revoked = x509.RevokedCertificateBuilder(1, now).build()
    crls = [crl.add_revoked_certificate(revoked).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)]
    trust = Trust.load([authority], crls, partial=True)
    for id_type, data in (
        (IdType.ID_FQDN, _NAME.encode()), (IdType.ID_RFC822_ADDR, f"a@{_NAME}".encode()),
        (IdType.ID_IPV4_ADDR, ip_address("192.0.2.1").packed),
    ):  # fmt: skip
        verify_certificate(trust, [leaf], id_type, data, now.timestamp())
