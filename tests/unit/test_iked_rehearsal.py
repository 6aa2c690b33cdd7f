"""What iked has used once before its sandbox is all that it needs there: afterwards it opens and imports nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.pair.pki import TODAY, Authority, der, rsa_key

PROGRAM = """
import json, sys
work = json.load(sys.stdin)
from secd.iked.rehearsal import rehearse
rehearse()
loaded, opened = set(sys.modules), []
sys.addaudithook(lambda event, arguments: opened.append((event, arguments[0])) if event in ("open", "import") else None)
from secd.ike.crypto import signature_schemes as schemes
from secd.ike.crypto.certificates import Trust, verify_certificate
from secd.ike.crypto.errors import CertificateError
octets = bytes.fromhex
trust = Trust.load([octets(each) for each in work["authorities"]], [octets(each) for each in work["crls"]])
for chain, kind, name, key in work["peers"]:
    try:
        found = verify_certificate(trust, [octets(each) for each in chain], kind, octets(name), work["now"])
    except CertificateError as error:
        print(error)
        continue
    if key:
        private = schemes.load_private_key(octets(key))
        for scheme in schemes.schemes_for(found.public_key, schemes.ACCEPTED_HASHES):
            made = schemes.auth_data(scheme, schemes.sign(private, scheme.name, b"x"))
            schemes.verify(14, made, found.public_key, b"x")
    print("believed", found.subject)
print("loaded", *sorted(set(sys.modules) - loaded), *[each for each in opened if each[1] not in loaded])
"""
KEYS = {
    "rsa": rsa_key("v2 one"), "p256": ec.generate_private_key(ec.SECP256R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()), "ed25519": ed25519.Ed25519PrivateKey.generate(),
}  # fmt: skip


@pytest.fixture(scope="module")
def said() -> list[str]:
    root, stranger = Authority("Root"), Authority("Stranger")
    between = Authority("Between", root)
    names = ("gw.example", "gw@gw.example", "192.0.2.1", "2001:db8::1")
    leaves = {kind: between.leaf(*names, key=key, subject=kind) for kind, key in KEYS.items()}
    revoked = root.leaf("gw.example", key=KEYS["rsa"], subject="revoked")
    old = root.leaf("gw.example", key=KEYS["rsa"], subject="old", days=-1)
    other = stranger.leaf("gw.example", key=KEYS["rsa"], subject="other")
    fqdn, mail, v4, v6 = (2, b"gw.example"), (3, b"gw@gw.example"), (1, bytes((192, 0, 2, 1))), (5, b"\x20\x01\x0d\xb8")
    ids = [fqdn, mail, v4, (v6[0], v6[1].ljust(15, b"\0") + b"\1")]
    peers: list[tuple[list[str], int, str, str]] = []
    for (kind, leaf), (number, name) in zip(leaves.items(), ids, strict=True):
        pem = KEYS[kind].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        peers.append(([der(leaf).hex(), between.der.hex()], number, name.hex(), pem.hex()))
    peers += [([der(each).hex()], 2, b"gw.example".hex(), "") for each in (revoked, old, other)]
    peers.append(([der(leaves["rsa"]).hex(), between.der.hex()], 9, leaves["rsa"].subject.public_bytes().hex(), ""))
    work = {
        "authorities": [root.der.hex()], "crls": [root.crl(revoked).hex(), between.crl().hex()], "peers": peers,
        "now": TODAY.timestamp(),
    }  # fmt: skip
    command = [sys.executable, "-I", "-c", PROGRAM]
    done = subprocess.run(command, input=json.dumps(work), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_certificates_of_every_kind_are_judged(said: list[str]) -> None:
    believed = [line for line in said if line.startswith("believed")]
    assert believed == [*(f"believed /CN={kind}" for kind in KEYS), "believed /CN=rsa"]
    refused = [line for line in said if not line.startswith(("believed", "loaded"))]
    for words, line in zip(("was revoked on", "was valid until", "nobody called"), refused, strict=True):
        assert words in line


def test_and_nothing_is_loaded_for_it(said: list[str]) -> None:
    assert said[-1] == "loaded"
