"""IKEv1's keys, hashes and running IV as pure functions (RFC 2409 §5, §5.5, App. B; RFC 3947 §3.2).

Names are the RFC's: CKY_I, SAi_b, IDii_b, Ni_b, g^xy are `cky_i`, `sai_b`, `idii_b`, `ni_b`, `g_xy`.  `_b` marks a
payload's body without its generic header, `Payload.body`; `g_xi` and `g_xr` are bodies of KE payloads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from secd.ike.crypto.ciphers import BlockCipher
from secd.ike.crypto.hashes import Hash
from secd.ike.wire.cursor import WireError


@dataclass(frozen=True, slots=True)
class Phase1Keys:
    """SKEYID_d derives phase 2's keys, SKEYID_a authenticates its messages, SKEYID_e makes the cipher's key."""

    skeyid_d: bytes = field(repr=False)
    skeyid_a: bytes = field(repr=False)
    skeyid_e: bytes = field(repr=False)


def skeyid_psk_data(ni_b: bytes, nr_b: bytes) -> bytes:
    """What the holder of the pre-shared key computes SKEYID over: SKEYID = prf(psk, Ni_b | Nr_b)."""
    return ni_b + nr_b


def skeyid_signatures(prf: Hash, ni_b: bytes, nr_b: bytes, g_xy: bytes) -> bytes:
    """SKEYID for authentication by signatures: prf(Ni_b | Nr_b, g^xy)."""
    return prf.prf(ni_b + nr_b, g_xy)


def phase1_keys(prf: Hash, skeyid: bytes, g_xy: bytes, cky_i: bytes, cky_r: bytes) -> Phase1Keys:
    """SKEYID_d, SKEYID_a and SKEYID_e (RFC 2409 §5)."""
    shared = g_xy + cky_i + cky_r
    skeyid_d = prf.prf(skeyid, shared + b"\x00")
    skeyid_a = prf.prf(skeyid, skeyid_d + shared + b"\x01")
    skeyid_e = prf.prf(skeyid, skeyid_a + shared + b"\x02")
    return Phase1Keys(skeyid_d, skeyid_a, skeyid_e)


def encryption_key(prf: Hash, skeyid_e: bytes, octets: int) -> bytes:
    """The ISAKMP cipher's key: SKEYID_e cut short, or Ka = K1 | K2 | .. where it is too short (RFC 2409 App. B)."""
    if octets <= len(skeyid_e):
        return skeyid_e[:octets]
    return _expand(prf, skeyid_e, b"\x00", b"", octets)


def hash_i(
    prf: Hash, skeyid: bytes, *, g_xi: bytes, g_xr: bytes, cky_i: bytes, cky_r: bytes, sai_b: bytes, idii_b: bytes
) -> bytes:
    """HASH_I (RFC 2409 §5)."""
    return prf.prf(skeyid, g_xi + g_xr + cky_i + cky_r + sai_b + idii_b)


def hash_r(
    prf: Hash, skeyid: bytes, *, g_xi: bytes, g_xr: bytes, cky_i: bytes, cky_r: bytes, sai_b: bytes, idir_b: bytes
) -> bytes:
    """HASH_R (RFC 2409 §5)."""
    return prf.prf(skeyid, g_xr + g_xi + cky_r + cky_i + sai_b + idir_b)


def hash_1(prf: Hash, skeyid_a: bytes, message_id: int, rest: bytes) -> bytes:
    """HASH(1) of quick mode and the hash of informational and transaction exchanges (RFC 2409 §5.5, §5.7).

    `rest` is everything behind the HASH payload, generic headers included, padding not: `Chain.after_first`.
    """
    return prf.prf(skeyid_a, message_id.to_bytes(4, "big") + rest)


def hash_2(prf: Hash, skeyid_a: bytes, message_id: int, ni_b: bytes, rest: bytes) -> bytes:
    """HASH(2) of quick mode (RFC 2409 §5.5); `rest` as for HASH(1)."""
    return prf.prf(skeyid_a, message_id.to_bytes(4, "big") + ni_b + rest)


def hash_3(prf: Hash, skeyid_a: bytes, message_id: int, ni_b: bytes, nr_b: bytes) -> bytes:
    """HASH(3) of quick mode (RFC 2409 §5.5)."""
    return prf.prf(skeyid_a, b"\x00" + message_id.to_bytes(4, "big") + ni_b + nr_b)


def keymat(
    prf: Hash,
    skeyid_d: bytes,
    octets: int,
    *,
    protocol: int,
    spi: bytes,
    ni_b: bytes,
    nr_b: bytes,
    g_qm_xy: bytes = b"",
) -> bytes:
    """`octets` of KEYMAT for one SA (RFC 2409 §5.5); `g_qm_xy` is quick mode's shared secret, empty without PFS."""
    seed = g_qm_xy + bytes((protocol,)) + spi + ni_b + nr_b
    return _expand(prf, skeyid_d, seed, seed, octets)


def nat_d(prf: Hash, cky_i: bytes, cky_r: bytes, address: str, port: int) -> bytes:
    """The NAT-D hash over an address (text) and a port (RFC 3947 §3.2)."""
    return prf.digest(cky_i + cky_r + ip_address(address).packed + port.to_bytes(2, "big"))


def _expand(prf: Hash, key: bytes, first: bytes, each: bytes, octets: int) -> bytes:
    """K1 | K2 | ...: K1 = prf(key, first), Kn = prf(key, Kn-1 | each), cut to `octets`."""
    block = prf.prf(key, first)
    made = block
    while len(made) < octets:
        block = prf.prf(key, block + each)
        made += block
    return made[:octets]


@dataclass(frozen=True, slots=True)
class CbcState:
    """The cipher of an ISAKMP SA, its key, and the IV for the next message (RFC 2409 App. B).

    A value: both operations return the state that follows beside their result, so that a message which turns out to be
    forged, or a retransmission, leaves the caller's state as it was.
    """

    cipher: BlockCipher
    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)

    @classmethod
    def phase1(cls, prf: Hash, cipher: BlockCipher, key: bytes, g_xi: bytes, g_xr: bytes) -> CbcState:
        """The state for phase 1's first encrypted message: its IV is a hash over both public values."""
        return cls(cipher, key, prf.digest(g_xi + g_xr)[: cipher.block_octets])

    def phase2(self, prf: Hash, message_id: int) -> CbcState:
        """The state for the first message of an exchange after phase 1, `self` being phase 1's last."""
        return replace(self, iv=prf.digest(self.iv + message_id.to_bytes(4, "big"))[: self.cipher.block_octets])

    def encrypt(self, plaintext: bytes) -> tuple[bytes, CbcState]:
        """Pad with zeros to whole blocks and encrypt; an empty plaintext is a `ValueError`."""
        if not plaintext:
            raise ValueError("there is nothing to encrypt")
        block = self.cipher.block_octets
        padded = plaintext + bytes(-len(plaintext) % block)
        ciphertext = self.cipher.encrypt(self.key, self.iv, padded)
        return ciphertext, replace(self, iv=ciphertext[-block:])

    def decrypt(self, ciphertext: bytes) -> tuple[bytes, CbcState]:
        """Decrypt whole blocks, else `WireError`.  The padding stays (`parse_payloads(.., padded=True)`)."""
        block = self.cipher.block_octets
        if not ciphertext or len(ciphertext) % block:
            raise WireError(f"{len(ciphertext)} encrypted octets are not a whole number of blocks of {block}")
        return self.cipher.decrypt(self.key, self.iv, ciphertext), replace(self, iv=ciphertext[-block:])
