"""How algorithms are called in messages to people: as ipsec.conf(5) does, or by IANA's name where it has none."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from secd.ike.crypto.ciphers import cipher_numbered
from secd.ike.crypto.groups import group_numbered
from secd.ike.crypto.hashes import hash_numbered
from secd.ike.wire.iana import (
    AuthenticationAlgorithm,
    AuthenticationMethod,
    EncryptionAlgorithm,
    EspTransformId,
    Group,
    HashAlgorithm,
    name_of,
)

#: What RFC 8247 §2 and RFC 8221 §5, §6 no longer recommend, and the words to write instead.
WEAK: Mapping[str, str] = {
    "enc 3des": "enc aes-256",
    "enc blowfish": "enc aes-256",
    "enc cast128": "enc aes-256",
    "enc null": "enc aes-256",
    "auth hmac-md5": "auth hmac-sha2-256",
    "auth hmac-sha1": "auth hmac-sha2-256",
    "group modp768": "group modp3072",
    "group modp1024": "group modp3072",
    "group modp1536": "group modp3072",
}

_ESP_CIPHERS = {
    EspTransformId.ESP_3DES: "3des",
    EspTransformId.ESP_AES_CBC: "aes",
    EspTransformId.ESP_AES_GCM_16: "aes-gcm",
    EspTransformId.ESP_NULL: "null",
}
_ESP_AUTHS = {
    AuthenticationAlgorithm.HMAC_MD5: "hmac-md5",
    AuthenticationAlgorithm.HMAC_SHA: "hmac-sha1",
    AuthenticationAlgorithm.HMAC_SHA2_256: "hmac-sha2-256",
    AuthenticationAlgorithm.HMAC_SHA2_384: "hmac-sha2-384",
    AuthenticationAlgorithm.HMAC_SHA2_512: "hmac-sha2-512",
}


def cipher_name(number: int) -> str:
    """Phase 1's encryption algorithm."""
    entry = cipher_numbered(number)
    return entry.name if entry is not None else _iana(EncryptionAlgorithm, number)


def hash_name(number: int) -> str:
    """Phase 1's hash."""
    entry = hash_numbered(number)
    return entry.name if entry is not None else _iana(HashAlgorithm, number)


def group_name(number: int) -> str:
    """A Diffie-Hellman group."""
    entry = group_numbered(number)
    return entry.name if entry is not None else _iana(Group, number)


def method_name(number: int) -> str:
    """Phase 1's way of authentication."""
    known = {int(AuthenticationMethod.PRE_SHARED_KEY): "psk", int(AuthenticationMethod.RSA_SIGNATURES): "rsa"}
    return known.get(number) or _iana(AuthenticationMethod, number).replace("_", "-")


def esp_cipher_name(number: int) -> str:
    """Phase 2's transform id."""
    known = {int(key): name for key, name in _ESP_CIPHERS.items()}
    return known.get(number) or _iana(EspTransformId, number)


def esp_auth_name(number: int) -> str:
    """Phase 2's authentication algorithm."""
    known = {int(key): name for key, name in _ESP_AUTHS.items()}
    return known.get(number) or _iana(AuthenticationAlgorithm, number)


def cipher_words(name: str, bits: int) -> str:
    """A cipher with its key length: aes-256, aes-128-gcm, 3des."""
    if not bits:
        return name
    base, _, mode = name.partition("-")
    return f"{base}-{bits}" + (f"-{mode}" if mode else "")


def _iana(registry: type[IntEnum], number: int) -> str:
    return name_of(registry, number).lower()
