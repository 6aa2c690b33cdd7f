"""Certificates and CRLs that strongSwan's pki makes are read, and judged as OpenSSL judges them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from secd.ike.crypto.certificates import Trust, certificates_in, verify_certificate
from secd.ike.crypto.errors import CertificateError
from secd.ike.crypto.signature_schemes import SCHEMES, auth_data, load_private_key, schemes_for, sign, verify
from secd.ike.wire.ikev2.iana import AuthMethod, IdType

FQDN = (int(IdType.ID_FQDN), b"gw.example")


def pki(folder: Path, out: str, *arguments: str) -> bytes:
    """Run pki, and keep what it says as the file `out`."""
    done = subprocess.run(
        ["pki", *arguments, "--outform", "pem"], cwd=folder, capture_output=True, timeout=30, check=True
    )
    (folder / out).write_bytes(done.stdout)
    return done.stdout


class Authority:
    """A root, an authority below it and a gateway, of one kind of key."""

    def __init__(self, folder: Path, kind: str, between: tuple[str, ...] = (), leaf: tuple[str, ...] = ()):
        self.folder = folder
        for who in ("root", "between", "leaf"):
            size = {"rsa": ["--size", "2048"], "ecdsa": ["--size", "384"]}.get(kind, [])
            pki(folder, f"{who}.key", "--gen", "--type", kind, *size)
        pki(folder, "root.pem", "--self", "--ca", "--in", "root.key", "--dn", "C=AU, O=T, CN=root")
        self.issue("between", "root", "--ca", "--dn", "C=AU, O=T, CN=between", *between)
        self.issue("leaf", "between", "--dn", "C=AU, O=T, CN=gw", "--san", "gw.example", "--san", "192.0.2.1",
                   "--flag", "serverAuth", *leaf)  # fmt: skip

    def issue(self, who: str, issuer: str, *arguments: str) -> None:
        pki(self.folder, f"{who}.pem", "--issue", "--type", "priv", "--in", f"{who}.key", "--cacert", f"{issuer}.pem",
            "--cakey", f"{issuer}.key", *arguments)  # fmt: skip

    def der(self, who: str) -> bytes:
        return certificates_in((self.folder / f"{who}.pem").read_bytes())[0]

    def judge(self, *crls: bytes) -> tuple[str, ...]:
        trust = Trust.load([self.der("root")], crls)
        found = verify_certificate(trust, [self.der("leaf"), self.der("between")], *FQDN, time.time())
        private = load_private_key((self.folder / "leaf.key").read_bytes())
        scheme = schemes_for(found.public_key, [each.hash for each in SCHEMES.values()])[0]
        data = auth_data(scheme, sign(private, scheme.name, b"signed octets"))
        assert verify(AuthMethod.DIGITAL_SIGNATURE, data, found.public_key, b"signed octets") is scheme
        return (found.subject, scheme.name, *found.warnings)

    def openssl_believes(self) -> bool:
        command = ["openssl", "verify", "-policy_check", "-CAfile", "root.pem", "-untrusted", "between.pem", "leaf.pem"]
        return subprocess.run(command, cwd=self.folder, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.mark.parametrize(
    ("kind", "scheme"), [("rsa", "rsa-sha2-256"), ("ecdsa", "ecdsa-sha2-384"), ("ed25519", "ed25519")]
)
def test_a_chain_and_its_revocation(tmp_path: Path, kind: str, scheme: str) -> None:
    made = Authority(tmp_path, kind)
    assert made.openssl_believes()
    assert made.judge() == ("/C=AU/O=T/CN=gw", scheme)
    empty = pki(tmp_path, "empty.crl", "--signcrl", "--cacert", "between.pem", "--cakey", "between.key")
    assert made.judge(empty) == ("/C=AU/O=T/CN=gw", scheme)
    crl = pki(tmp_path, "crl", "--signcrl", "--cacert", "between.pem", "--cakey", "between.key", "--cert", "leaf.pem",
              "--reason", "key-compromise")  # fmt: skip
    with pytest.raises(CertificateError, match="/C=AU/O=T/CN=gw was revoked on"):
        made.judge(crl)


def test_signatures_with_pss(tmp_path: Path) -> None:
    made = Authority(tmp_path, "rsa", between=("--rsa-padding", "pss"), leaf=("--rsa-padding", "pss"))
    assert made.openssl_believes()
    assert made.judge() == ("/C=AU/O=T/CN=gw", "rsa-sha2-256")


def test_signatures_with_sha1_are_too_weak(tmp_path: Path) -> None:
    made = Authority(tmp_path, "rsa", leaf=("--digest", "sha1"))
    with pytest.raises(CertificateError, match="CN=gw is signed with sha1, which is too weak"):
        made.judge()


@pytest.mark.parametrize(
    ("constraint", "words"),
    [(["--pathlen", "0"], "allows 0 authorities below it"), (["--policy-explicit", "0"], "can be read")],
)
def test_what_openssl_refuses_is_refused(tmp_path: Path, constraint: list[str], words: str) -> None:
    if "--pathlen" in constraint:  # --self has none: the root certifies a root with it
        made = Authority(tmp_path, "ed25519")
        pki(tmp_path, "root.pem", "--issue", "--type", "priv", "--in", "root.key", "--cacert", "root.pem", "--cakey",
            "root.key", "--ca", "--dn", "C=AU, O=T, CN=root", *constraint)  # fmt: skip
    else:
        made = Authority(tmp_path, "ed25519", between=tuple(constraint))
    assert not made.openssl_believes()
    with pytest.raises(CertificateError, match=words):
        made.judge()


@pytest.mark.parametrize(
    ("constraint", "fine"),
    [
        (["--nc-permitted", "dns:example"], True),
        (["--nc-permitted", "dns:other"], False),
        (["--nc-excluded", "dns:gw.example"], False),
        (["--nc-excluded", "dns:other"], True),
    ],
)
def test_name_constraints_are_judged_alike(tmp_path: Path, constraint: list[str], fine: bool) -> None:
    made = Authority(tmp_path, "ed25519", between=tuple(constraint))
    assert made.openssl_believes() == fine
    if fine:
        assert made.judge() == ("/C=AU/O=T/CN=gw", "ed25519")
    else:
        with pytest.raises(CertificateError, match=r"certify gw\.example"):
            made.judge()
