"""`ikectl ca`: what it makes, checked by openssl, and who may read it."""

from __future__ import annotations

import json
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from secd.cli import ikectl

HOST = "gw.example.com"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> int:
    return ikectl.main(["--etc", ".", *words])


def openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def vpn() -> Path:
    assert run("ca", "vpn", "create", "password", "secret") == 0
    assert run("ca", "vpn", "certificate", HOST, "create", "ecdsa256") == 0
    return Path("ssl/vpn")


def test_what_is_secret_is_for_its_owner_alone(vpn: Path):
    modes = {str(path.relative_to(vpn)): stat.S_IMODE(path.stat().st_mode) for path in vpn.rglob("*")}
    assert modes == {
        "ca.crt": 0o644, "ca.crl": 0o644, f"{HOST}.crt": 0o644, "ikeca.passwd": 0o600, "private": 0o700,
        "private/ca.key": 0o600, f"private/{HOST}.key": 0o600,
    }  # fmt: skip
    assert "ENCRYPTED" in (vpn / "private/ca.key").read_text()


def test_openssl_believes_the_certificates(vpn: Path):
    assert openssl("verify", "-CAfile", f"{vpn}/ca.crt", f"{vpn}/{HOST}.crt").endswith(": OK\n")
    assert openssl("verify", "-x509_strict", "-CAfile", f"{vpn}/ca.crt", f"{vpn}/{HOST}.crt").endswith(": OK\n")
    text = openssl("x509", "-in", f"{vpn}/{HOST}.crt", "-noout", "-text")
    assert f"DNS:{HOST}" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    assert "CA:FALSE" in text
    assert (
        openssl("rsa", "-in", f"{vpn}/private/ca.key", "-passin", "pass:secret", "-check", "-noout") == "RSA key ok\n"
    )


@pytest.mark.parametrize(
    ("host", "shown"),
    [("192.0.2.1", "IP Address:192.0.2.1"), ("2001:db8::1", "IP Address:2001:DB8"), ("a@example.com", "email:a@ex")],
)
def test_a_host_may_be_an_address_or_a_user(vpn: Path, host: str, shown: str):
    assert run("ca", "vpn", "certificate", host, "create", "server", "ed25519") == 0
    text = openssl("x509", "-in", f"{vpn}/{host}.crt", "-noout", "-text")
    assert shown in text
    assert "ED25519" in text
    assert "Client Authentication" not in text


def test_a_revoked_certificate_is_on_the_list_and_its_successor_has_another_key(vpn: Path):
    old = (vpn / f"private/{HOST}.key").read_bytes()
    assert run("ca", "vpn", "certificate", HOST, "revoke") == 0
    check = ("verify", "-crl_check", "-CAfile", f"{vpn}/ca.crt", "-CRLfile", f"{vpn}/ca.crl", f"{vpn}/{HOST}.crt")
    assert "certificate revoked" in openssl(*check)
    assert run("ca", "vpn", "certificate", HOST, "revoke") == 1
    assert run("ca", "vpn", "certificate", HOST, "create", "ecdsa256") == 0
    assert openssl(*check).endswith(": OK\n")
    assert (vpn / f"private/{HOST}.key").read_bytes() != old


def test_installed_it_is_where_policies_look_for_it(vpn: Path, capsys: pytest.CaptureFixture[str]):
    assert run("ca", "vpn", "install") == 0
    assert run("ca", "vpn", "certificate", HOST, "install") == 0
    conf = Path("iked.conf")
    conf.write_text(f"ikev2 from any to any srcid {HOST} iface sec0\n")
    conf.chmod(0o600)
    capsys.readouterr()
    assert run("check") == 0
    assert capsys.readouterr().out == "configuration OK\n"
    assert run("show", "certstore") == 0
    shown = capsys.readouterr().out
    assert "ca: /CN=vpn CA\n" in shown
    assert f"certificate: /CN={HOST}\n" in shown
    assert run("--json", "show", "ca") == 0
    assert [each["kind"] for each in json.loads(capsys.readouterr().out)] == ["ca"]


def test_an_export_is_unpacked_in_etc_iked(vpn: Path):
    assert run("ca", "vpn", "certificate", HOST, "export", "peer", "192.0.2.1", "password", "x") == 0
    archive = Path(f"{HOST}.tgz")
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as tar:
        modes = {each.name: each.mode for each in tar}
    assert modes == {
        "ca/ca.crt": 0o644, "crls/ca.crl": 0o644, f"certs/{HOST}.crt": 0o644, "private/local.key": 0o600,
        "local.pub": 0o644, f"export/{HOST}.pfx": 0o600, "export/peer.txt": 0o644,
    }  # fmt: skip
    with tarfile.open(archive) as tar:
        tar.extractall("unpacked", filter="data")
    pfx = openssl("pkcs12", "-in", f"unpacked/export/{HOST}.pfx", "-passin", "pass:x", "-nokeys")
    assert pfx.count("BEGIN CERTIFICATE") == 2
    assert run("ca", "vpn", "export") == 0
    with tarfile.open("vpn.tgz") as tar:
        assert sorted(tar.getnames()) == ["ca/ca.crt", "crls/ca.crl"]


def test_keys_may_come_from_elsewhere(vpn: Path):
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "own.key")
    assert run("ca", "vpn", "key", "b.example.com", "import", "own.key") == 0
    assert run("ca", "vpn", "certificate", "b.example.com", "create") == 0
    public = openssl("x509", "-in", f"{vpn}/b.example.com.crt", "-noout", "-pubkey")
    assert public == openssl("pkey", "-in", "own.key", "-pubout")
    assert run("ca", "vpn", "key", "b.example.com", "delete") == 0
    assert run("ca", "vpn", "key", "b.example.com", "delete") == 1


def test_what_was_made_is_listed(vpn: Path, capsys: pytest.CaptureFixture[str]):
    assert run("show", "ca", "vpn", "certificates") == 0
    assert capsys.readouterr().out.startswith(f"{HOST}: serial ")
    assert run("ca", "vpn", "certificate", HOST, "revoke") == 0
    assert run("ca", "vpn", "show", HOST) == 0
    assert capsys.readouterr().out.endswith(" revoked\n")
    assert run("--json", "show", "ca", "vpn", "cert") == 0
    assert json.loads(capsys.readouterr().out)[0]["revoked"] is True


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ca", "other", "certificate", HOST, "create"], "no authority in ssl/other: `ikectl ca other create`"),
        (["ca", "vpn", "create"], "ssl/vpn is an authority already"),
        (["ca", "vpn", "certificate", HOST, "create"], f"ssl/vpn/{HOST}.crt is there already: revoke or delete it"),
        (["ca", "vpn", "certificate", "x.example.com", "revoke"], "ssl/vpn/x.example.com.crt: No such file"),
        (["ca", "vpn", "certificate", "x.example.com", "export"], "ssl/vpn/x.example.com.crt: No such file"),
        (["ca", "vpn", "key", "x.example.com", "import", "iked.conf"], "iked.conf: No such file or directory"),
        (["ca", "../x", "create"], "'../x': a name is letters, digits"),
        (["ca", "vpn", "certificate", "a/b", "create"], "'a/b': a name is letters, digits"),
        (["ca", "vpn", "certificate", "ca", "create"], "no host can be called ca"),
    ],
)
def test_what_cannot_be_is_told(vpn: Path, words: list[str], told: str, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert run(*words) == 1
    assert capsys.readouterr().err.startswith(f"ikectl: {told}")


def test_nothing_is_left_of_a_deleted_authority(vpn: Path):
    assert run("ca", "vpn", "delete") == 0
    assert not vpn.exists()
    assert run("ca", "vpn", "delete") == 1
