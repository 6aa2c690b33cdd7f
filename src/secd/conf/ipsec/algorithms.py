"""From ipsec.conf's algorithms to those of `secd.ike.connection` and of the seam; what secd has not is refused."""

from __future__ import annotations

from secd.conf.ipsec.transforms import Authentication, Encryption, Group, Transforms
from secd.ike.connection import Cipher, Phase1Proposal, Phase2Proposal
from secd.sadb.messages import AUTH_KEY_OCTETS

#: Key lengths in bits: preferred, least, greatest.  Those of isakmpd.
_AES = {"aes": (128, 128, 256), "aes-128": (128,) * 3, "aes-192": (192,) * 3, "aes-256": (256,) * 3}
_PHASE1 = {
    **{name: Cipher("aes", *bits) for name, bits in _AES.items()},
    "3des-cbc": Cipher("3des"),
    "blowfish": Cipher("blowfish", 128, 96, 192),
    "cast128": Cipher("cast128", 128, 128, 128),
}
_PHASE2 = {
    **{name: Cipher("aes", *bits) for name, bits in _AES.items()},
    **{f"aes-{bits}-gcm": Cipher("aes-gcm", bits, bits, bits) for bits in (128, 192, 256)},
    "null": Cipher("null"),
}
#: These the library may not have any more.
_OLD = frozenset({"3des", "blowfish", "cast128"})
_NO_GROUP = frozenset({"bp224"})


class NotAvailableError(Exception):
    """secd has no such algorithm."""


def phase1(transforms: Transforms) -> Phase1Proposal:
    """Give what is proposed for the ISAKMP SA."""
    cipher = _PHASE1.get(_name(transforms.enc))
    if cipher is None or (cipher.name in _OLD and not _in_library(cipher.name)):
        raise _missing("main", "enc", transforms.enc, "enc aes-256")
    if transforms.auth is None or not transforms.auth.phase1:
        raise _missing("main", "auth", transforms.auth, "auth hmac-sha2-256")
    group = _group(transforms.group)
    if not group:
        raise NotAvailableError("main: a group is needed: write group modp3072")
    return Phase1Proposal(cipher, transforms.auth.name.removeprefix("hmac-"), group)


def _in_library(name: str) -> bool:
    from secd.ike.crypto.ciphers import CIPHERS

    return name in CIPHERS


def phase2(transforms: Transforms) -> Phase2Proposal:
    """Give what is proposed for the ESP SAs."""
    cipher = _PHASE2.get(_name(transforms.enc))
    if cipher is None:
        raise _missing("quick", "enc", transforms.enc, "enc aes-256")
    auth = _name(transforms.auth)
    if auth not in AUTH_KEY_OCTETS:
        raise _missing("quick", "auth", transforms.auth, "auth hmac-sha2-256")
    return Phase2Proposal(cipher, auth, _group(transforms.group))


def static(transforms: Transforms, key_octets: int) -> tuple[str, str]:
    """Give the seam's names for the algorithms of a manually keyed SA; with `aes` the key's size decides."""
    auth, enc = _name(transforms.auth), _name(transforms.enc)
    if auth not in AUTH_KEY_OCTETS:
        raise _missing("esp", "auth", transforms.auth, "auth hmac-sha2-256")
    if enc == "aes":
        if key_octets not in (16, 24, 32):
            raise NotAvailableError(f"enckey: {8 * key_octets} bits, aes needs 128, 192 or 256")
        return f"aes-{8 * key_octets}", auth
    if enc not in ("aes-128", "aes-192", "aes-256", "null"):
        raise _missing("esp", "enc", transforms.enc, "enc aes-256")
    return enc, auth


def _name(transform: Authentication | Encryption | None) -> str:
    return transform.name if transform else ""


def _group(group: Group | None) -> str:
    name = group.canonical if group else ""
    if name in _NO_GROUP:
        raise NotAvailableError(f"group {name} is not available here: write group modp3072 or group ecp256")
    return name


def _missing(
    where: str, keyword: str, transform: Authentication | Encryption | None, instead: str
) -> NotAvailableError:
    return NotAvailableError(f"{where} {keyword} {_name(transform) or 'none'} is not available here: write {instead}")
