"""ipsec.conf's `rsa`: keys and certificates in isakmpd's layout, names, and what is told when something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.pair.pki import Authority, dn, pem, rsa_key, spki

from secd.cli import ipsecctl
from secd.conf.iked.certificates import Store
from secd.conf.ipsec.compile import Compiled, compile_rules
from secd.conf.ipsec.grammar import parse_text
from secd.control.messages import AddConnection
from secd.ike.connection import PreSharedKey, Signature
from secd.sadb.messages import Identity

DAYS = 3650
ROOT = Authority("Root", days=DAYS)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """/etc/isakmpd with our key and nothing else."""
    directory = tmp_path / "isakmpd"
    for part in ("private", "certs", "ca", "crls", "pubkeys/ipv4", "pubkeys/fqdn"):
        (directory / part).mkdir(parents=True)
    key = directory / "private/local.key"
    key.write_bytes(pem(rsa_key("alice")))
    key.chmod(0o600)
    return directory


def public_pem(name: str) -> bytes:
    return rsa_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def certify(place: Path, *names: str, subject: str = "") -> None:
    (place / "ca/ca.crt").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    leaf = ROOT.leaf(*names, key=rsa_key("alice"), subject=subject, days=DAYS)
    (place / "certs/own.crt").write_bytes(leaf.public_bytes(Encoding.PEM))


def compiled(place: Path, words: str) -> Compiled:
    rules = parse_text(f"ike interface sec0 {words}\n").rules
    return compile_rules(rules, open_store=lambda: Store(place))


def one(place: Path, words: str) -> AddConnection:
    found = compiled(place, words)
    assert not found.diagnostics.errors, [str(each) for each in found.diagnostics.all]
    return found.connections[0]


def error(place: Path, words: str) -> str:
    (found,) = [each for each in compiled(place, words).diagnostics.all if each.severity == "error"]
    return str(found)


def test_raw_keys_are_found_by_the_peer_s_address(place: Path) -> None:
    (place / "pubkeys/ipv4/192.0.2.1").write_bytes(public_pem("bob"))
    rule = one(place, "peer 192.0.2.1")
    assert rule.connection.auth == Signature("sec0", peer_keys=(spki(rsa_key("bob")),), method="rsa")
    assert rule.secret == pem(rsa_key("alice"))
    assert rule.connection.srcid is None
    assert "PRIVATE" not in repr(rule)


def test_raw_keys_are_found_by_the_peer_s_name(place: Path) -> None:
    (place / "pubkeys/fqdn/gw.example.com").write_bytes(public_pem("bob"))
    auth = one(place, "peer any dstid gw.example.com rsa").connection.auth
    assert isinstance(auth, Signature)
    assert auth.peer_keys == (spki(rsa_key("bob")),)


def test_certificates_bring_chain_authorities_and_revocation_lists(place: Path) -> None:
    certify(place, "alice.example")
    (place / "crls/ca.crl").write_bytes(ROOT.crl(days=DAYS))
    connection = one(place, "peer 192.0.2.1 aggressive srcid alice.example dstid bob.example rsa").connection
    auth = connection.auth
    assert isinstance(auth, Signature)
    assert (len(auth.chain), auth.authorities, len(auth.crls)) == (1, (ROOT.der,), 1)
    assert (connection.exchange, connection.aggressive_psk) == ("aggressive", False)


@pytest.mark.parametrize("text", ['"/CN=Alice One"', '"CN=alice  one"'])
def test_a_distinguished_name_is_sent_as_the_certificate_spells_it(place: Path, text: str) -> None:
    certify(place, "alice.example", subject="Alice One")
    connection = one(place, f'peer 192.0.2.1 srcid {text} dstid "C=DE, CN=bob" rsa').connection
    assert connection.srcid == Identity("asn1_dn", f"0x{dn('/CN=Alice One').hex()}")
    assert connection.dstid == Identity("asn1_dn", f"0x{dn('/C=DE/CN=bob').hex()}")


def test_without_srcid_the_certificate_has_to_be_for_our_address(place: Path) -> None:
    certify(place, "192.0.2.9")
    assert isinstance(one(place, "local 192.0.2.9 peer 192.0.2.1").connection.auth, Signature)
    assert "it is for /CN=192.0.2.9, 192.0.2.9" in error(place, "local 192.0.2.10 peer 192.0.2.1")
    assert "(our address, which no `local` names)" in error(place, "peer 192.0.2.1")


def test_what_is_missing_is_named_with_its_file(place: Path) -> None:
    assert f"put a CA certificate into {place}/ca" in error(place, "peer 192.0.2.1")
    assert f"{place}/pubkeys/ipv4/192.0.2.1" in error(place, "peer 192.0.2.1")
    (place / "private/local.key").unlink()
    assert f'no key to sign with at {place}/private/local.key: write psk "..."' in error(place, "peer 192.0.2.1")


def test_a_key_that_others_can_read_is_not_used(place: Path) -> None:
    (place / "private/local.key").chmod(0o644)
    assert "chmod 600" in error(place, "peer 192.0.2.1")


def test_rules_with_a_pre_shared_key_open_no_store(place: Path) -> None:
    def fail() -> Store:
        raise AssertionError

    found = compile_rules(parse_text("ike interface sec0 peer 192.0.2.1 psk x\n").rules, open_store=fail)
    assert isinstance(found.connections[0].connection.auth, PreSharedKey)


def test_ipsecctl_looks_where_it_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "pubkeys/ipv4/192.0.2.1").write_bytes(public_pem("bob"))
    conf = place.parent / "ipsec.conf"
    conf.write_text("ike interface sec0 peer 192.0.2.1\n")
    conf.chmod(0o600)
    assert ipsecctl.main(["--etc", str(place.parent), "-nf", str(conf)]) == 0
    assert ipsecctl.main(["--etc", "/nonexistent", "-nf", str(conf)]) == 1
    assert "/nonexistent/isakmpd/private/local.key" in capsys.readouterr().err
