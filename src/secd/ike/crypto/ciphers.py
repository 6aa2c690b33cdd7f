"""The CBC ciphers that protect ISAKMP messages (RFC 2409 App. B), by the names of `secd.ike.connection`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, Blowfish, TripleDES
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


CIPHERS: dict[str, BlockCipher] = {
    entry.name: entry
    for entry in (
        BlockCipher("3des", EncryptionAlgorithm.TRIPLE_DES_CBC, 8, (192,), TripleDES),
        BlockCipher("aes", EncryptionAlgorithm.AES_CBC, 16, (128, 192, 256), AES),
        BlockCipher(
            "blowfish", EncryptionAlgorithm.BLOWFISH_CBC, 8, (128, *range(40, 128, 8), *range(136, 449, 8)), Blowfish
        ),
        BlockCipher("cast128", EncryptionAlgorithm.CAST_CBC, 8, (128, *range(40, 128, 8)), CAST5),
    )
}
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
