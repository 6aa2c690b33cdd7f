"""ML-KEM as a key exchange of IKEv2 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).

The initiator's KE payload holds an encapsulation key, the responder's a ciphertext.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)

from secd import _engine
from secd.ike.crypto.errors import InvalidPublicValue
from secd.ike.crypto.group import Encapsulation, Group, KeyPair
from secd.ike.wire import iana

_SEED_OCTETS = 64  # d | z of FIPS 203 §7.1: all there is to a private key
_SECRET_OCTETS = 32


@dataclass(frozen=True, slots=True)
class MlKem(Group):
    """One parameter set.  `public_octets` is the encapsulation key's size, `ciphertext_octets` the answer's."""

    ciphertext_octets: int

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
        return KeyPair(seed, self._public(seed))

    def shared(self, private: bytes, peer_public: bytes) -> bytes:
        """The initiator's secret.  A ciphertext that was tampered with yields another secret (FIPS 203 §6.3)."""
        if len(peer_public) != self.ciphertext_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.ciphertext_octets}")
        return self._decapsulate(private, peer_public)

    def encapsulate(self, seed: bytes, peer_public: bytes) -> Encapsulation:
        """The responder's ciphertext and secret."""
        if len(peer_public) != self.public_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.public_octets}")
        self._check_seed(seed)
        try:
            return self._encapsulate(seed, peer_public)
        except ValueError:
            raise InvalidPublicValue(f"{self.name}: the peer's key has a coefficient above the modulus") from None

    @abstractmethod
    def _public(self, seed: bytes) -> bytes:
        """The encapsulation key of a seed."""

    @abstractmethod
    def _decapsulate(self, seed: bytes, ciphertext: bytes) -> bytes:
        """The secret in a ciphertext of the right size."""

    @abstractmethod
    def _encapsulate(self, seed: bytes, public: bytes) -> Encapsulation:
        """ValueError if a key of the right size is none."""


@dataclass(frozen=True, slots=True)
class LibraryMlKem(MlKem):
    """One of the two that `cryptography` has."""

    private_key: type[MLKEM768PrivateKey | MLKEM1024PrivateKey] = field(repr=False)
    public_key: type[MLKEM768PublicKey | MLKEM1024PublicKey] = field(repr=False)

    def _public(self, seed: bytes) -> bytes:
        return self.private_key.from_seed_bytes(seed).public_key().public_bytes_raw()

    def _decapsulate(self, seed: bytes, ciphertext: bytes) -> bytes:
        return self.private_key.from_seed_bytes(seed).decapsulate(ciphertext)

    def _encapsulate(self, seed: bytes, public: bytes) -> Encapsulation:
        # The only function here that draws random numbers by itself: the library takes none, so `seed` is not used.
        secret, ciphertext = self.public_key.from_public_bytes(public).encapsulate()
        return Encapsulation(ciphertext, secret)


@dataclass(frozen=True, slots=True)
class EngineMlKem512(MlKem):
    """The weakest, which `cryptography` lacks and clouds offer: a Rust library's, by way of the engine."""

    def _public(self, seed: bytes) -> bytes:
        return _engine.mlkem512_public_key(seed)

    def _decapsulate(self, seed: bytes, ciphertext: bytes) -> bytes:
        return _engine.mlkem512_decapsulate(seed, ciphertext)

    def _encapsulate(self, seed: bytes, public: bytes) -> Encapsulation:
        return Encapsulation(*_engine.mlkem512_encapsulate(public, seed[:_SECRET_OCTETS]))


GROUPS: tuple[Group, ...] = (
    EngineMlKem512("mlkem512", iana.Group.ML_KEM_512, _SEED_OCTETS, 800, _SECRET_OCTETS, 768),
    LibraryMlKem(
        "mlkem768", iana.Group.ML_KEM_768, _SEED_OCTETS, 1184, _SECRET_OCTETS, 1088,
        MLKEM768PrivateKey, MLKEM768PublicKey,
    ),
    LibraryMlKem(
        "mlkem1024", iana.Group.ML_KEM_1024, _SEED_OCTETS, 1568, _SECRET_OCTETS, 1568,
        MLKEM1024PrivateKey, MLKEM1024PublicKey,
    ),
)  # fmt: skip
