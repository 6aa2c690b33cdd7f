"""The CBC ciphers that protect ISAKMP messages (RFC 2409 App. B), by the names of `secd.ike.connection`.

The old ones are there as long as the library and its OpenSSL still have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cryptography import exceptions
from cryptography.hazmat.decrepit.ciphers import algorithms as old
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.wire.iana import EncryptionAlgorithm


@dataclass(frozen=True, slots=True)
class BlockCipher:
    """A cipher in CBC mode.

    `key_lengths` in bits, the default first (RFC 2409 App. B; what is meant when no length is negotiated).  `fixed`:
    the key length attribute is never sent (RFC 2409 App. A).
    """

    name: str
    number: EncryptionAlgorithm
    block_octets: int
    key_lengths: tuple[int, ...]
    algorithm: Callable[[bytes], CipherAlgorithm] = field(repr=False)

    @property
    def fixed(self) -> bool:
        """Whether there is one key length only, which then is not negotiated."""
        return len(self.key_lengths) == 1

    def encrypt(self, key: bytes, iv: bytes, data: bytes) -> bytes:
        """Encrypt whole blocks."""
        encryptor = Cipher(self.algorithm(key), CBC(iv)).encryptor()
        return encryptor.update(data) + encryptor.finalize()

    def decrypt(self, key: bytes, iv: bytes, data: bytes) -> bytes:
        """Decrypt whole blocks."""
        decryptor = Cipher(self.algorithm(key), CBC(iv)).decryptor()
        return decryptor.update(data) + decryptor.finalize()


def _entries() -> Iterator[BlockCipher]:
    shorter, longer = tuple(range(40, 128, 8)), tuple(range(136, 449, 8))
    for name, number, block, lengths, algorithm in (
        ("3des", EncryptionAlgorithm.TRIPLE_DES_CBC, 8, (192,), getattr(old, "TripleDES", None)),
        ("aes", EncryptionAlgorithm.AES_CBC, 16, (128, 192, 256), AES),
        ("blowfish", EncryptionAlgorithm.BLOWFISH_CBC, 8, (128, *shorter, *longer), getattr(old, "Blowfish", None)),
        ("cast128", EncryptionAlgorithm.CAST_CBC, 8, (128, *shorter), getattr(old, "CAST5", None)),
    ):
        if algorithm is not None:
            yield BlockCipher(name, number, block, lengths, algorithm)


def available(entries: Iterable[BlockCipher]) -> Iterator[BlockCipher]:
    """Those of them that this OpenSSL does."""
    for entry in entries:
        try:
            entry.encrypt(bytes(range(entry.key_lengths[0] // 8)), bytes(entry.block_octets), bytes(entry.block_octets))
        except exceptions.UnsupportedAlgorithm:
            continue
        yield entry


CIPHERS: dict[str, BlockCipher] = {entry.name: entry for entry in available(_entries())}
_BY_NUMBER = {int(entry.number): entry for entry in CIPHERS.values()}


def cipher_named(name: str) -> BlockCipher:
    """The cipher that ipsec.conf(5) calls `name`; `UnsupportedAlgorithm` if there is none."""
    try:
        return CIPHERS[name]
    except KeyError:
        raise UnsupportedAlgorithm(f"cipher {name}: expected one of {', '.join(CIPHERS)}") from None


def cipher_numbered(number: int) -> BlockCipher | None:
    """The cipher of phase 1's encryption attribute; None for one that we do not have."""
    return _BY_NUMBER.get(number)
