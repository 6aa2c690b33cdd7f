"""Names that an authority may certify (RFC 5280 §4.2.1.10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cryptography import x509

from secd.ike.crypto.certificate_names import alternative_names, subject_text
from secd.ike.crypto.errors import CertificateError
from secd.ike.wire.cursor import WireError
from secd.ike.wire.distinguished_names import is_within


def check(certificate: x509.Certificate, limits: x509.NameConstraints, authority: str) -> None:
    """Refuse a certificate with a name outside of what is permitted, or within what is excluded."""
    permitted = limits.permitted_subtrees or ()
    excluded = limits.excluded_subtrees or ()
    for name in _names(certificate):
        for each in excluded:
            if type(each) is type(name) and _within(name, each):
                raise CertificateError(f"{authority} must not certify {name.value} of {subject_text(certificate)}")
        if not _permitted(name, permitted):
            raise CertificateError(f"{authority} may not certify {name.value} of {subject_text(certificate)}")


def _permitted(name: x509.GeneralName, permitted: Sequence[x509.GeneralName]) -> bool:
    """A kind of name of which nothing is permitted is not limited."""
    same = [each for each in permitted if type(each) is type(name)]
    return not same or any(_within(name, each) for each in same)


def _names(certificate: x509.Certificate) -> Iterator[x509.GeneralName]:
    if len(certificate.subject):
        yield x509.DirectoryName(certificate.subject)
    yield from alternative_names(certificate)


def _within(name: x509.GeneralName, base: x509.GeneralName) -> bool:
    if isinstance(name, x509.DNSName) and isinstance(base, x509.DNSName):
        return _within_domain(name.value, base.value)
    if isinstance(name, x509.RFC822Name) and isinstance(base, x509.RFC822Name):
        return _within_mail(name.value, base.value)
    if isinstance(name, x509.IPAddress) and isinstance(base, x509.IPAddress):
        address, network = name.value, base.value
        return (
            isinstance(address, IPv4Address | IPv6Address)
            and isinstance(network, IPv4Network | IPv6Network)
            and address.version == network.version
            and address in network
        )
    if isinstance(name, x509.DirectoryName) and isinstance(base, x509.DirectoryName):
        try:
            return is_within(name.value.public_bytes(), base.value.public_bytes())
        except WireError:
            raise CertificateError("a name of a certificate cannot be read") from None
    raise CertificateError(f"an authority limits names of a kind that is not understood ({type(name).__name__})")


def _within_domain(host: str, domain: str) -> bool:
    host, domain = host.lower(), domain.lower().removeprefix(".")
    return not domain or host == domain or host.endswith(f".{domain}")


def _within_mail(address: str, base: str) -> bool:
    """A mailbox, a host, or (with a leading dot) everything below a domain."""
    local, _, host = address.rpartition("@")
    base_local, at, base_host = base.rpartition("@")
    if at:
        return (local, host.lower()) == (base_local, base_host.lower())
    if base.startswith("."):
        return host.lower().endswith(base.lower())
    return host.lower() == base.lower()
