"""Keys and certificates where iked(8) keeps them: /etc/iked/{certs,ca,crls,private,pubkeys}.

`private/local.key` is our key.  `certs/` holds certificates, ours found by key and identity.  `ca/` holds the
authorities and those between; `crls/` what they revoked.  `pubkeys/{ipv4,ipv6,fqdn,ufqdn}/ID` are keys trusted without
a certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from secd.conf.iked import decode
from secd.conf.iked.credentials import Credentials, CredentialsError
from secd.conf.iked.decode import DecodeError
from secd.conf.iked.rules import SignatureMethod
from secd.conf.source import SourceError, read_file
from secd.ike.wire.distinguished_names import same_name
from secd.sadb.messages import Identity

MAX_FILES = 256  # of one directory
MAX_CHAIN, MAX_AUTHORITIES, MAX_CRLS = 8, 32, 8
MAX_KEY = 4096  # octets of PEM
MAX_CERTIFICATE = 8192  # octets of DER: `secd.ike.connection.Certificate`
SMALLEST_RSA = 2048  # bits

_CURVES: dict[str, str] = {"ecdsa256": "secp256r1", "ecdsa384": "secp384r1", "ecdsa521": "secp521r1"}

T = TypeVar("T")


class Store:
    """One directory; each part of it is read once, when it is first needed."""

    def __init__(self, directory: Path) -> None:
        """Read from `directory`."""
        self._directory = directory

    def credentials(self, srcid: Identity, words: str, dstid: Identity | None, method: SignatureMethod) -> Credentials:
        """Give what one policy needs to sign and to check signatures; raises CredentialsError.

        `words` are how `srcid` was written.
        """
        pem, key = self._private
        _check_key(self._directory / "private/local.key", key, method)
        own = self._own_certificate(srcid, words)
        chain = self._chain(own) if own else ()
        peer_keys = self._peer_keys(dstid)
        if not self.authorities and not peer_keys:
            raise CredentialsError(
                f"nothing to check the peer by: put a CA certificate into {self._directory}/ca, or the peer's public "
                f"key into {self._public_key_path(dstid) or f'{self._directory}/pubkeys, and its name into dstid'}"
            )
        return Credentials(
            _spelled(srcid, own),
            pem,
            _spki(key.public_key()),
            tuple(_der(certificate) for certificate in chain),
            tuple(_der(certificate) for _, certificate in self.authorities),
            tuple(_der(crl) for _, crl in self.crls),
            peer_keys,
            tuple(self._warnings(chain)),
        )

    # -- what there is ------------------------------------------------------------------------------------

    @cached_property
    def certificates(self) -> list[tuple[Path, x509.Certificate]]:
        """Every certificate of certs/."""
        return self._all("certs", _certificates, MAX_FILES)

    @cached_property
    def authorities(self) -> list[tuple[Path, x509.Certificate]]:
        """Every certificate of ca/."""
        return self._all("ca", _certificates, MAX_AUTHORITIES)

    @cached_property
    def crls(self) -> list[tuple[Path, x509.CertificateRevocationList]]:
        """Every revocation list of crls/."""
        return self._all("crls", decode.crls, MAX_CRLS)

    @cached_property
    def _private(self) -> tuple[bytes, PrivateKeyTypes]:
        path = self._directory / "private/local.key"
        if not path.exists():
            raise CredentialsError(f'no key to sign with at {path}: write psk "...", or make one: ikectl(8), ca')
        data = self._read(path, secret=True)
        if len(data) > MAX_KEY:
            raise CredentialsError(f"{path}: larger than {MAX_KEY} octets: use an RSA key of 4096 bits, or ECDSA")
        try:
            return data, decode.private_key(data)
        except DecodeError as error:
            raise CredentialsError(f"{path}: {error}") from error

    def _all(self, name: str, read: Callable[[bytes], list[T]], maximum: int) -> list[tuple[Path, T]]:
        directory = self._directory / name
        found: list[tuple[Path, T]] = []
        try:
            paths = sorted(path for path in directory.iterdir() if not path.name.startswith(".") and path.is_file())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CredentialsError(f"{directory}: {error.strerror}") from error
        if len(paths) > MAX_FILES:
            raise CredentialsError(f"{directory}: more than {MAX_FILES} files")
        for path in paths:
            try:
                found += [(path, each) for each in read(self._read(path))]
            except DecodeError as error:
                raise CredentialsError(f"{path}: {error}") from error
        if len(found) > maximum:
            raise CredentialsError(f"{directory}: more than {maximum} in all")
        return found

    def _read(self, path: Path, *, secret: bool = False) -> bytes:
        try:
            return read_file(str(path), secret=secret)
        except SourceError as error:
            raise CredentialsError(str(error)) from error

    # -- ours ---------------------------------------------------------------------------------------------

    def _own_certificate(self, srcid: Identity, words: str) -> x509.Certificate | None:
        """Give the certificate of our key that is for `srcid`; None when our key has none at all."""
        public = _spki(self._private[1].public_key())
        of_our_key = [(path, each) for path, each in self.certificates if _spki(each.public_key()) == public]
        matching = [each for _, each in of_our_key if names_identity(each, srcid)]
        if of_our_key and not matching:
            names = sorted({name for _, each in of_our_key for name in decode.identities_of(each)})
            raise CredentialsError(
                f"srcid {words}: {of_our_key[0][0]} is a certificate of {self._directory}/private/local.key, but "
                f"not for this identity: it is for {', '.join(names) or 'none'}"
            )
        now = datetime.now(UTC)
        return max(matching, key=lambda each: (each.not_valid_after_utc > now, each.not_valid_before_utc), default=None)

    def _chain(self, own: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """Give our certificate and those between it and the root."""
        known = [each for _, each in (*self.authorities, *self.certificates)]
        chain = [own]
        while len(chain) < MAX_CHAIN:
            issuer = next(
                (each for each in known if each.subject == chain[-1].issuer and decode.issued(each, chain[-1])), None
            )
            if issuer is None or issuer.subject == issuer.issuer or issuer in chain:
                break
            chain.append(issuer)
        return tuple(chain)

    def _warnings(self, chain: tuple[x509.Certificate, ...]) -> list[str]:
        now = datetime.now(UTC)
        said = [
            f"the certificate of {each.subject.rfc4514_string()} has ended on {_day(each.not_valid_after_utc)}"
            for each in chain
            if each.not_valid_after_utc < now
        ]
        return said + [
            f"{path}: this revocation list was to be replaced on {_day(crl.next_update_utc)}"
            for path, crl in self.crls
            if crl.next_update_utc is not None and crl.next_update_utc < now
        ]

    # -- the peer's ---------------------------------------------------------------------------------------

    def _peer_keys(self, dstid: Identity | None) -> tuple[bytes, ...]:
        path = self._public_key_path(dstid)
        if path is None or not path.exists():
            return ()
        try:
            return (_spki(decode.public_key(self._read(path))),)
        except DecodeError as error:
            raise CredentialsError(f"{path}: {error}") from error

    def _public_key_path(self, dstid: Identity | None) -> Path | None:
        if dstid is None or dstid.type not in ("prefix", "fqdn", "ufqdn"):
            return None
        text = dstid.text.partition("/")[0] if dstid.type == "prefix" else dstid.text
        if "/" in text or text.startswith("."):
            return None
        kind = ("ipv6" if ":" in text else "ipv4") if dstid.type == "prefix" else dstid.type
        return self._directory / "pubkeys" / kind / text


def names_identity(certificate: x509.Certificate, identity: Identity) -> bool:
    """Say whether `certificate` is for `identity`: a subject alternative name, or the subject for a name in DER."""

    if identity.type == "asn1_dn":
        return same_name(certificate.subject.public_bytes(), bytes.fromhex(identity.text.removeprefix("0x")))
    if identity.type == "fqdn":
        return identity.text.lower() in (
            name.lower() for kind, name in decode.alternative_names(certificate) if kind == "fqdn"
        )
    return (identity.type, identity.text) in decode.alternative_names(certificate)


def _spelled(srcid: Identity, own: x509.Certificate | None) -> Identity:
    """Give a distinguished name in the very octets of the certificate: peers compare octets."""
    return Identity("asn1_dn", f"0x{own.subject.public_bytes().hex()}") if own and srcid.type == "asn1_dn" else srcid


def _check_key(path: Path, key: PrivateKeyTypes, method: SignatureMethod) -> None:
    """Refuse a key that cannot sign the way the policy wants it."""

    if isinstance(key, RSAPrivateKey):
        kind, fits = f"an RSA key of {key.key_size} bits", method in ("any", "rsa", "rfc7427")
        if key.key_size < SMALLEST_RSA:
            raise CredentialsError(f"{path}: {kind}: {SMALLEST_RSA} bits are the least")
    elif isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES.values():
        kind, fits = f"an ECDSA key on {key.curve.name}", _CURVES.get(method, key.curve.name) == key.curve.name
        fits = fits and method != "rsa"
    elif isinstance(key, Ed25519PrivateKey):
        kind, fits = "an Ed25519 key", method in ("any", "rfc7427")
    else:
        raise CredentialsError(f"{path}: RSA, ECDSA on P-256, P-384 or P-521, and Ed25519 keys are possible")
    if not fits:
        raise CredentialsError(f"{path} is {kind}: {method} signatures need another: leave {method} out")


def _certificates(data: bytes) -> list[x509.Certificate]:
    """Read certificates of a size that a connection can have."""
    found = decode.certificates(data)
    largest = max((len(_der(each)) for each in found), default=0)
    if largest > MAX_CERTIFICATE:
        raise DecodeError(
            f"a certificate of {largest} octets, {MAX_CERTIFICATE} are possible: have it name fewer hosts"
        )
    return found


def _der(what: x509.Certificate | x509.CertificateRevocationList) -> bytes:

    return what.public_bytes(Encoding.DER)


def _spki(key: PublicKeyTypes) -> bytes:

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
