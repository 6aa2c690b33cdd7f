"""Diffie-Hellman groups.

Sources: RFC 2409 §6.1, §6.2 and RFC 3526 (primes), RFC 5903 §8 (ecp256, ecp384, ecp521), RFC 7027 App. A (brainpool),
NIST CAVP "ECC CDH Primitive" (P-224), RFC 7748 §6.1 (curve25519).
"""

from __future__ import annotations

import pytest

from secd.ike.crypto.curves import ECPGroup
from secd.ike.crypto.groups import GROUPS, group
from secd.ike.crypto.mlkem import MlKem
from secd.ike.crypto.modp import ModpGroup

#: The last 64 bits before the closing 64 ones, as the RFCs print them.
PRIME_TAILS = {
    "modp768": 0xF44C42E9A63A3620,
    "modp1024": 0x49286651ECE65381,
    "modp1536": 0xF1746C08CA237327,
    "modp2048": 0x15728E5A8AACAA68,
    "modp3072": 0x4B82D120A93AD2CA,
    "modp4096": 0x4DF435C934063199,
    "modp6144": 0xE694F91E6DCC4024,
    "modp8192": 0x60C980DD98EDD3DF,
}

ECP = {
    "ecp256": (
        "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
        "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180"
        "5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
        "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
        "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63"
        "56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
        "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
    ),
    "ecp384": (
        "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
        "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA"
        "9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
        "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
        "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571"
        "DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
        "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
    ),
    "ecp521": (
        "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A0"
        "95AA85A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
        "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBE"
        "E1E3BF42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E"
        "017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10A"
        "D8A788015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582",
        "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E"
        "9C677D600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
        "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A21"
        "9B97C356436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F"
        "015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87"
        "220B6536C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A",
        "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04"
        "D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA",
    ),
}

#: Both private values and the shared secret.
BRAINPOOL = {
    "bp256": (
        "81DB1EE100150FF2EA338D708271BE38300CB54241D79950F77B063039804F1D",
        "55E40BC41E37E3E2AD25C3C6654511FFA8474A91A0032087593852D3E7D76BD3",
        "89AFC39D41D3B327814B80940B042590F96556EC91E6AE7939BCE31F3A18BF2B",
    ),
    "bp384": (
        "1E20F5E048A5886F1F157C74E91BDE2B98C8B52D58E5003D57053FC4B0BD65D6F15EB5D1EE1610DF870795143627D042",
        "032640BC6003C59260F7250C3DB58CE647F98E1260ACCE4ACDA3DD869F74E01F8BA5E0324309DB6A9831497ABAC96670",
        "0BD9D3A7EA0B3D519D09D8E48D0785FB744A6B355E6304BC51C229FBBCE239BBADF6403715C35D4FB2A5444F575D4F42",
    ),
    "bp512": (
        "16302FF0DBBB5A8D733DAB7141C1B45ACBC8715939677F6A56850A38BD87BD59"
        "B09E80279609FF333EB9D4C061231FB26F92EEB04982A5F1D1764CAD57665422",
        "230E18E1BCC88A362FA54E4EA3902009292F7F8033624FD471B5D8ACE49D12CF"
        "ABBC19963DAB8E2F1EBA00BFFB29E4D72D13F2224562F405CB80503666B25429",
        "A7927098655F1F9976FA50A9D566865DC530331846381C87256BAF3226244B76"
        "D36403C024D7BBF0AA0803EAFF405D3D24F11A9B5C0BEF679FE1454B21C4CD1F",
    ),
}


def key_pair_from_scalar(name: str, scalar: bytes) -> tuple[bytes, bytes]:
    """Generate from a seed that yields exactly this private value."""
    entry = group(name)
    seed = (int.from_bytes(scalar, "big") - 1).to_bytes(entry.seed_octets, "big")
    pair = entry.generate(seed)
    return pair.private, pair.public


@pytest.mark.parametrize("name", PRIME_TAILS)
def test_the_prime_is_the_rfcs(name: str) -> None:
    entry = group(name)
    assert isinstance(entry, ModpGroup)
    bits = int(name.removeprefix("modp"))
    assert entry.prime.bit_length() == bits
    assert entry.prime % 2**64 == 2**64 - 1
    assert entry.prime >> bits - 128 == 0xFFFFFFFFFFFFFFFFC90FDAA22168C234
    assert (entry.prime >> 64) % 2**64 == PRIME_TAILS[name]


@pytest.mark.parametrize("name", [name for name in PRIME_TAILS if int(name.removeprefix("modp")) <= 4096])
def test_the_prime_is_a_safe_prime_and_two_generates_its_large_subgroup(name: str) -> None:
    entry = group(name)
    assert isinstance(entry, ModpGroup)
    half = (entry.prime - 1) // 2
    assert pow(2, half, entry.prime) == 1
    assert pow(3, half - 1, half) == 1


@pytest.mark.parametrize("name", ECP)
def test_ecp_public_values_are_both_coordinates_and_the_secret_is_x(name: str) -> None:
    i, gi, r, gr, girx = (bytes.fromhex(each) for each in ECP[name])
    assert key_pair_from_scalar(name, i) == (i, gi)
    assert key_pair_from_scalar(name, r) == (r, gr)
    assert group(name).shared(i, gr) == group(name).shared(r, gi) == girx


@pytest.mark.parametrize("name", BRAINPOOL)
def test_brainpool_secrets(name: str) -> None:
    a, b, secret = (bytes.fromhex(each) for each in BRAINPOOL[name])
    assert group(name).shared(a, key_pair_from_scalar(name, b)[1]) == secret
    assert group(name).shared(b, key_pair_from_scalar(name, a)[1]) == secret


def test_ecp224() -> None:
    private = bytes.fromhex("8346A60FC6F293CA5A0D2AF68BA71D1DD389E5E40837942DF3E43CBD")
    peer = bytes.fromhex(
        "AF33CD0629BC7E996320A3F40368F74DE8704FA37B8FAB69ABAAE280882092CCBBA7930F419A8A4F9BB16978BBC3838729992559A6F2E2D7"
    )
    secret = bytes.fromhex("7D96F9A3BD3C05CF5CC37FEB8B9D5209D5C2597464DEC3E9983743E8")
    assert group("ecp224").shared(private, peer) == secret


def test_curve25519() -> None:
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    entry = group("curve25519")
    assert entry.generate(alice).public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert entry.generate(bob).public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    secret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert entry.shared(alice, entry.generate(bob).public).hex() == secret


@pytest.mark.parametrize("name", [name for name in GROUPS if name.startswith("modp")])
def test_modp_agrees_with_plain_arithmetic(name: str) -> None:
    entry = group(name)
    assert isinstance(entry, ModpGroup)
    pair = entry.generate(bytes(range(1, entry.seed_octets + 1)))
    exponent = int.from_bytes(pair.private, "big")
    assert int.from_bytes(pair.public, "big") == pow(2, exponent, entry.prime)
    peer = pow(2, 0x123456789ABCDEF, entry.prime)
    secret = entry.shared(pair.private, peer.to_bytes(entry.public_octets, "big"))
    assert int.from_bytes(secret, "big") == pow(peer, exponent, entry.prime)
    assert len(secret) == entry.secret_octets


def test_every_group_is_of_a_kind_that_is_tested_here() -> None:
    for name, entry in GROUPS.items():
        assert isinstance(entry, (ModpGroup, ECPGroup, MlKem)) or name in ("curve25519", "curve448")
