"""HMAC as IKEv1's PRF, and the keys derived with it.

Sources: RFC 2202 §2, §3; RFC 4231 §4.2, §4.3; RFC 1321 App. A.5 and FIPS 180 ("abc") for the bare hashes; NIST ACVP
"kdf-components IKEv1" (test cases 4498 and 4500).  The ACVP nonces are bit strings that do not end on an octet,
which IKE's never are: so its SKEYID is taken as given.
"""

from __future__ import annotations

import pytest

from secd.ike.crypto.hashes import hash_named
from secd.ike.crypto.ikev1 import phase1_keys

JEFE = (b"Jefe", b"what do ya want for nothing?")

HMAC = [
    ("md5", b"\x0b" * 16, b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d"),
    ("md5", *JEFE, "750c783e6ab0b503eaa86e310a5db738"),
    ("sha1", b"\x0b" * 20, b"Hi There", "b617318655057264e28bc0b6fb378c8ef146be00"),
    ("sha1", *JEFE, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    (
        "sha2-256",
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    ("sha2-256", *JEFE, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (
        "sha2-384",
        b"\x0b" * 20,
        b"Hi There",
        "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
    ),
    (
        "sha2-384",
        *JEFE,
        "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
    ),
    (
        "sha2-512",
        b"\x0b" * 20,
        b"Hi There",
        "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
        "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
    ),
    (
        "sha2-512",
        *JEFE,
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
        "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    ),
]

DIGESTS = {
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "sha2-256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha2-384": "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
    "sha2-512": "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
}

#: CKY-I, CKY-R, g^xy, SKEYID, SKEYID_d, SKEYID_a, SKEYID_e; all SHA2-512.
ACVP = [
    (
        "07D99241DD588591",
        "BA1E42C2E81B0AF4",
        "708F3EF80A7319CF3D1C8BD6A5810A809FCBA5B3D541D3335FBA79FF",
        "59F4F081FFEA0F4FFDE5D836454160CD71C51BE217AB7A714C044FD6E58FA494"
        "86CC9105E48939940D745100922D69E86EE01CF3C4B3C97FCB7E6B95DCD3C1E8",
        "289150B77EC692C756CAE3669B7D38BFC595CF4C623C412547343AB1BE4A9B7B"
        "06210EA99539D2F268EE0913E836924174271B6C96910814C85781A7AD76E1A2",
        "9637C0CF675C56374C54DC9F77574EFE1F66FC50D72E013395E3A0A848CE31A5"
        "9D0F6155ADB13912165E4D238EAAC38AFF4E23A3A138C00FF1754015148345B0",
        "39FEA2AC1EA6A7CEF27D6D1696B982263B220643B6D158D0DDEE1678E0253FDC"
        "0EA3DE428101427B8EBAF8F2C4FF5920F2EB400A80AD1BBA666CF835FD09DBF9",
    ),
    (
        "493747BAA023A654",
        "2D6975984A717A19",
        "1B40754A477A43443EC89C5DFFD7502CB1CBE1BB52F8E0B8AF34FF51",
        "DD3A8D4C3799C3B4A3F9B13746F5952BF9FF3576AE0A2B15E79D375ACA47A7CE"
        "DA5C3F04A63F67BA9B47940C7830D60B898355BD634D85E029115E81714B779A",
        "D5D1C38169E3DF23DD4BA318045220960AC225C45D4F1C2360E8D0C31459B6AD"
        "88E425F7D4B2D12D82D1E40668D9A50E376630DB2EBEE21225E38B0CDD64CEEE",
        "070A6F4E62D34A6A20D686761FCD12D006664DFFDF7D2BF7BAFBCD1E5DFD75F6"
        "5A4C7D50D9211D7CFDDBA40140F4FE086FE9BE2849434A61C839FA80B591F65F",
        "A342159497DF4BFADF4D5DB0D631D56776595A0C976AC07A1A0D4CEF396B9214"
        "A6351912E349B62D8DB07ABFDB953445B6367EE3349994D362F48305FE49881B",
    ),
]


@pytest.mark.parametrize(("name", "key", "data", "expected"), HMAC)
def test_prf(name: str, key: bytes, data: bytes, expected: str) -> None:
    prf = hash_named(name)
    assert prf.prf(key, data).hex() == expected
    assert len(bytes.fromhex(expected)) == prf.octets


@pytest.mark.parametrize("name", DIGESTS)
def test_digest(name: str) -> None:
    assert hash_named(name).digest(b"abc").hex() == DIGESTS[name]


@pytest.mark.parametrize("case", ACVP)
def test_the_descendants_of_skeyid(case: tuple[str, ...]) -> None:
    cky_i, cky_r, g_xy, skeyid, skeyid_d, skeyid_a, skeyid_e = (bytes.fromhex(each) for each in case)
    keys = phase1_keys(hash_named("sha2-512"), skeyid, g_xy, cky_i, cky_r)
    assert (keys.skeyid_d, keys.skeyid_a, keys.skeyid_e) == (skeyid_d, skeyid_a, skeyid_e)
