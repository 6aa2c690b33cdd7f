"""The names of algorithms in ipsec.conf(5) and what belongs to each.

A name may be shortened: the first entry that begins with what was written is meant, so the order of the tables counts.
Key sizes are octets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct


class Authentication(Struct, frozen=True):
    """`auth`: the size of a static key, and what isakmpd calls it."""

    name: str
    key: int
    hash: str  # isakmpd's HASH_ALGORITHM; HMAC_ before it is its AUTHENTICATION_ALGORITHM
    phase1: bool = True


class Encryption(Struct, frozen=True):
    """`enc`: key sizes, and what isakmpd calls it in each phase ("" where it cannot be used)."""

    name: str
    key_min: int = 0
    key_max: int = 0
    phase1: str = ""
    phase2: str = ""
    label: str = ""  # in the names of isakmpd's transforms
    bits: str = ""  # isakmpd's KEY_LENGTH
    static: bool = True  # may be used with keys from a file
    combined: bool = False  # authenticates by itself


class Compression(Struct, frozen=True):
    """`comp`."""

    name: str


class Group(Struct, frozen=True):
    """`group`: `canonical` is the name without an alias, `isakmpd` isakmpd's."""

    name: str
    canonical: str
    isakmpd: str


AUTHENTICATION = (
    Authentication("hmac-md5", 16, "MD5"),
    Authentication("hmac-ripemd160", 20, "RIPEMD", phase1=False),
    Authentication("hmac-sha1", 20, "SHA"),
    Authentication("hmac-sha2-256", 32, "SHA2_256"),
    Authentication("hmac-sha2-384", 48, "SHA2_384"),
    Authentication("hmac-sha2-512", 64, "SHA2_512"),
)


def _aes(name: str, bits: int, maximum: int = 0) -> Encryption:
    key = bits // 8
    return Encryption(
        name, key, (maximum or bits) // 8, "AES_CBC", "AES", f"AES{bits}", f"{bits},{bits}:{maximum or bits}"
    )


def _counter(name: str, bits: int, transform: str, label: str, *, combined: bool) -> Encryption:
    """Make a mode whose nonce must never repeat: no static keys.  Keys end with four octets of salt."""
    key = bits // 8 + 4
    length = f"{bits},{bits}:{bits}"
    return Encryption(name, key, key, "", transform, f"{label}{bits}", length, static=False, combined=combined)


ENCRYPTION = (
    Encryption("3des-cbc", 24, 24, "3DES_CBC", "3DES", "3DES"),
    _aes("aes", 128, 256),
    _aes("aes-128", 128),
    _aes("aes-192", 192),
    _aes("aes-256", 256),
    _counter("aesctr", 128, "AES_CTR", "AESCTR", combined=False),
    _counter("aes-128-ctr", 128, "AES_CTR", "AESCTR", combined=False),
    _counter("aes-192-ctr", 192, "AES_CTR", "AESCTR", combined=False),
    _counter("aes-256-ctr", 256, "AES_CTR", "AESCTR", combined=False),
    _counter("aes-128-gcm", 128, "AES_GCM_16", "AESGCM", combined=True),
    _counter("aes-192-gcm", 192, "AES_GCM_16", "AESGCM", combined=True),
    _counter("aes-256-gcm", 256, "AES_GCM_16", "AESGCM", combined=True),
    _counter("aes-128-gmac", 128, "AES_GMAC", "AESGMAC", combined=True),
    _counter("aes-192-gmac", 192, "AES_GMAC", "AESGMAC", combined=True),
    _counter("aes-256-gmac", 256, "AES_GMAC", "AESGMAC", combined=True),
    Encryption("blowfish", 5, 56, "BLOWFISH_CBC", "BLOWFISH", "BLOWFISH", "128,96:192"),
    Encryption("cast128", 5, 16, "CAST_CBC", "CAST", "CAST"),
    Encryption("chacha20-poly1305", 36, 36, static=False, combined=True),
    Encryption("null", 0, 0, "", "NULL", "NULL"),
)

COMPRESSION = (Compression("deflate"),)

#: Number of the group (IANA), name, isakmpd's name; numbers are aliases (`grp14`).
_GROUPS = (
    (1, "modp768", "MODP_768"), (2, "modp1024", "MODP_1024"), (5, "modp1536", "MODP_1536"),
    (14, "modp2048", "MODP_2048"), (15, "modp3072", "MODP_3072"), (16, "modp4096", "MODP_4096"),
    (17, "modp6144", "MODP_6144"), (18, "modp8192", "MODP_8192"), (19, "ecp256", "ECP_256"),
    (20, "ecp384", "ECP_384"), (21, "ecp521", "ECP_521"), (26, "ecp224", "ECP_224"), (27, "bp224", "BP_224"),
    (28, "bp256", "BP_256"), (29, "bp384", "BP_384"), (30, "bp512", "BP_512"),
)  # fmt: skip

GROUPS = (
    Group("none", "", ""),
    *(
        Group(name, canonical, isakmpd)
        for number, canonical, isakmpd in _GROUPS
        for name in (canonical, f"grp{number}")
    ),
)

T = TypeVar("T", Authentication, Encryption, Compression, Group)


def find(table: Iterable[T], name: str) -> T | None:
    """Give the first entry of `table` that begins with `name`."""
    return next((entry for entry in table if name and entry.name.startswith(name)), None)


def _exactly(table: Iterable[T], name: str) -> T:
    return next(entry for entry in table if entry.name == name)


DEFAULT_AUTHENTICATION_1 = _exactly(AUTHENTICATION, "hmac-sha1")
DEFAULT_AUTHENTICATION_2 = _exactly(AUTHENTICATION, "hmac-sha2-256")
DEFAULT_ENCRYPTION = _exactly(ENCRYPTION, "aes")
DEFAULT_COMPRESSION = COMPRESSION[0]
DEFAULT_GROUP = _exactly(GROUPS, "modp3072")


class Transforms(Struct, frozen=True):
    """What was asked for; None where nothing was."""

    auth: Authentication | None = None
    enc: Encryption | None = None
    comp: Compression | None = None
    group: Group | None = None
