"""Authorities, certificates and revocation lists for tests; keys are made once, since that takes its time."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from secd.ike.wire.distinguished_names import name_from_text

#: The time of the tests' calendar (`Network.epoch`).
TODAY = datetime.fromtimestamp(1_790_000_000, UTC)
DAY = timedelta(days=1)


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The key called `name`."""
    return rsa.generate_private_key(65537, bits)


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """What the key holder is given."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki(key: rsa.RSAPrivateKey) -> bytes:
    """The public key, as files hold it."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def dn(text: str) -> bytes:
    """DER of a name."""
    return name_from_text(text)


def general(name: str) -> x509.GeneralName:
    """A subject alternative name, by what it looks like."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


@dataclass
class Authority:
    """A certification authority."""

    name: str = "Root"
    issuer: Authority | None = None
    days: int = 365
    revoked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = rsa_key(f"CA {self.name}")
        self.subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{self.name} CA")])
        self.certificate = self._issue(self.issuer or self, self.subject, self.key, ca=True, days=self.days)

    @property
    def der(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    def leaf(
        self, *names: str, key: rsa.RSAPrivateKey, subject: str = "", days: int = 30, since: int = 30
    ) -> x509.Certificate:
        """A certificate for `key`, good from `since` days ago until `days` from today."""
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject or names[0])])
        return self._issue(self, name, key, ca=False, days=days, since=since, names=names)

    def crl(self, *revoked: x509.Certificate, days: int = 30) -> bytes:
        """A revocation list."""
        builder = x509.CertificateRevocationListBuilder(issuer_name=self.subject)
        builder = builder.last_update(TODAY - 60 * DAY).next_update(TODAY + days * DAY)
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(TODAY - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    @staticmethod
    def _issue(
        issuer: Authority, subject: x509.Name, key: rsa.RSAPrivateKey, *, ca: bool, days: int, since: int = 30,
        names: tuple[str, ...] = (),
    ) -> x509.Certificate:  # fmt: skip
        builder = x509.CertificateBuilder(issuer.subject, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(TODAY - since * DAY).not_valid_after(TODAY + days * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([general(each) for each in names]), False)
        return builder.sign(issuer.key, hashes.SHA256())


def der(certificate: x509.Certificate) -> bytes:
    """The octets of a certificate."""
    return certificate.public_bytes(Encoding.DER)
