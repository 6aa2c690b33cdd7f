"""ML-KEM as a key exchange of IKEv2 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).

The initiator's KE payload holds an encapsulation key, the responder's a ciphertext.  ML-KEM-512 (35) is not there: the
library does not have it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)

from secd.ike.crypto.errors import InvalidPublicValue
from secd.ike.crypto.group import Encapsulation, Group, KeyPair
from secd.ike.wire import iana

_SEED_OCTETS = 64  # d | z of FIPS 203 §7.1: all there is to a private key
_SECRET_OCTETS = 32


@dataclass(frozen=True, slots=True)
class MlKem(Group):
    """One parameter set.  `public_octets` is the encapsulation key's size, `ciphertext_octets` the answer's."""

    ciphertext_octets: int
    private_key: type[MLKEM768PrivateKey | MLKEM1024PrivateKey] = field(repr=False)
    public_key: type[MLKEM768PublicKey | MLKEM1024PublicKey] = field(repr=False)

    @property
    def kem(self) -> bool:
        """It is one."""
        return True

    @property
    def answer_octets(self) -> int:
        """The ciphertext's size."""
        return self.ciphertext_octets

    def generate(self, seed: bytes) -> KeyPair:
        """The initiator's key pair; the seed is the private key."""
        self._check_seed(seed)
        return KeyPair(seed, self.private_key.from_seed_bytes(seed).public_key().public_bytes_raw())

    def shared(self, private: bytes, peer_public: bytes) -> bytes:
        """The initiator's secret.  A ciphertext that was tampered with yields another secret (FIPS 203 §6.3)."""
        if len(peer_public) != self.ciphertext_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.ciphertext_octets}")
        return self.private_key.from_seed_bytes(private).decapsulate(peer_public)

    def encapsulate(self, seed: bytes, peer_public: bytes) -> Encapsulation:
        """The responder's ciphertext and secret.

        The only function here that draws random numbers by itself: the library takes none, so `seed` is not used.
        """
        if len(peer_public) != self.public_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.public_octets}")
        try:
            key = self.public_key.from_public_bytes(peer_public)
        except ValueError:
            raise InvalidPublicValue(f"{self.name}: the peer's key has a coefficient above the modulus") from None
        secret, ciphertext = key.encapsulate()
        return Encapsulation(ciphertext, secret)


def _mlkem(
    name: str,
    number: iana.Group,
    octets: tuple[int, int],
    private_key: type[MLKEM768PrivateKey | MLKEM1024PrivateKey],
    public_key: type[MLKEM768PublicKey | MLKEM1024PublicKey],
) -> MlKem:
    return MlKem(name, number, _SEED_OCTETS, octets[0], _SECRET_OCTETS, octets[1], private_key, public_key)


GROUPS: tuple[Group, ...] = (
    _mlkem("mlkem768", iana.Group.ML_KEM_768, (1184, 1088), MLKEM768PrivateKey, MLKEM768PublicKey),
    _mlkem("mlkem1024", iana.Group.ML_KEM_1024, (1568, 1568), MLKEM1024PrivateKey, MLKEM1024PublicKey),
)
