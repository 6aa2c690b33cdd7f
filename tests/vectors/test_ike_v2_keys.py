"""IKEv2's key derivation, message protection and key encapsulation by published vectors.

Sources: NIST ACVP "kdf-components IKEv2" (test case 100); RFC 7634 App. B; RFC 7748 §6.2; the known answers of ML-KEM
that `cryptography` is tested with, the first of each, and for ML-KEM-512 what kyber-py, another implementation, gives
(mlkem.json: seeds as d | z, encapsulation keys as their SHA-256).
The PRFs themselves are in `test_ike_prf`, AES-GCM in `test_ike_v2_recordings`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from secd.ike.crypto import ikev2
from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev2_ciphers import DirectionKeys, message_cipher
from secd.ike.crypto.ikev2_messages import Opened, open_message, seal_message
from secd.ike.crypto.prfs import prf_named
from secd.ike.wire.ikev2.iana import NotifyType
from secd.ike.wire.ikev2.message import Header, parse_header
from secd.ike.wire.ikev2.notify import NotifyPayload

NI, NR = bytes.fromhex("32b50d5f4a3763f3"), bytes.fromhex("9206a04b26564cb1")
SPI_I, SPI_R = bytes.fromhex("34c9e7c188868785"), bytes.fromhex("3ff77d760d2b2199")
G_IR = bytes.fromhex("4b2c1f971981a8ad8d0abeafabf38cf75fc8349c148142465ed9c8b516b8be52")
G_IR_NEW = bytes.fromhex("863f3c9d06efd39d2b907b97f8699e5dd5251ef64a2a176f36ee40c87d4f9330")
SKEYSEED = "a9a7b222b59f8f48645f28a1db5b5f5d7479cba7"
DKM = (
    "a14293677cc80ff8f9cc0eee30d895da9d8f405666e30ef0dfcb63c634a46002a2a63080e514a062768b76606f9fa5e992204fc5a670bde3"
    "f10d6b027113936a5c55b648a194ae587b0088d52204b702c979fa280870d2ed41efa9c549fd11198af1670b143d384bd275c5f594cf266b"
    "05ebadca855e4249520a441a81157435a7a56cc4"
)
DKM_CHILD = (
    "8059e3ee8810e6c3a91bc8bcd2a7a41151b8d0e6ae239c7b38093ad85ef4c5811a8e7b5d1cdabd9560b2d5e092d1f24e2d4b85eccdf0ad0d"
    "c9abd94b51ee71814ca6dbc8bb51b6309f5b9545c7eb35cf5580b1e521a8fe20754a2d883ba0c2cf285f524aea6545b33106bc03e614296d"
    "319d41d4b50b3f510b1c0a22f3e664994d234cb4"
)
DKM_CHILD_DH = (
    "bb43244c1860ad65ee1e211ffe8bb3661750c8f89cb9f547df7f4fa61d37301628190e38c66232eab4b3ab14c400a5197dd3730ed4820a8a"
    "10394d51e1c0400052f63ebd36b0e7ef53aaed31eba4a5080d7d4b5666023a8bbb5ffb7857240f9a05884d1b7d2f933708450b7b3288f1fc"
    "863ab49fa901227cffc06e27899c7054d56fd74c"
)
SKEYSEED_REKEY = "63e81194946ebd05df7df5ebf5d8750056bf1f1d"


def test_the_keys_of_an_ike_sa_and_of_its_children() -> None:
    prf = prf_named("hmac-sha1")
    seed = ikev2.skeyseed(prf, NI, NR, G_IR)
    assert seed.hex() == SKEYSEED
    keys = ikev2.ike_keys(prf, message_cipher("aes", 128, "hmac-sha1"), seed, ni=NI, nr=NR, spi_i=SPI_I, spi_r=SPI_R)
    parts = (keys.sk_d, keys.sk_ai, keys.sk_ar, keys.sk_ei, keys.sk_er, keys.sk_pi, keys.sk_pr)
    assert [len(each) for each in parts] == [20, 20, 20, 16, 16, 20, 20]
    assert b"".join(parts).hex() == DKM  # 132 octets, as many as this choice of algorithms takes
    child = ikev2.child_keymat(prf, keys.sk_d, 66, ni=NI, nr=NR)
    assert b"".join(child).hex() == DKM_CHILD
    with_dh = ikev2.child_keymat(prf, keys.sk_d, 66, ni=NI, nr=NR, g_ir=G_IR_NEW)
    assert b"".join(with_dh).hex() == DKM_CHILD_DH
    assert ikev2.skeyseed_rekey(prf, keys.sk_d, ni=NI, nr=NR, g_ir=G_IR_NEW).hex() == SKEYSEED_REKEY


def test_chacha20_poly1305_as_rfc_7634_has_it() -> None:
    cipher = message_cipher("chacha20-poly1305", 0, "")
    keys = DirectionKeys(bytes(range(0x80, 0xA0)) + bytes.fromhex("a0a1a2a3"), b"")
    header = Header(bytes.fromhex("c0c1c2c3c4c5c6c7"), bytes.fromhex("d0d1d2d3d4d5d6d7"), 37, 0, 9)
    payload = NotifyPayload(NotifyType.SET_WINDOW_SIZE, b"\x00\x00\x00\x0a")
    expected = bytes.fromhex(
        "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029"
        "1011121314151617610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2"
    )
    assert seal_message(cipher, keys, header, [payload], lambda _: bytes(range(0x10, 0x18))) == expected
    opened = open_message(cipher, keys, parse_header(expected), expected)
    assert isinstance(opened, Opened)
    assert opened.chain.payloads == (payload,)


@pytest.mark.parametrize("case", json.loads((Path(__file__).parent / "mlkem.json").read_text()))
def test_mlkem(case: Any) -> None:
    entry = group(case["group"])
    pair = entry.generate(bytes.fromhex(case["seed"]))
    assert hashlib.sha256(pair.public).hexdigest() == case["public_sha256"]
    assert entry.shared(pair.private, bytes.fromhex(case["ciphertext"])).hex() == case["secret"]
    # implicit rejection: a ciphertext that was not made for this key yields a secret that only its owner knows
    assert entry.shared(pair.private, bytes.fromhex(case["tampered"])).hex() == case["rejected"]


def test_curve448() -> None:
    alice = bytes.fromhex(
        "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b"
    )
    bob = bytes.fromhex(
        "1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d"
    )
    secret = (
        "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282b"
        "b60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"
    )
    entry = group("curve448")
    assert entry.generate(alice).public.hex() == (
        "9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0"
    )
    assert entry.shared(alice, entry.generate(bob).public).hex() == secret
    assert entry.shared(bob, entry.generate(alice).public).hex() == secret
