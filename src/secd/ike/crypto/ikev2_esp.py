"""ESP algorithms as IKEv2 negotiates them: the names of iked.conf(5), IANA's numbers and the seam's names."""

from __future__ import annotations

from dataclasses import dataclass

from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.crypto.esp import EspTransform
from secd.ike.wire.ikev2.iana import Encr, Integ


@dataclass(frozen=True, slots=True)
class ChildAlgorithm(EspTransform):
    """A combination and IKEv2's numbers for it; `integ` None for combined modes, where none is negotiated."""

    encr: Encr
    integ: Integ | None


_AUTHS: dict[str, Integ] = {
    "hmac-sha1": Integ.HMAC_SHA1_96,
    "hmac-sha2-256": Integ.HMAC_SHA2_256_128,
    "hmac-sha2-384": Integ.HMAC_SHA2_384_192,
    "hmac-sha2-512": Integ.HMAC_SHA2_512_256,
}

#: Cipher, key length in bits, number, the seam's name, and whether it authenticates by itself.
_CIPHERS: tuple[tuple[str, int, Encr, str, bool], ...] = (
    ("aes", 128, Encr.AES_CBC, "aes-128", False),
    ("aes", 192, Encr.AES_CBC, "aes-192", False),
    ("aes", 256, Encr.AES_CBC, "aes-256", False),
    ("aes-gcm", 128, Encr.AES_GCM_16, "aes-128-gcm", True),
    ("aes-gcm", 192, Encr.AES_GCM_16, "aes-192-gcm", True),
    ("aes-gcm", 256, Encr.AES_GCM_16, "aes-256-gcm", True),
    ("chacha20-poly1305", 0, Encr.CHACHA20_POLY1305, "chacha20-poly1305", True),
    ("null", 0, Encr.NULL, "null", False),
)

CHILD_ALGORITHMS: tuple[ChildAlgorithm, ...] = tuple(
    ChildAlgorithm(cipher, length, auth, encryption, encr, integ)
    for cipher, length, encr, encryption, combined in _CIPHERS
    for auth, integ in ([("", None)] if combined else _AUTHS.items())
)
_BY_NAMES = {(each.cipher, each.key_length, each.auth): each for each in CHILD_ALGORITHMS}
_BY_NUMBERS = {(int(each.encr), each.key_length, int(each.integ or Integ.NONE)): each for each in CHILD_ALGORITHMS}


def child_algorithm(cipher: str, key_length: int, auth: str) -> ChildAlgorithm:
    """The combination of `secd.ike.connection`'s names, `key_length` in bits, else `UnsupportedAlgorithm`."""
    try:
        return _BY_NAMES[cipher, key_length, auth]
    except KeyError:
        bits = f"-{key_length}" if key_length else ""
        raise UnsupportedAlgorithm(f"ESP with {cipher}{bits} and auth {auth or 'none'}") from None


def child_algorithm_numbered(encr: int, key_length: int | None, integ: int | None) -> ChildAlgorithm | None:
    """The combination of chosen transforms; None for one that we do not have.

    `key_length` None: no such attribute, which AES must have (RFC 7296 §3.3.5).  `integ` None or NONE: no such
    transform, or the one that says so (RFC 7296 §3.3.3).
    """
    return _BY_NUMBERS.get((encr, key_length or 0, int(integ or Integ.NONE)))
