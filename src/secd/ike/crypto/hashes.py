"""Hash functions and the PRFs that are HMACs of them (RFC 2104), by the names of `secd.ike.connection`."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.wire.iana import HashAlgorithm


@dataclass(frozen=True, slots=True)
class Hash:
    """A negotiable hash: `octets` of output, `number` in phase 1's hash attribute."""

    name: str
    number: HashAlgorithm
    octets: int
    library_name: str

    def digest(self, data: bytes) -> bytes:
        """The hash of `data`."""
        return hashlib.new(self.library_name, data, usedforsecurity=False).digest()

    def prf(self, key: bytes, data: bytes) -> bytes:
        """HMAC, which is IKEv1's PRF wherever none is negotiated (RFC 2409 §4)."""
        return hmac.digest(key, data, self.library_name)


HASHES: dict[str, Hash] = {
    entry.name: entry
    for entry in (
        Hash("md5", HashAlgorithm.MD5, 16, "md5"),
        Hash("sha1", HashAlgorithm.SHA, 20, "sha1"),
        Hash("sha2-256", HashAlgorithm.SHA2_256, 32, "sha256"),
        Hash("sha2-384", HashAlgorithm.SHA2_384, 48, "sha384"),
        Hash("sha2-512", HashAlgorithm.SHA2_512, 64, "sha512"),
    )
}
_BY_NUMBER = {int(entry.number): entry for entry in HASHES.values()}


def hash_named(name: str) -> Hash:
    """The hash that ipsec.conf(5) calls `name` (without `hmac-`); `UnsupportedAlgorithm` if there is none."""
    try:
        return HASHES[name]
    except KeyError:
        raise UnsupportedAlgorithm(f"hash {name}: expected one of {', '.join(HASHES)}") from None


def hash_numbered(number: int) -> Hash | None:
    """The hash of phase 1's hash attribute; None for one that we do not have."""
    return _BY_NUMBER.get(number)
