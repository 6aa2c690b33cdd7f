"""Octets of files to keys, certificates and revocation lists; what is none of them is told in words.

`cryptography` may raise much on hostile octets; all of it ends here as `DecodeError`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key, load_pem_public_key

from secd.ike.wire.distinguished_names import name_to_text

MAX_IN_FILE = 64  # certificates of one file
_CRL_BEGIN = b"-----BEGIN X509 CRL-----"
_CRL_END = b"-----END X509 CRL-----"

T = TypeVar("T")


class DecodeError(Exception):
    """It is not what it should be; the text says what was expected."""


def certificates(data: bytes) -> list[x509.Certificate]:
    """Read certificates: PEM, any number, or DER, one."""
    if b"-----BEGIN" in data:
        found = _attempt(lambda: x509.load_pem_x509_certificates(data), "certificates in PEM or DER")
        if len(found) > MAX_IN_FILE:
            raise DecodeError(f"more than {MAX_IN_FILE} certificates")
    else:
        found = [_attempt(lambda: x509.load_der_x509_certificate(data), "certificates in PEM or DER")]
    for each in found:
        _attempt(partial(_read_lazy_parts, each), "certificates in PEM or DER")
    return found


def crls(data: bytes) -> list[x509.CertificateRevocationList]:
    """Read revocation lists: PEM, any number, or DER, one."""
    if _CRL_BEGIN not in data:
        return [_attempt(lambda: x509.load_der_x509_crl(data), "a revocation list in PEM or DER")]
    parts = [_CRL_BEGIN + part.partition(_CRL_END)[0] + _CRL_END + b"\n" for part in data.split(_CRL_BEGIN)[1:]]
    if len(parts) > MAX_IN_FILE:
        raise DecodeError(f"more than {MAX_IN_FILE} revocation lists")
    return [_attempt(partial(x509.load_pem_x509_crl, part), "a revocation list in PEM or DER") for part in parts]


def private_key(data: bytes) -> PrivateKeyTypes:
    """Read a private key in PEM that has no password."""
    return _attempt(lambda: load_pem_private_key(data, None), "a private key in PEM, without a password")


def public_key(data: bytes) -> PublicKeyTypes:
    """Read a public key in PEM or DER."""
    load = load_pem_public_key if b"-----BEGIN" in data else load_der_public_key
    return _attempt(lambda: load(data), "a public key in PEM or DER")


def alternative_names(certificate: x509.Certificate) -> list[tuple[str, str]]:
    """Give the names that a certificate is for, as type and text of `secd.sadb.messages.Identity`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    found: list[tuple[str, str]] = []
    for name in names:
        if isinstance(name, x509.DNSName):
            found.append(("fqdn", name.value))
        elif isinstance(name, x509.RFC822Name):
            found.append(("ufqdn", name.value))
        elif isinstance(name, x509.IPAddress) and isinstance(name.value, ipaddress.IPv4Address | ipaddress.IPv6Address):
            found.append(("prefix", f"{name.value}/{name.value.max_prefixlen}"))
    return found


def identities_of(certificate: x509.Certificate) -> list[str]:
    """Give what may stand after srcid with this certificate."""
    names = [text.partition("/")[0] if kind == "prefix" else text for kind, text in alternative_names(certificate)]
    return [*names, name_of(certificate.subject)]


def name_of(name: x509.Name) -> str:
    """Write a distinguished name as iked.conf(5) has it."""
    return name_to_text(name.public_bytes())


def issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Say whether `issuer` has signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _read_lazy_parts(certificate: x509.Certificate) -> None:
    """Read what the library reads only when it is asked for, so that it fails here if it does."""
    for part in ("public_key", "extensions", "subject", "issuer", "not_valid_after_utc"):
        value = getattr(certificate, part)
        if callable(value):
            value()


def _attempt(load: Callable[[], T], expected: str) -> T:
    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension) as error:
        raise DecodeError(f"not {expected}") from error
