"""Elliptic curve groups: NIST's (RFC 5903), brainpool's (RFC 6932), curve25519 and curve448 (RFC 8031)."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from secd.ike.crypto.errors import InvalidPublicValue
from secd.ike.crypto.group import Group, KeyPair
from secd.ike.wire import iana

_EXTRA_SEED_OCTETS = 8  # makes the reduction modulo n uniform enough: FIPS 186-5 App. A.2.1
_UNCOMPRESSED = b"\x04"  # SEC 1 §2.3.3; IKE leaves it out


@dataclass(frozen=True, slots=True)
class ECPGroup(Group):
    """A group over a prime field.  The public value is x | y, the shared secret x alone (RFC 5903 §7)."""

    curve: ec.EllipticCurve = field(repr=False)

    def generate(self, seed: bytes) -> KeyPair:
        """Make a key pair out of `seed`."""
        self._check_seed(seed)
        scalar = int.from_bytes(seed, "big") % (self.curve.group_order - 1) + 1
        point = ec.derive_private_key(scalar, self.curve).public_key().public_numbers()
        octets = self.secret_octets
        public = point.x.to_bytes(octets, "big") + point.y.to_bytes(octets, "big")
        return KeyPair(scalar.to_bytes(octets, "big"), public)

    def shared(self, private: bytes, peer_public: bytes) -> bytes:
        """The x coordinate of the shared point; the peer's point must be on the curve (RFC 6989 §2.3)."""
        key = ec.derive_private_key(int.from_bytes(private, "big"), self.curve)
        if len(peer_public) != self.public_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.public_octets}")
        try:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self.curve, _UNCOMPRESSED + peer_public)
            return key.exchange(ec.ECDH(), peer)
        except ValueError:
            raise InvalidPublicValue(f"{self.name}: the peer's point is not on the curve") from None


@dataclass(frozen=True, slots=True)
class Curve25519(Group):
    """RFC 7748 §6.1."""

    def generate(self, seed: bytes) -> KeyPair:
        """Make a key pair out of `seed`."""
        self._check_seed(seed)
        return KeyPair(seed, X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())

    def shared(self, private: bytes, peer_public: bytes) -> bytes:
        """The shared secret; one of all zeros is refused (RFC 7748 §6.1)."""
        key = X25519PrivateKey.from_private_bytes(private)
        if len(peer_public) != self.public_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.public_octets}")
        try:
            return key.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError:
            raise InvalidPublicValue(f"{self.name}: the peer's value has a small order") from None


@dataclass(frozen=True, slots=True)
class Curve448(Group):
    """RFC 7748 §6.2."""

    def generate(self, seed: bytes) -> KeyPair:
        """Make a key pair out of `seed`."""
        self._check_seed(seed)
        return KeyPair(seed, X448PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())

    def shared(self, private: bytes, peer_public: bytes) -> bytes:
        """The shared secret; one of all zeros is refused (RFC 7748 §6.2)."""
        key = X448PrivateKey.from_private_bytes(private)
        if len(peer_public) != self.public_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.public_octets}")
        try:
            return key.exchange(X448PublicKey.from_public_bytes(peer_public))
        except ValueError:
            raise InvalidPublicValue(f"{self.name}: the peer's value has a small order") from None


def _ecp(name: str, number: iana.Group, curve: ec.EllipticCurve) -> ECPGroup:
    octets = (curve.key_size + 7) // 8
    return ECPGroup(name, number, octets + _EXTRA_SEED_OCTETS, 2 * octets, octets, curve)


GROUPS: tuple[Group, ...] = (
    _ecp("ecp256", iana.Group.ECP256, ec.SECP256R1()),
    _ecp("ecp384", iana.Group.ECP384, ec.SECP384R1()),
    _ecp("ecp521", iana.Group.ECP521, ec.SECP521R1()),
    _ecp("ecp224", iana.Group.ECP224, ec.SECP224R1()),
    _ecp("bp256", iana.Group.BRAINPOOL_P256R1, ec.BrainpoolP256R1()),
    _ecp("bp384", iana.Group.BRAINPOOL_P384R1, ec.BrainpoolP384R1()),
    _ecp("bp512", iana.Group.BRAINPOOL_P512R1, ec.BrainpoolP512R1()),
    Curve25519("curve25519", iana.Group.CURVE25519, 32, 32, 32),
    Curve448("curve448", iana.Group.CURVE448, 56, 56, 56),
)
