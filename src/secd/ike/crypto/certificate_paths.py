"""From a peer's certificate to an authority that is trusted (RFC 5280 §6.1, RFC 4945 §5.1.3).

What is not understood and critical is refused; certificate policies are not, so what demands them is refused, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from secd.ike.crypto import name_constraints
from secd.ike.crypto.certificate_names import subject_text
from secd.ike.crypto.errors import CertificateError
from secd.ike.crypto.signature_schemes import LARGEST_RSA_KEY, SMALLEST_RSA_KEY
from secd.ike.wire.distinguished_names import name_to_text

_E = TypeVar("_E", bound=x509.ExtensionType)

MAX_DEPTH = 8  # certificates of a path
MAX_SIGNATURES = 32  # verified in search of one

#: RFC 4945 §5.1.3.12 has id-kp-ipsecIKE; certificates in use have the web's purposes.
_PURPOSES = {
    ExtendedKeyUsageOID.IPSEC_IKE,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ObjectIdentifier("1.3.6.1.5.5.7.3.5"),  # ipsecEndSystem, obsolete
    ObjectIdentifier("1.3.6.1.5.5.7.3.6"),  # ipsecTunnel, obsolete
}
_UNDERSTOOD = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.NameConstraints,
    x509.CertificatePolicies,
)
_KEYS = (RSAPublicKey, EllipticCurvePublicKey, Ed25519PublicKey, Ed448PublicKey)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def read(certificate: x509.Certificate) -> None:
    """Make the library, which reads lazily, read all that is asked for later; it raises whatever it raises."""
    certificate.public_key()
    _ = (certificate.extensions, certificate.issuer, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    _ = certificate.signature_hash_algorithm
    _ = certificate.version


def check_leaf(leaf: x509.Certificate, now: datetime) -> None:
    """Refuse what no peer may show as its own, whoever has signed it."""
    who = f"the peer's certificate {subject_text(leaf)}"
    _check_common(leaf, who, now)
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise CertificateError(f"{who} is that of a certification authority")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise CertificateError(f"{who} is not meant for signatures: keyUsage has no digitalSignature")
    _check_purpose(leaf, who)


def find_path(
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    now: datetime,
    *,
    partial: bool = False,
) -> list[x509.Certificate]:
    """The certificates from `leaf` (checked before) to one of `authorities`; `CertificateError` if there is no way."""
    search = _Search(others, authorities, now, partial=partial)
    path = search.extend([leaf])
    if path is None:
        why = search.why or f"nobody called {name_to_text(leaf.issuer.public_bytes())} is known"
        raise CertificateError(
            f"no path from the peer's certificate {subject_text(leaf)} to a trusted authority: {why}"
        )
    return path


class _Search:
    """Depth first, with a bound on what a hostile pile of certificates can cost."""

    def __init__(
        self,
        others: Sequence[x509.Certificate],
        authorities: Sequence[x509.Certificate],
        now: datetime,
        *,
        partial: bool,
    ) -> None:
        self._anchors = [each for each in authorities if partial or each.subject == each.issuer]
        self._between = [*others, *(each for each in authorities if each not in self._anchors)]
        self._now = now
        self._left = MAX_SIGNATURES
        self.why = ""

    def extend(self, path: list[x509.Certificate]) -> list[x509.Certificate] | None:
        """The path, as far as an authority."""
        for candidate in self._anchors:
            if self._issued(path, candidate):
                return [*path, candidate]
        if len(path) + 1 < MAX_DEPTH:
            for candidate in self._between:
                if candidate not in path and self._issued(path, candidate):
                    found = self.extend([*path, candidate])
                    if found is not None:
                        return found
        return None

    def _issued(self, path: list[x509.Certificate], candidate: x509.Certificate) -> bool:
        """Whether `candidate` has signed the last of `path`, and may have."""
        subject = path[-1]
        if candidate.subject != subject.issuer:
            return False
        try:
            _check_authority(candidate, path, self._now)
            self._check_signature(subject, candidate)
        except CertificateError as error:
            self.why = str(error)
            return False
        return True

    def _check_signature(self, subject: x509.Certificate, issuer: x509.Certificate) -> None:
        if not self._left:
            raise CertificateError(f"more than {MAX_SIGNATURES} signatures would have to be looked at")
        self._left -= 1
        hash_ = subject.signature_hash_algorithm
        if hash_ is not None and not isinstance(hash_, _HASHES):
            raise CertificateError(f"{subject_text(subject)} is signed with {hash_.name}, which is too weak")
        try:
            subject.verify_directly_issued_by(issuer)
        except Exception:  # whatever the library finds in the two
            raise CertificateError(
                f"{subject_text(subject)} was not signed with the key of {subject_text(issuer)}"
            ) from None


def _check_authority(authority: x509.Certificate, path: Sequence[x509.Certificate], now: datetime) -> None:
    who = f"the authority {subject_text(authority)}"
    _check_common(authority, who, now)
    constraints = _extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise CertificateError(f"{who} is none: basicConstraints does not say CA")
    usage = _extension(authority, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise CertificateError(f"{who} may not sign certificates: keyUsage has no keyCertSign")
    # those issued to oneself do not count, nor does the leaf (RFC 5280 §6.1.4 l)
    between = sum(each.subject != each.issuer for each in path[1:])
    if constraints.path_length is not None and between > constraints.path_length:
        raise CertificateError(f"{who} allows {constraints.path_length} authorities below it, there are {between}")
    _check_purpose(authority, who)
    limits = _extension(authority, x509.NameConstraints)
    if limits is not None:
        for index, each in enumerate(path):
            if index == 0 or each.subject != each.issuer:
                name_constraints.check(each, limits, who)


def _check_common(certificate: x509.Certificate, who: str, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise CertificateError(f"{who} is valid from {_date(certificate.not_valid_before_utc)} on, now is {_date(now)}")
    if now > certificate.not_valid_after_utc:
        raise CertificateError(f"{who} was valid until {_date(certificate.not_valid_after_utc)}, now is {_date(now)}")
    if certificate.version != x509.Version.v3:
        raise CertificateError(f"{who} is of X.509 {certificate.version.name}, expected v3")
    for each in certificate.extensions:
        if each.critical and not isinstance(each.value, _UNDERSTOOD):
            raise CertificateError(f"{who} has a critical extension that is not understood: {each.oid.dotted_string}")
    key = certificate.public_key()
    if not isinstance(key, _KEYS):
        raise CertificateError(f"{who} has a key of an unknown kind: expected RSA, ECDSA or Ed25519")
    if isinstance(key, RSAPublicKey) and not SMALLEST_RSA_KEY <= key.key_size <= LARGEST_RSA_KEY:
        limits = f"{SMALLEST_RSA_KEY} to {LARGEST_RSA_KEY}"
        raise CertificateError(f"{who} has an RSA key of {key.key_size} bits, expected {limits}")


def _check_purpose(certificate: x509.Certificate, who: str) -> None:
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and not _PURPOSES.intersection(purposes):
        named = ", ".join(each.dotted_string for each in purposes)
        raise CertificateError(f"{who} is for other purposes ({named}): expected ipsecIKE, serverAuth or clientAuth")


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
