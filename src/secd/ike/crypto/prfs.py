"""IKEv2's pseudo-random functions (RFC 7296 §2.13), by the names of iked.conf(5) and by IANA's numbers.

All are HMACs, which take a key of any length, so the rules for PRFs of a fixed key length (RFC 7296 §2.14) are not
needed: AES-XCBC and AES-CMAC have no word in iked.conf, and MD5 must not be used (RFC 8247 §2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.crypto.hashes import HASHES, Hash
from secd.ike.wire.ikev2 import iana

_MAX_BLOCKS = 255  # RFC 7296 §2.13: the counter is one octet


@dataclass(frozen=True, slots=True)
class Prf:
    """A negotiable PRF; `hash.name` is how `secd.ike.contract.ComputePRF` calls it."""

    name: str
    number: iana.Prf
    hash: Hash

    @property
    def octets(self) -> int:
        """Octets of output, which is the preferred key length, too."""
        return self.hash.octets

    def compute(self, key: bytes, data: bytes) -> bytes:
        """prf(key, data)."""
        return self.hash.prf(key, data)

    def expand(self, key: bytes, seed: bytes, octets: int) -> bytes:
        """`octets` of prf+(key, seed), T1 | T2 | ... (RFC 7296 §2.13); `ValueError` beyond 255 blocks."""
        if octets > _MAX_BLOCKS * self.octets:
            raise ValueError(f"{octets} octets are more than prf+ of {self.name} yields")
        block = made = b""
        counter = 0
        while len(made) < octets:
            counter += 1
            block = self.compute(key, block + seed + bytes((counter,)))
            made += block
        return made[:octets]


PRFS: dict[str, Prf] = {
    entry.name: entry
    for entry in (
        Prf("hmac-sha1", iana.Prf.HMAC_SHA1, HASHES["sha1"]),
        Prf("hmac-sha2-256", iana.Prf.HMAC_SHA2_256, HASHES["sha2-256"]),
        Prf("hmac-sha2-384", iana.Prf.HMAC_SHA2_384, HASHES["sha2-384"]),
        Prf("hmac-sha2-512", iana.Prf.HMAC_SHA2_512, HASHES["sha2-512"]),
    )
}
_BY_NUMBER = {int(entry.number): entry for entry in PRFS.values()}


def prf_named(name: str) -> Prf:
    """The PRF that iked.conf(5) calls `name`; `UnsupportedAlgorithm` if there is none."""
    try:
        return PRFS[name]
    except KeyError:
        raise UnsupportedAlgorithm(f"prf {name}: expected one of {', '.join(PRFS)}") from None


def prf_numbered(number: int) -> Prf | None:
    """The PRF of IANA's number; None for one that we do not have."""
    return _BY_NUMBER.get(number)
