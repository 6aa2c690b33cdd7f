"""What a Diffie-Hellman group can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from secd.ike.wire import iana


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ephemeral key pair; `public` is the body of a KE payload."""

    private: bytes = field(repr=False)
    public: bytes


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """What the responder makes of the initiator's public value; `public` is the body of its own KE payload."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Group(ABC):
    """One group: ipsec.conf's name, IANA's number, and sizes in octets.

    The initiator calls `generate`, and `shared` when it has the answer.  The responder calls `encapsulate`; with
    Diffie-Hellman, but not with a KEM, that is `generate` and `shared` in one.
    """

    name: str
    number: iana.Group
    seed_octets: int
    public_octets: int
    secret_octets: int

    @abstractmethod
    def generate(self, seed: bytes) -> KeyPair:
        """Make a key pair out of `seed_octets` random octets; the same seed makes the same pair.

        `ValueError` for a seed of another size.
        """

    @abstractmethod
    def shared(self, private: bytes, peer_public: bytes) -> bytes:
        """g^xy, `secret_octets` long.  `InvalidPublicValue` if the peer's value must not be used."""

    def encapsulate(self, seed: bytes, peer_public: bytes) -> Encapsulation:
        """The responder's public value and the shared secret.

        `InvalidPublicValue` if the peer's value must not be used.
        """
        pair = self.generate(seed)
        return Encapsulation(pair.public, self.shared(pair.private, peer_public))

    @property
    def kem(self) -> bool:
        """Whether it is a KEM, of which the responder cannot use `generate` and `shared`; IKEv2 alone has them."""
        return False

    @property
    def answer_octets(self) -> int:
        """The size of the responder's public value."""
        return self.public_octets

    def _check_seed(self, seed: bytes) -> None:
        if len(seed) != self.seed_octets:
            raise ValueError(f"{self.name}: a seed of {len(seed)} octets, expected {self.seed_octets}")
