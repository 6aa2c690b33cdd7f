"""What protects IKEv2 messages: AEAD ciphers (RFC 5282, RFC 7634), or CBC with an HMAC (RFC 7296 §3.14).

Names are those of iked.conf(5) without the key length: `aes`, `aes-gcm`, `aes-gcm-12`, `aes-gcm-8`,
`chacha20-poly1305`, `3des`; and `hmac-sha1`, `hmac-sha2-256`, ... for the integrity algorithm.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from secd.ike.crypto.ciphers import CIPHERS, BlockCipher
from secd.ike.crypto.errors import NotAuthentic, UnsupportedAlgorithm
from secd.ike.crypto.hashes import HASHES, Hash
from secd.ike.wire.ikev2 import iana


@dataclass(frozen=True, slots=True)
class DirectionKeys:
    """SK_e and SK_a of one direction; SK_a is empty with an AEAD cipher."""

    encryption: bytes = field(repr=False)
    integrity: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Integrity:
    """An HMAC cut short (RFC 2404, RFC 4868)."""

    name: str
    number: iana.Integ
    hash: Hash
    octets: int

    def compute(self, key: bytes, data: bytes) -> bytes:
        """The check value."""
        return self.hash.prf(key, data)[: self.octets]


@dataclass(frozen=True, slots=True)
class MessageCipher(ABC):
    """One choice of encryption and integrity.

    `key_length` in bits is what the key length attribute says, 0 where none is sent; `auth` is "" and `auth_number`
    None for an AEAD cipher.
    """

    name: str
    number: iana.Encr
    key_length: int

    @property
    @abstractmethod
    def auth(self) -> str:
        """The integrity algorithm's name."""

    @property
    @abstractmethod
    def auth_number(self) -> iana.Integ | None:
        """The integrity algorithm's number."""

    @property
    @abstractmethod
    def iv_octets(self) -> int:
        """Octets of IV in front of the ciphertext."""

    @property
    @abstractmethod
    def icv_octets(self) -> int:
        """Octets of check value behind it."""

    @property
    @abstractmethod
    def block_octets(self) -> int:
        """The ciphertext is a multiple of so many octets."""

    @property
    @abstractmethod
    def encryption_key_octets(self) -> int:
        """Octets of SK_e, an AEAD cipher's salt included."""

    @property
    @abstractmethod
    def integrity_key_octets(self) -> int:
        """Octets of SK_a."""

    @abstractmethod
    def seal(self, keys: DirectionKeys, iv: bytes, associated: bytes, padded: bytes) -> bytes:
        """IV, ciphertext and check value; `padded` is a whole number of blocks."""

    @abstractmethod
    def open(self, keys: DirectionKeys, associated: bytes, sealed: bytes) -> bytes:
        """The padded plaintext, else `NotAuthentic`."""

    def _too_short(self, sealed: bytes) -> bool:
        body = len(sealed) - self.iv_octets - self.icv_octets
        return body < self.block_octets or body % self.block_octets != 0


@dataclass(frozen=True, slots=True)
class EncryptThenMac(MessageCipher):
    """A block cipher in CBC mode, and an HMAC over everything from the IKE header on (RFC 7296 §3.14)."""

    block: BlockCipher
    integrity: Integrity

    @property
    def auth(self) -> str:
        """The integrity algorithm's name."""
        return self.integrity.name

    @property
    def auth_number(self) -> iana.Integ | None:
        """The integrity algorithm's number."""
        return self.integrity.number

    @property
    def iv_octets(self) -> int:
        """One block, which nobody can foretell."""
        return self.block.block_octets

    @property
    def icv_octets(self) -> int:
        """Octets of the cut HMAC."""
        return self.integrity.octets

    @property
    def block_octets(self) -> int:
        """The cipher's block."""
        return self.block.block_octets

    @property
    def encryption_key_octets(self) -> int:
        """Octets of the cipher's key."""
        return (self.key_length or self.block.key_lengths[0]) // 8

    @property
    def integrity_key_octets(self) -> int:
        """The hash's output."""
        return self.integrity.hash.octets

    def seal(self, keys: DirectionKeys, iv: bytes, associated: bytes, padded: bytes) -> bytes:
        """Encrypt, then authenticate."""
        body = iv + self.block.encrypt(keys.encryption, iv, padded)
        return body + self.integrity.compute(keys.integrity, associated + body)

    def open(self, keys: DirectionKeys, associated: bytes, sealed: bytes) -> bytes:
        """Check the HMAC, and decrypt only what it covers."""
        if self._too_short(sealed):
            raise NotAuthentic(f"{len(sealed)} octets are no ciphertext of {self.name}")
        body, icv = sealed[: -self.icv_octets], sealed[-self.icv_octets :]
        if not hmac.compare_digest(self.integrity.compute(keys.integrity, associated + body), icv):
            raise NotAuthentic("the check value is wrong")
        return self.block.decrypt(keys.encryption, body[: self.iv_octets], body[self.iv_octets :])


@dataclass(frozen=True, slots=True)
class _Aead(MessageCipher):
    """A cipher that authenticates by itself: SK_e ends with a salt, the nonce is salt | IV (RFC 5282 §3, §4)."""

    @property
    def auth(self) -> str:
        """None."""
        return ""

    @property
    def auth_number(self) -> iana.Integ | None:
        """None is negotiated."""
        return None

    @property
    def iv_octets(self) -> int:
        """RFC 5282 §3.1, RFC 7634 §2; under one key no IV may be used twice."""
        return 8

    @property
    def block_octets(self) -> int:
        """No padding is needed (RFC 5282 §3)."""
        return 1

    @property
    def integrity_key_octets(self) -> int:
        """There is no SK_a (RFC 5282 §7.1)."""
        return 0


@dataclass(frozen=True, slots=True)
class AesGcm(_Aead):
    """RFC 5282, with check values of 16, 12 or 8 octets."""

    tag_octets: int

    @property
    def icv_octets(self) -> int:
        """Octets of the tag."""
        return self.tag_octets

    @property
    def encryption_key_octets(self) -> int:
        """Key and four octets of salt."""
        return self.key_length // 8 + 4

    def seal(self, keys: DirectionKeys, iv: bytes, associated: bytes, padded: bytes) -> bytes:
        """Encrypt and authenticate."""
        key, salt = keys.encryption[:-4], keys.encryption[-4:]
        encryptor = Cipher(AES(key), GCM(salt + iv)).encryptor()
        encryptor.authenticate_additional_data(associated)
        ciphertext = encryptor.update(padded) + encryptor.finalize()
        return iv + ciphertext + encryptor.tag[: self.tag_octets]

    def open(self, keys: DirectionKeys, associated: bytes, sealed: bytes) -> bytes:
        """Give nothing out before the tag is checked."""
        if self._too_short(sealed):
            raise NotAuthentic(f"{len(sealed)} octets are no ciphertext of {self.name}")
        key, salt = keys.encryption[:-4], keys.encryption[-4:]
        iv, body, tag = sealed[:8], sealed[8 : -self.tag_octets], sealed[-self.tag_octets :]
        decryptor = Cipher(AES(key), GCM(salt + iv, tag, min_tag_length=self.tag_octets)).decryptor()
        decryptor.authenticate_additional_data(associated)
        plaintext = decryptor.update(body)
        try:
            decryptor.finalize()
        except InvalidTag:
            raise NotAuthentic("the check value is wrong") from None
        return plaintext


@dataclass(frozen=True, slots=True)
class ChaCha(_Aead):
    """RFC 7634."""

    @property
    def icv_octets(self) -> int:
        """Octets of Poly1305's tag."""
        return 16

    @property
    def encryption_key_octets(self) -> int:
        """Key and four octets of salt."""
        return 36

    def seal(self, keys: DirectionKeys, iv: bytes, associated: bytes, padded: bytes) -> bytes:
        """Encrypt and authenticate."""
        key, salt = keys.encryption[:-4], keys.encryption[-4:]
        return iv + ChaCha20Poly1305(key).encrypt(salt + iv, padded, associated)

    def open(self, keys: DirectionKeys, associated: bytes, sealed: bytes) -> bytes:
        """Give nothing out before the tag is checked."""
        if self._too_short(sealed):
            raise NotAuthentic(f"{len(sealed)} octets are no ciphertext of {self.name}")
        key, salt = keys.encryption[:-4], keys.encryption[-4:]
        try:
            return ChaCha20Poly1305(key).decrypt(salt + sealed[:8], sealed[8:], associated)
        except InvalidTag:
            raise NotAuthentic("the check value is wrong") from None


INTEGRITY: dict[str, Integrity] = {
    entry.name: entry
    for entry in (
        Integrity("hmac-sha1", iana.Integ.HMAC_SHA1_96, HASHES["sha1"], 12),
        Integrity("hmac-sha2-256", iana.Integ.HMAC_SHA2_256_128, HASHES["sha2-256"], 16),
        Integrity("hmac-sha2-384", iana.Integ.HMAC_SHA2_384_192, HASHES["sha2-384"], 24),
        Integrity("hmac-sha2-512", iana.Integ.HMAC_SHA2_512_256, HASHES["sha2-512"], 32),
    )
}


def _all() -> Iterator[MessageCipher]:
    for bits in (128, 192, 256):
        yield AesGcm("aes-gcm", iana.Encr.AES_GCM_16, bits, 16)
        yield AesGcm("aes-gcm-12", iana.Encr.AES_GCM_12, bits, 12)
        yield AesGcm("aes-gcm-8", iana.Encr.AES_GCM_8, bits, 8)
    yield ChaCha("chacha20-poly1305", iana.Encr.CHACHA20_POLY1305, 0)
    for integrity in INTEGRITY.values():
        for bits in (128, 192, 256):
            yield EncryptThenMac("aes", iana.Encr.AES_CBC, bits, CIPHERS["aes"], integrity)
        yield EncryptThenMac("3des", iana.Encr.TRIPLE_DES, 0, CIPHERS["3des"], integrity)


MESSAGE_CIPHERS: tuple[MessageCipher, ...] = tuple(_all())
_BY_NAMES = {(each.name, each.key_length, each.auth): each for each in MESSAGE_CIPHERS}
_BY_NUMBERS = {
    (int(each.number), each.key_length, int(each.auth_number or iana.Integ.NONE)): each for each in MESSAGE_CIPHERS
}


def message_cipher(name: str, key_length: int, auth: str) -> MessageCipher:
    """The combination of these names, `key_length` in bits (0: none) and `auth` "" with AEAD.

    `UnsupportedAlgorithm` if there is none.
    """
    try:
        return _BY_NAMES[name, key_length, auth]
    except KeyError:
        bits = f"-{key_length}" if key_length else ""
        raise UnsupportedAlgorithm(f"an IKE SA with {name}{bits} and auth {auth or 'none'}") from None


def message_cipher_numbered(encr: int, key_length: int | None, integ: int | None) -> MessageCipher | None:
    """The combination of chosen transforms; None for one that we do not have.

    `key_length` None: no such attribute, which AES must have (RFC 7296 §3.3.5).  `integ` None or NONE with AEAD.
    """
    return _BY_NUMBERS.get((encr, key_length or 0, int(integ or iana.Integ.NONE)))
