"""Keys and certificates as iked keeps them: which of them a policy gets, and what is told when one does not fit."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from secd.cli.ikectl_pki import Authority, make_key, public_pem
from secd.conf.iked.certificates import Store
from secd.conf.iked.credentials import Credentials, CredentialsError
from secd.ike.wire.distinguished_names import name_from_text
from secd.sadb.messages import Identity

GW = Identity("fqdn", "gw.example.com")
PEER = Identity("fqdn", "peer.example.com")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that has certified a few; keys on a curve are made at once."""
    authority = Authority(tmp_path_factory.mktemp("ssl") / "vpn")
    authority.create("secret")
    for host in ("gw.example.com", "10.0.0.1", "2001:db8::1", "me@example.com"):
        authority.create_key(host, "ecdsa256")
        authority.certify(host, "")
    return authority


@pytest.fixture
def place(tmp_path: Path, made: Authority) -> Path:
    """/etc/iked with the key and certificate of gw.example.com."""
    for name in ("private", "certs", "ca", "crls", "pubkeys/fqdn", "pubkeys/ipv4"):
        (tmp_path / name).mkdir(parents=True)
    become(tmp_path, made, "gw.example.com")
    (tmp_path / "ca/ca.crt").write_bytes(made.certificate_path.read_bytes())
    (tmp_path / "crls/ca.crl").write_bytes(made.crl_path.read_bytes())
    return tmp_path


def become(place: Path, made: Authority, host: str) -> None:
    key = place / "private/local.key"
    key.write_bytes(made.host_key(host).read_bytes())
    key.chmod(0o600)
    (place / f"certs/{host}.crt").write_bytes(made.host_certificate(host).read_bytes())


def credentials(
    place: Path, srcid: Identity = GW, words: str = "", dstid: Identity | None = None, method: str = "any"
) -> Credentials:
    return Store(place).credentials(srcid, words or srcid.text, dstid, method)  # type: ignore[arg-type]


def refusal(place: Path, srcid: Identity = GW, **rest: str) -> str:
    with pytest.raises(CredentialsError) as raised:
        credentials(place, srcid, **rest)
    return str(raised.value)


def test_the_certificate_is_that_of_our_key_and_identity(place: Path, made: Authority):
    found = credentials(place)
    assert found.chain == (made.load_host_certificate("gw.example.com").public_bytes(Encoding.DER),)
    assert found.authorities == (made.certificate().public_bytes(Encoding.DER),)
    assert found.crls == (made.crl().public_bytes(Encoding.DER),)
    assert found.private_key == made.host_key("gw.example.com").read_bytes()
    assert (found.peer_keys, found.warnings) == ((), ())
    assert repr(found) == "Credentials()"


@pytest.mark.parametrize(
    ("host", "identity"),
    [
        ("10.0.0.1", Identity("prefix", "10.0.0.1/32")),
        ("2001:db8::1", Identity("prefix", "2001:db8::1/128")),
        ("me@example.com", Identity("ufqdn", "me@example.com")),
        ("gw.example.com", Identity("fqdn", "GW.example.COM")),
    ],
)
def test_every_kind_of_identity_is_found_in_a_certificate(place: Path, made: Authority, host: str, identity: Identity):
    become(place, made, host)
    assert credentials(place, identity).chain == (made.load_host_certificate(host).public_bytes(Encoding.DER),)


def test_a_distinguished_name_is_sent_in_the_octets_of_the_certificate(place: Path, made: Authority):
    words = "/CN=GW.example.com"  # another spelling of the same name
    found = credentials(place, Identity("asn1_dn", f"0x{name_from_text(words).hex()}"), words)
    subject = made.load_host_certificate("gw.example.com").subject
    assert found.srcid == Identity("asn1_dn", f"0x{subject.public_bytes().hex()}")


def test_a_certificate_for_somebody_else_is_told(place: Path):
    said = refusal(place, Identity("fqdn", "other.example.com"))
    assert said.startswith("srcid other.example.com: ")
    assert said.endswith("it is for /CN=gw.example.com, gw.example.com")


def test_a_key_that_cannot_sign_this_way_is_told(place: Path):
    assert refusal(place, method="rsa").endswith(
        "is an ECDSA key on secp256r1: rsa signatures need another: leave rsa out"
    )
    assert "ecdsa384 signatures need another" in refusal(place, method="ecdsa384")
    assert credentials(place, method="ecdsa256").chain
    assert credentials(place, method="rfc7427").chain


def test_without_a_certificate_the_public_key_has_to_be_known(place: Path):
    (place / "certs/gw.example.com.crt").unlink()
    assert credentials(place).chain == ()


def test_the_peers_public_key_is_trusted_without_a_certificate(place: Path, made: Authority):
    (place / "ca/ca.crt").unlink()
    assert refusal(place, dstid=PEER).endswith(f"or the peer's public key into {place}/pubkeys/fqdn/peer.example.com")
    assert "and its name into dstid" in refusal(place)
    key = made.load_host_key("10.0.0.1")
    (place / "pubkeys/fqdn/peer.example.com").write_bytes(public_pem(key))
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert credentials(place, dstid=PEER).peer_keys == (spki,)
    (place / "pubkeys/ipv4/10.0.0.1").write_bytes(public_pem(key))
    assert credentials(place, dstid=Identity("prefix", "10.0.0.1/32")).peer_keys == (spki,)


def test_certificates_between_ours_and_the_root_go_along(tmp_path: Path):
    """A root, a signer under it, and us under the signer, made by openssl."""
    for name in ("private", "certs", "ca"):
        (tmp_path / name).mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    def certify(name: str, issuer: str | None, extension: str) -> None:
        (tmp_path / "ext").write_text(extension)
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        by = ["-signkey", f"{name}.key"] if issuer is None else ["-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"]
        openssl("x509", "-req", "-in", f"{name}.csr", *by, "-CAcreateserial", "-extfile", "ext", "-out", f"{name}.crt")

    certify("root", None, "basicConstraints=critical,CA:true")
    certify("signer", "root", "basicConstraints=critical,CA:true")
    certify("gw.example.com", "signer", "subjectAltName=DNS:gw.example.com")
    for source, target in (
        ("gw.example.com.crt", "certs/own"),
        ("signer.crt", "certs/signer"),
        ("root.crt", "ca/root"),
    ):
        (tmp_path / target).write_bytes((tmp_path / source).read_bytes())
    key = tmp_path / "private/local.key"
    key.write_bytes((tmp_path / "gw.example.com.key").read_bytes())
    key.chmod(0o600)
    subjects = [x509.load_der_x509_certificate(each).subject.rfc4514_string() for each in credentials(tmp_path).chain]
    assert subjects == ["CN=gw.example.com", "CN=signer"]


def test_what_has_ended_is_warned_of(place: Path, made: Authority, monkeypatch: pytest.MonkeyPatch):
    from secd.conf.iked import certificates

    class Later(certificates.datetime):  # type: ignore[misc, name-defined]
        @classmethod
        def now(cls, tz=None):  # type: ignore[no-untyped-def]
            return super().now(tz).replace(year=super().now(tz).year + 20)

    monkeypatch.setattr(certificates, "datetime", Later)
    warnings = credentials(place).warnings
    assert warnings[0].startswith("the certificate of CN=gw.example.com has ended on ")
    assert "this revocation list was to be replaced on " in warnings[1]


@pytest.mark.parametrize("name", ["private/local.key", "certs/gw.example.com.crt", "ca/ca.crt", "crls/ca.crl"])
def test_a_file_that_is_not_what_it_should_be_is_named(place: Path, name: str):
    (place / name).write_text("nonsense")
    assert refusal(place).startswith(f"{place}/{name}: not ")


def test_a_private_key_that_others_can_read_is_refused(place: Path):
    (place / "private/local.key").chmod(0o644)
    assert "group writable or world read/writable" in refusal(place)


def test_a_key_with_a_password_and_a_curve_that_is_not_there_are_told(place: Path):
    key = place / "private/local.key"
    odd = ec.generate_private_key(ec.SECP256K1())
    key.write_bytes(odd.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert refusal(place).endswith("RSA, ECDSA on P-256, P-384 or P-521, and Ed25519 keys are possible")
    key.write_bytes(b"")
    assert refusal(place).endswith("not a private key in PEM, without a password")
    key.unlink()
    assert refusal(place).startswith(f"no key to sign with at {key}: write psk")


def test_an_ed25519_key_signs_by_rfc_7427_only(place: Path):
    key = place / "private/local.key"
    key.write_bytes(make_key("ed25519").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert credentials(place, method="rfc7427").chain == ()
    assert "is an Ed25519 key: ecdsa256 signatures need another" in refusal(place, method="ecdsa256")


def test_the_hash_of_a_certificate_is_never_weak(made: Authority):
    assert isinstance(made.load_host_certificate("gw.example.com").signature_hash_algorithm, hashes.SHA256)


def test_a_certificate_that_is_too_large_for_a_policy_is_named(place: Path):
    key, name, day = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), timedelta(days=1)
    now = datetime.now(UTC)
    hosts = x509.SubjectAlternativeName([x509.DNSName(f"host{number}.example.com") for number in range(500)])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + day).add_extension(hosts, critical=True)
    large = place / "certs/large.crt"
    large.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    assert refusal(place).startswith(f"{large}: a certificate of 1")
    assert "8192 are possible" in refusal(place)
