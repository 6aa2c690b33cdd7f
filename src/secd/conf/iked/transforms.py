"""The names of algorithms in iked.conf(5), what each is in `secd.ike.connection`, and the defaults.

A name may be shortened: the first entry that begins with what was written is meant, so the order of the tables counts.
What iked(8) has and secd has not is in the tables too, so that it can be refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from secd.ike.connection import Cipher


class Transform(Struct, frozen=True):
    """A name; `value` is what secd calls it, None for what it has not, and then `instead` is what to write.

    `alias` is the name that is the same thing by another one.
    """

    name: str
    value: str | None
    instead: str = ""
    alias: str = ""


class Encryption(Struct, frozen=True):
    """A cipher; `combined` authenticates by itself."""

    name: str
    value: Cipher | None
    combined: bool = False
    instead: str = ""
    alias: str = ""


def _hmacs(*, md5: str) -> tuple[Transform, ...]:
    names = ("hmac-sha1", "hmac-sha2-256", "hmac-sha2-384", "hmac-sha2-512")
    return (Transform("hmac-md5", None, md5), *(Transform(name, name) for name in names))


def _aes(bits: int) -> Encryption:
    return Encryption(f"aes-{bits}", Cipher("aes", bits, bits, bits))


def _gcm(bits: int) -> Encryption:
    return Encryption(f"aes-{bits}-gcm", Cipher("aes-gcm", bits, bits, bits), combined=True)


def _not_here(name: str, instead: str, *, combined: bool = False) -> Encryption:
    return Encryption(name, None, combined, instead)


_AES = tuple(_aes(bits) for bits in (128, 192, 256))
_GCM = tuple(_gcm(bits) for bits in (128, 192, 256))
_CHACHA = Encryption("chacha20-poly1305", Cipher("chacha20-poly1305"), combined=True)

AUTHENTICATION = _hmacs(md5="auth hmac-sha2-256")
PRF = _hmacs(md5="prf hmac-sha2-256")

#: `aes-192-gcm` and `chacha20-poly1305` are ours here: OpenBSD has them for `childsa` alone.
IKE_ENCRYPTION = (
    Encryption("3des", Cipher("3des")), Encryption("3des-cbc", Cipher("3des"), alias="3des"),
    *_AES, *_GCM,
    *(Encryption(f"aes-{bits}-gcm-12", Cipher("aes-gcm-12", bits, bits, bits), combined=True) for bits in (128, 256)),
    _CHACHA,
)  # fmt: skip

CHILD_ENCRYPTION = (
    *(_not_here(name, "enc aes-256") for name in ("3des", "3des-cbc")),
    *_AES,
    *(_not_here(f"aes-{bits}-ctr", f"enc aes-{bits}-gcm") for bits in (128, 192, 256)),
    *_GCM,
    *(_not_here(f"aes-{bits}-gmac", f"enc aes-{bits}-gcm", combined=True) for bits in (128, 192, 256)),
    *(_not_here(name, "enc aes-256") for name in ("blowfish", "cast")),
    _CHACHA,
    Encryption("null", Cipher("null")),
)

#: IANA's number, iked.conf's name, ours.
_GROUPS: tuple[tuple[int, str, str | None], ...] = (
    (1, "modp768", "modp768"), (2, "modp1024", "modp1024"), (5, "modp1536", "modp1536"), (14, "modp2048", "modp2048"),
    (15, "modp3072", "modp3072"), (16, "modp4096", "modp4096"), (17, "modp6144", "modp6144"),
    (18, "modp8192", "modp8192"), (19, "ecp256", "ecp256"), (20, "ecp384", "ecp384"), (21, "ecp521", "ecp521"),
    (25, "ecp192", None), (26, "ecp224", "ecp224"), (27, "brainpool224", None), (28, "brainpool256", "bp256"),
    (29, "brainpool384", "bp384"), (30, "brainpool512", "bp512"), (31, "curve25519", "curve25519"),
    (32, "curve448", "curve448"), (35, "mlkem512", "mlkem512"), (36, "mlkem768", "mlkem768"),
    (37, "mlkem1024", "mlkem1024"),
)  # fmt: skip

NONE = "none"

GROUPS = (
    Transform(NONE, NONE),
    *(
        Transform(name, value, "group curve25519", canonical)
        for number, canonical, value in _GROUPS
        for name in (canonical, f"grp{number}")
    ),
    Transform("sntrup761x25519", None, "group curve25519 addke1 mlkem768"),
)

#: What iked(8) proposes when nothing is said, in its order.
DEFAULT_PRFS: tuple[str, ...] = ("hmac-sha2-256", "hmac-sha2-384", "hmac-sha2-512", "hmac-sha1")
DEFAULT_AUTHS: tuple[str, ...] = ("hmac-sha2-256", "hmac-sha2-384", "hmac-sha2-512", "hmac-sha1")
DEFAULT_GROUPS: tuple[str, ...] = (
    "curve25519", "ecp521", "ecp384", "ecp256", "modp4096", "modp3072", "modp2048", "modp1536", "modp1024",
)  # fmt: skip
DEFAULT_COMBINED = ("aes-128-gcm", "aes-256-gcm")
DEFAULT_IKE_CBC = ("aes-256", "aes-192", "aes-128", "3des")
DEFAULT_CHILD_CBC = ("aes-256", "aes-192", "aes-128")


def find_transform(table: Iterable[Transform], name: str) -> Transform | None:
    """Give the first entry of `table` that begins with `name`."""
    return next((entry for entry in table if name and entry.name.startswith(name)), None)


def find_encryption(table: Iterable[Encryption], name: str) -> Encryption | None:
    """Give the first entry of `table` that begins with `name`."""
    return next((entry for entry in table if name and entry.name.startswith(name)), None)
