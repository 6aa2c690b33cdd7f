"""A small certificate authority in a directory, laid out as OpenBSD's ikectl(8) does in /etc/ssl/NAME.

    ca.crt  ca.crl  ikeca.passwd  private/ca.key  HOST.crt  private/HOST.key

The authority's key is encrypted with the password in ikeca.passwd; everything secret is for its owner alone.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secd.cli.output import CommandError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

#: Days that certificates are good for, and a revocation list until the next one.
CA_DAYS, HOST_DAYS, CRL_DAYS = 3650, 365, 365
RSA_BITS = 3072
#: Clocks differ: what is made now is good since so long ago.
_EARLIER = timedelta(minutes=5)

KEY_KINDS = ("rsa", "ecdsa256", "ecdsa384", "ecdsa521", "ed25519")
_CURVES = {"ecdsa256": ec.SECP256R1(), "ecdsa384": ec.SECP384R1(), "ecdsa521": ec.SECP521R1()}
_USAGES = {
    "": (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    "server": (ExtendedKeyUsageOID.SERVER_AUTH,),
    "client": (ExtendedKeyUsageOID.CLIENT_AUTH,),
    "ocsp": (ExtendedKeyUsageOID.OCSP_SIGNING,),
}  # fmt: skip
USAGES = tuple(usage for usage in _USAGES if usage)


class Authority:
    """One authority; errors are `CommandError`."""

    def __init__(self, directory: Path) -> None:
        """Take what is in `directory`, which need not be there yet."""
        self.directory = directory
        self.certificate_path = directory / "ca.crt"
        self.crl_path = directory / "ca.crl"

    @property
    def exists(self) -> bool:
        """Whether it has been made."""
        return self.certificate_path.exists()

    def host_certificate(self, host: str) -> Path:
        """Where the certificate of `host` is kept."""
        return self.directory / f"{host}.crt"

    def host_key(self, host: str) -> Path:
        """Where the key of `host` is kept."""
        return self.directory / "private" / f"{host}.key"

    def hosts(self) -> list[str]:
        """Name those who have a certificate."""
        return sorted(path.stem for path in self.directory.glob("*.crt") if path.name != "ca.crt")

    # -- making -------------------------------------------------------------------------------------------

    def create(self, password: str | None) -> None:
        """Make key, certificate and an empty revocation list."""
        if self.exists:
            raise CommandError(f"{self.directory} is an authority already: `ikectl ca {self.directory.name} delete`")
        for directory in (self.directory, self.directory / "private"):
            make_directory(directory)
        password = password or secrets.token_urlsafe(24)
        write_file(self.directory / "ikeca.passwd", f"{password}\n".encode(), secret=True)
        key = make_key("rsa")
        encryption = BestAvailableEncryption(password.encode())
        write_file(self.directory / "private/ca.key", key_pem(key, encryption), secret=True)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.directory.name} CA")])
        builder = _builder(name, name, key.public_key(), CA_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        write_file(self.certificate_path, builder.sign(key, _hash_for(key)).public_bytes(Encoding.PEM))
        self._write_crl(key, [])

    def create_key(self, host: str, kind: str) -> None:
        """Make a key for `host`, unless there is one; that of a revoked certificate may be known to others."""
        revoked = self.host_certificate(host).exists() and self.is_revoked(host)
        if revoked or not self.host_key(host).exists():
            write_file(self.host_key(host), key_pem(make_key(kind)), secret=True)

    def import_key(self, host: str, data: bytes) -> None:
        """Take a key that was made elsewhere."""
        write_file(self.host_key(host), key_pem(_load_key(data, None, "the key to import")), secret=True)

    def certify(self, host: str, usage: str) -> None:
        """Make a certificate for the key of `host`."""
        if self.host_certificate(host).exists() and not self.is_revoked(host):
            raise CommandError(f"{self.host_certificate(host)} is there already: revoke or delete it first")
        authority, key = self.certificate(), self._key()
        public = self.load_host_key(host).public_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        builder = _builder(subject, authority.subject, public, HOST_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage("digital_signature", "content_commitment"), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(_USAGES[usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        write_file(self.host_certificate(host), builder.sign(key, _hash_for(key)).public_bytes(Encoding.PEM))

    def revoke(self, host: str) -> None:
        """Put the certificate of `host` on the revocation list."""
        certificate = self.load_host_certificate(host)
        if self.is_revoked(host):
            raise CommandError(f"the certificate of {host} is revoked already")
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        self._write_crl(self._key(), [*self.crl(), entry.revocation_date(datetime.now(UTC)).build()])

    # -- reading ------------------------------------------------------------------------------------------

    def certificate(self) -> x509.Certificate:
        """Give the authority's certificate."""
        if not self.exists:
            raise CommandError(f"no authority in {self.directory}: `ikectl ca {self.directory.name} create`")
        return _load_certificate(self.certificate_path)

    def crl(self) -> x509.CertificateRevocationList:
        """Give the revocation list."""
        try:
            return x509.load_pem_x509_crl(read(self.crl_path))
        except ValueError as error:
            raise CommandError(f"{self.crl_path}: not a revocation list in PEM") from error

    def is_revoked(self, host: str) -> bool:
        """Say whether the certificate of `host` is on the list."""
        serial = self.load_host_certificate(host).serial_number
        return self.crl().get_revoked_certificate_by_serial_number(serial) is not None

    def load_host_certificate(self, host: str) -> x509.Certificate:
        """Give the certificate of `host`."""
        return _load_certificate(self.host_certificate(host))

    def load_host_key(self, host: str) -> PrivateKey:
        """Give the key of `host`."""
        return _load_key(read(self.host_key(host)), None, str(self.host_key(host)))

    def bundle(self, host: str, password: str) -> bytes:
        """Give key and certificates of `host` as PKCS #12, as other systems import them."""
        return pkcs12.serialize_key_and_certificates(
            host.encode(), self.load_host_key(host), self.load_host_certificate(host), [self.certificate()],
            BestAvailableEncryption(password.encode()),
        )  # fmt: skip

    def _key(self) -> PrivateKey:
        password = read(self.directory / "ikeca.passwd").strip()
        path = self.directory / "private/ca.key"
        return _load_key(read(path), password, str(path))

    def _write_crl(self, key: PrivateKey, revoked: Iterable[x509.RevokedCertificate]) -> None:
        now = datetime.now(UTC)
        number = _crl_number(self.crl()) + 1 if self.crl_path.exists() else 1
        builder = x509.CertificateRevocationListBuilder(issuer_name=self.certificate().subject)
        builder = builder.last_update(now - _EARLIER).next_update(now + timedelta(days=CRL_DAYS))
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(entry)
        write_file(self.crl_path, builder.sign(key, _hash_for(key)).public_bytes(Encoding.PEM))


# -- keys and files ---------------------------------------------------------------------------------------


def make_key(kind: str) -> PrivateKey:
    """Make a private key."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind])
    return rsa.generate_private_key(65537, RSA_BITS)


def key_pem(key: PrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    """Give a private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def public_pem(key: PrivateKey) -> bytes:
    """Give the public key as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read(path: Path) -> bytes:
    """Read a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def write_file(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Write a whole file or nothing; a secret one is for its owner alone from the beginning."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if secret else 0o644)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def make_directory(path: Path) -> None:
    """Make a directory and those above it; one called `private` is for its owner alone."""
    try:
        path.mkdir(mode=0o700 if path.name == "private" else 0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(read(path))
    except ValueError as error:
        raise CommandError(f"{path}: not a certificate in PEM") from error


def _load_key(data: bytes, password: bytes | None, what: str) -> PrivateKey:
    try:
        key = load_pem_private_key(data, password)
    except (ValueError, TypeError) as error:
        raise CommandError(f"{what}: not a private key in PEM, or under another password") from error
    if not isinstance(key, PrivateKey):
        raise CommandError(f"{what}: keys may be {', '.join(KEY_KINDS)}")
    return key


def _hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256:
        return hashes.SHA384() if key.key_size == 384 else hashes.SHA512()
    return hashes.SHA256()


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _EARLIER).not_valid_after(now + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _key_usage(*allowed: str) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in allowed for name in names})


def _general_name(host: str) -> x509.GeneralName:
    """Give the name that iked.conf's srcid is compared with."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.RFC822Name(host) if "@" in host else x509.DNSName(host)
    except ValueError as error:
        raise CommandError(f"{host}: {error}") from error


def _crl_number(crl: x509.CertificateRevocationList) -> int:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0
