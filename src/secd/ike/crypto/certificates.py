"""X.509 certificates as IKEv2 uses them: whom to trust, and for whom a certificate speaks (RFC 4945, RFC 5280 §6).

`cryptography.x509.verification` knows only the web's algorithms and refuses Ed25519, so the path is walked here: by
`certificate_paths`; `certificate_names` says whose certificate it is; `revocation` reads CRLs.

Octets and the epoch's seconds in; what was found, or a `CertificateError` in words, out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha1

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secd.ike.crypto import certificate_names, certificate_paths, revocation
from secd.ike.crypto.errors import CertificateError

MAX_CERTIFICATES = 16  # that a peer sends
MAX_OCTETS = 16_384  # of one of them


@dataclass(frozen=True, slots=True)
class Trust:
    """Certification authorities and their revocation lists, read once.

    `partial`: an authority that was itself certified by another one may end a path (`set cert_partial_chain`).
    """

    authorities: tuple[x509.Certificate, ...] = field(repr=False)
    crls: tuple[x509.CertificateRevocationList, ...] = field(default=(), repr=False)
    partial: bool = False

    @classmethod
    def load(cls, authorities: Iterable[bytes], crls: Iterable[bytes] = (), *, partial: bool = False) -> Trust:
        """Read authorities and CRLs, each DER."""
        return cls(
            tuple(load_certificate(each) for each in authorities),
            tuple(revocation.load_crl(each) for each in crls),
            partial,
        )

    @property
    def authority_hashes(self) -> tuple[bytes, ...]:
        """What CERTREQ lists: a 20-octet hash of each authority's key (RFC 7296 §3.7)."""
        return tuple(key_hash(each) for each in self.authorities)


@dataclass(frozen=True, slots=True)
class Verified:
    """A peer's certificate that may be believed: it is `identity`'s, and `public_key` verifies its AUTH.

    `subject` is for people; `warnings` say what does not refuse it but should be looked at.
    """

    public_key: PublicKeyTypes = field(repr=False)
    subject: str
    chain: tuple[bytes, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()


def load_certificate(der: bytes) -> x509.Certificate:
    """Read a certificate, DER."""
    if len(der) > MAX_OCTETS:
        raise CertificateError(f"a certificate of {len(der)} octets, {MAX_OCTETS} are the most taken")
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate_names.subject_text(certificate)
        certificate_paths.read(certificate)
    except Exception as error:  # whatever the library finds: hostile octets bring out more than it documents
        raise CertificateError(f"not a certificate that can be read ({type(error).__name__})") from None
    return certificate


def certificates_in(data: bytes) -> list[bytes]:
    """Every certificate of a file, PEM (one or more) or DER, as DER."""
    try:
        if b"-----BEGIN" in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
    except Exception as error:
        raise CertificateError(f"no certificate, neither PEM nor DER ({type(error).__name__})") from None
    return [each.public_bytes(Encoding.DER) for each in found]


def key_hash(certificate: x509.Certificate) -> bytes:
    """SHA-1 of the SubjectPublicKeyInfo: how CERTREQ names an authority (RFC 7296 §3.7)."""
    octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha1(octets, usedforsecurity=False).digest()


def verify_certificate(trust: Trust, received: Sequence[bytes], id_type: int, id_data: bytes, now: float) -> Verified:
    """Check a peer's certificates (DER, its own first, others in any order) against the identity that it claims.

    `id_type` and `id_data` are the ID payload's; `now` in seconds of the epoch.  `CertificateError` says in words what
    is wrong: no path to an authority, out of date, revoked, a CA's or another purpose's certificate, another identity.
    """
    if not received:
        raise CertificateError("the peer sent no certificate")
    if len(received) > MAX_CERTIFICATES:
        raise CertificateError(f"{len(received)} certificates, {MAX_CERTIFICATES} are the most taken")
    moment = datetime.fromtimestamp(now, UTC)
    leaf = load_certificate(received[0])
    certificate_paths.check_leaf(leaf, moment)
    certificate_names.check_identity(leaf, id_type, id_data)
    others = [load_certificate(each) for each in received[1:]]
    path = certificate_paths.find_path(leaf, others, trust.authorities, moment, partial=trust.partial)
    warnings = revocation.check(path, trust.crls, moment)
    chain = tuple(each.public_bytes(Encoding.DER) for each in path)
    return Verified(leaf.public_key(), certificate_names.subject_text(leaf), chain, tuple(warnings))
