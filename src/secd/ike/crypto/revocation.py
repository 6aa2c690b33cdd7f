"""Certificate revocation lists (RFC 5280 §5, §6.3), as far as files hold them: whole ones, of the issuer itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x448 import X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from secd.ike.crypto.certificate_names import subject_text
from secd.ike.crypto.errors import CertificateError


def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """Read a CRL, PEM or DER."""
    try:
        crl = x509.load_pem_x509_crl(data) if b"-----BEGIN" in data else x509.load_der_x509_crl(data)
        _ = (crl.extensions, crl.issuer, crl.next_update_utc)
    except Exception as error:
        raise CertificateError(f"not a CRL that can be read ({type(error).__name__})") from None
    return crl


def check(path: Sequence[x509.Certificate], crls: Sequence[x509.CertificateRevocationList], now: datetime) -> list[str]:
    """Refuse a path (leaf first, authority last) of which a certificate is revoked; gives warnings.

    A CRL that is out of date still revokes what it names; that it may not name all is a warning.
    """
    warnings: list[str] = []
    for certificate, issuer in pairwise(path):
        for crl in crls:
            if crl.issuer != certificate.issuer:
                continue
            problem = _unusable(crl, issuer)
            if problem:
                warnings.append(f"the CRL of {subject_text(issuer)} is not used: {problem}")
                continue
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
            if entry is not None:
                when = f"{entry.revocation_date_utc:%Y-%m-%d}"
                raise CertificateError(f"the certificate {subject_text(certificate)} was revoked on {when}")
            if crl.next_update_utc is not None and crl.next_update_utc < now:
                date = f"{crl.next_update_utc:%Y-%m-%d %H:%M:%S}"
                warnings.append(f"the CRL of {subject_text(issuer)} should have been replaced on {date} UTC")
    return warnings


def _unusable(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> str:
    for each in crl.extensions:
        if each.critical:
            return f"it has the critical extension {each.oid.dotted_string}, which is not understood"
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.crl_sign:
        return "its issuer may not sign CRLs: keyUsage has no cRLSign"
    return "" if _signed_by(crl, issuer) else "it was not signed with its issuer's key"


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    if isinstance(key, X25519PublicKey | X448PublicKey):
        return False  # for key agreement alone
    try:
        return crl.is_signature_valid(key)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
