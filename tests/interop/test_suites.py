"""Every algorithm that strongSwan and secd both have, in both roles, with packets through the tunnel."""

from __future__ import annotations

import itertools

import pytest

from secd.lab.pair import Pair, Role, rule, theirs

pytestmark = pytest.mark.root

ROLES = ("initiator", "responder")

#: ipsec.conf's name: strongSwan's name in a proposal, and as it reports it.
CIPHERS = {
    "3des": ("3des", "3DES_CBC"), "aes-128": ("aes128", "AES_CBC_128"), "aes-192": ("aes192", "AES_CBC_192"),
    "aes-256": ("aes256", "AES_CBC_256"),
}  # fmt: skip
HASHES = {
    "hmac-md5": ("md5", "HMAC_MD5_96"), "hmac-sha1": ("sha1", "HMAC_SHA1_96"),
    "hmac-sha2-256": ("sha256", "HMAC_SHA2_256_128"), "hmac-sha2-384": ("sha384", "HMAC_SHA2_384_192"),
    "hmac-sha2-512": ("sha512", "HMAC_SHA2_512_256"),
}  # fmt: skip
GROUPS = {
    "modp1024": "MODP_1024", "modp1536": "MODP_1536", "modp2048": "MODP_2048", "modp3072": "MODP_3072",
    "modp4096": "MODP_4096", "modp6144": "MODP_6144", "modp8192": "MODP_8192", "ecp256": "ECP_256",
    "ecp384": "ECP_384", "ecp521": "ECP_521",
}  # fmt: skip
ESP_CIPHERS = {name: CIPHERS[name] for name in ("aes-128", "aes-192", "aes-256")}
ESP_HASHES = {name: HASHES[name] for name in ("hmac-sha1", "hmac-sha2-256", "hmac-sha2-384", "hmac-sha2-512")}
GCM = {
    "aes-128-gcm": ("aes128gcm16", "AES_GCM_16_128"), "aes-192-gcm": ("aes192gcm16", "AES_GCM_16_192"),
    "aes-256-gcm": ("aes256gcm16", "AES_GCM_16_256"),
}  # fmt: skip

roles = pytest.mark.parametrize("role", ROLES)


@roles
@pytest.mark.parametrize(("cipher", "hash_"), [*itertools.product(CIPHERS, HASHES)])
def test_phase_1_by_cipher_and_hash(pair: Pair, role: Role, cipher: str, hash_: str) -> None:
    ike = f"{CIPHERS[cipher][0]}-{HASHES[hash_][0]}-modp1024"
    sa = pair.negotiate(role, rule(role, f"main auth {hash_} enc {cipher} group modp1024"), theirs(ike=ike))
    assert (sa.encryption, sa.integrity, sa.group) == (CIPHERS[cipher][1], HASHES[hash_][1], "MODP_1024")
    pair.ping(1)


@roles
@pytest.mark.parametrize("group", GROUPS)
def test_both_phases_by_group(pair: Pair, role: Role, group: str) -> None:
    main, quick = (f"{phase} auth hmac-sha2-256 enc aes-256 group {group}" for phase in ("main", "quick"))
    proposal = f"aes256-sha256-{group}"
    sa = pair.negotiate(role, rule(role, main, quick), theirs(ike=proposal, esp=proposal))
    assert (sa.group, sa.children[0].group) == (GROUPS[group], GROUPS[group])
    pair.ping(1)


@roles
@pytest.mark.parametrize(("cipher", "hash_"), [*itertools.product(ESP_CIPHERS, ESP_HASHES)])
def test_esp_by_cipher_and_hash(pair: Pair, role: Role, cipher: str, hash_: str) -> None:
    esp = f"{ESP_CIPHERS[cipher][0]}-{ESP_HASHES[hash_][0]}-modp1024"
    sa = pair.negotiate(role, rule(role, quick=f"quick auth {hash_} enc {cipher} group modp1024"), theirs(esp=esp))
    child = sa.children[0]
    assert (child.encryption, child.integrity) == (ESP_CIPHERS[cipher][1], ESP_HASHES[hash_][1])
    pair.ping(3)


@roles
@pytest.mark.parametrize("cipher", GCM)
def test_esp_by_combined_mode(pair: Pair, role: Role, cipher: str) -> None:
    esp = f"{GCM[cipher][0]}-modp1024"
    sa = pair.negotiate(role, rule(role, quick=f"quick enc {cipher} group modp1024"), theirs(esp=esp))
    assert sa.children[0].encryption == GCM[cipher][1]
    pair.ping(3)


@roles
def test_without_perfect_forward_secrecy(pair: Pair, role: Role) -> None:
    quick = "quick auth hmac-sha2-256 enc aes-256 group none"
    sa = pair.negotiate(role, rule(role, quick=quick), theirs(esp="aes256-sha256"))
    assert sa.children[0].group == ""
    pair.ping(1)


@roles
def test_the_defaults_of_openbsd(pair: Pair, role: Role) -> None:
    """`main` and `quick` left out: hmac-sha1, aes with 128 to 256 bits, modp3072; then hmac-sha2-256 and aes."""
    sa = pair.negotiate(role, rule(role, "", ""), theirs(ike="aes128-sha1-modp3072", esp="aes128-sha256-modp3072"))
    assert (sa.encryption, sa.integrity, sa.group) == ("AES_CBC_128", "HMAC_SHA1_96", "MODP_3072")
    pair.ping(1)


@roles
def test_the_one_proposal_in_common_is_found(pair: Pair, role: Role) -> None:
    """charon knows several; `aes` allows three key lengths."""
    sa = pair.negotiate(
        role, rule(role, "main auth hmac-sha2-256 enc aes group modp2048"),
        theirs(ike="aes256-sha512-modp4096,aes192-sha256-modp2048,3des-sha1-modp1024"),
    )  # fmt: skip
    assert (sa.encryption, sa.integrity, sa.group) == ("AES_CBC_192", "HMAC_SHA2_256_128", "MODP_2048")
