"""CBC ciphers.

Sources: RFC 3602 §4 (AES-128), NIST SP 800-38A F.2 (AES-192, AES-256), NIST SP 800-67 App. B (3DES), RFC 2144 App. B
(CAST-128), Eric Young's Blowfish vectors (CBC).  A single block under a zero IV is what ECB vectors give.
"""

from __future__ import annotations

import pytest

from secd.ike.crypto.ciphers import cipher_named

VECTORS = [
    (
        "aes",
        "06a9214036b8a15b512e03d534120006",
        "3dafba429d9eb430b422da802c9fac41",
        b"Single block msg".hex(),
        "e353779c1079aeb82708942dbe77181a",
    ),
    (
        "aes",
        "c286696d887c9aa0611bbb3e2025a45a",
        "562e17996d093d28ddb3ba695a2e6f58",
        bytes(range(32)).hex(),
        "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
    ),
    (
        "aes",
        "6c3ea0477630ce21a2ce334aa746c2cd",
        "c782dc4c098c66cbd9cd27d825682c81",
        b"This is a 48-byte message (exactly 3 AES blocks)".hex(),
        "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5021c19216bad525c8579695d83ba2684",
    ),
    (
        "aes",
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        "000102030405060708090a0b0c0d0e0f",
        "6bc1bee22e409f96e93d7e117393172a",
        "4f021db243bc633d7178183a9fa071e8",
    ),
    (
        "aes",
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        "000102030405060708090a0b0c0d0e0f",
        "6bc1bee22e409f96e93d7e117393172a",
        "f58c4c04d6e5f1ba779eabfb5f7bfbd6",
    ),
    (
        "3des",
        "0123456789abcdef23456789abcdef01456789abcdef0123",
        "0000000000000000",
        "5468652071756663",
        "a826fd8ce53b855f",
    ),
    ("cast128", "0123456712345678234567893456789a", "0000000000000000", "0123456789abcdef", "238b4fe5847e44b2"),
    ("cast128", "01234567123456782345", "0000000000000000", "0123456789abcdef", "eb6a711a2c02271b"),
    ("cast128", "0123456712", "0000000000000000", "0123456789abcdef", "7ac816d16e9b302e"),
    (
        "blowfish",
        "0123456789abcdeff0e1d2c3b4a59687",
        "fedcba9876543210",
        "37363534333231204e6f77206973207468652074696d6520666f722000000000",
        "6b77b4d63006dee605b156e27403979358deb9e7154616d959f1652bd5ff92cc",
    ),
]


@pytest.mark.parametrize(("name", "key", "iv", "plaintext", "ciphertext"), VECTORS)
def test_cbc(name: str, key: str, iv: str, plaintext: str, ciphertext: str) -> None:
    cipher = cipher_named(name)
    key_octets, iv_octets = bytes.fromhex(key), bytes.fromhex(iv)
    assert len(key_octets) * 8 in cipher.key_lengths
    assert len(iv_octets) == cipher.block_octets
    assert cipher.encrypt(key_octets, iv_octets, bytes.fromhex(plaintext)).hex() == ciphertext
    assert cipher.decrypt(key_octets, iv_octets, bytes.fromhex(ciphertext)).hex() == plaintext
