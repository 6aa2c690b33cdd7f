"""MODP groups: RFC 2409 §6.1 and §6.2, RFC 3526.

This is the only file that uses finite-field Diffie-Hellman of `cryptography`, which drops it after version 49: hence
`cryptography<50` in pyproject.toml.  OpenSSL's exponentiation takes a constant time; Python's `pow` does not, so no
private value ever meets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import dh

from secd.ike.crypto.errors import InvalidPublicValue
from secd.ike.crypto.group import Group, KeyPair
from secd.ike.wire import iana

_GENERATOR = 2
_LARGEST = 8192  # bits

#: floor(2^(8192-130) * pi).  Every prime of these RFCs is the digits of pi between 64 ones on either side.
_PI = int(
    "c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f"
    "14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe649286651"
    "ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d670c"
    "354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf695581718"
    "3995497cea956ae515d2261898fa051015728e5a8aaac42dad33170d04507a33a85521abdf1cba64ecfb850458dbef0a8aea71575d06"
    "0c7db3970f85a6e1e4c7abf5ae8cdb0933d71e8c94e04a25619dcee3d2261ad2ee6bf12ffa06d98a0864d87602733ec86a64521f2b18"
    "177b200cbbe117577a615d6c770988c0bad946e208e24fa074e5ab3143db5bfce0fd108e4b82d120a92108011a723c12a787e6d78871"
    "9a10bdba5b2699c327186af4e23c1a946834b6150bda2583e9ca2ad44ce8dbbbc2db04de8ef92e8efc141fbecaa6287c59474e6bc05d"
    "99b2964fa090c3a2233ba186515be7ed1f612970cee2d7afb81bdd762170481cd0069127d5b05aa993b4ea988d8fddc186ffb7dc90a6"
    "c08f4df435c93402849236c3fab4d27c7026c1d4dcb2602646dec9751e763dba37bdf8ff9406ad9e530ee5db382f413001aeb06a53ed"
    "9027d831179727b0865a8918da3edbebcf9b14ed44ce6cbaced4bb1bdb7f1447e6cc254b332051512bd7af426fb8f401378cd2bf5983"
    "ca01c64b92ecf032ea15d1721d03f482d7ce6e74fef6d55e702f46980c82b5a84031900b1c9e59e7c97fbec7e8f323a97a7e36cc88be"
    "0f1d45b7ff585ac54bd407b22b4154aacc8f6d7ebf48e1d814cc5ed20f8037e0a79715eef29be32806a1d58bb7c5da76f550aa3d8a1f"
    "bff0eb19ccb1a313d55cda56c9ec2ef29632387fe8d76e3c0468043e8f663f4860ee12bf2d5b0b7474d6e694f91e6dbe115974a3926f"
    "12fee5e438777cb6a932df8cd8bec4d073b931ba3bc832b68d9dd300741fa7bf8afc47ed2576f6936ba424663aab639c5ae4f5683423"
    "b4742bf1c978238f16cbe39d652de3fdb8befc848ad922222e04a4037c0713eb57a81a23f0c73473fc646cea306b4bcbc8862f8385dd"
    "fa9d4b7fa2c087e879683303ed5bdd3a062b3cf5b3a278a66d2a13f83f44f82ddf310ee074ab6a364597e899a0255dc164f31cc50846"
    "851df9ab48195ded7ea1b1d510bd7ee74d73faf36bc31ecfa268359046f4eb879f924009438b481c6cd7889a002ed5ee382bc9190da6"
    "fc026e479558e4475677e9aa9e3050e2765694dfc81f56e880b96e7160c980dd98a573ea"
    , 16)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModpGroup(Group):
    """A group of the residues of a safe prime.  Public values and secrets are padded to the prime's size."""

    prime: int = field(repr=False)

    def generate(self, seed: bytes) -> KeyPair:
        """Make a key pair out of `seed`, which becomes the exponent, its highest bit set."""
        self._check_seed(seed)
        private = bytes((seed[0] | 0x80,)) + seed[1:]
        return KeyPair(private, self._power(_GENERATOR, private))

    def shared(self, private: bytes, peer_public: bytes) -> bytes:
        """The shared secret; the peer's value must be of the prime's size, and 1 < y < p-1 (RFC 6989 §2.1)."""
        if len(peer_public) != self.public_octets:
            raise InvalidPublicValue(f"{self.name}: {len(peer_public)} octets, expected {self.public_octets}")
        value = int.from_bytes(peer_public, "big")
        if not 1 < value < self.prime - 1:
            raise InvalidPublicValue(f"{self.name}: the peer's value is not between 1 and p-1")
        try:
            return self._power(value, private)
        except ValueError:
            raise InvalidPublicValue(f"{self.name}: the peer's value is not in the group") from None

    def _power(self, base: int, private: bytes) -> bytes:
        """base^private mod p.

        The library wants a public value along with the private one, and uses it for nothing: the generator serves.
        So our own public value is got like a shared secret, with the generator for the peer's.
        """
        parameters = dh.DHParameterNumbers(self.prime, _GENERATOR)
        exponent = int.from_bytes(private, "big")
        key = dh.DHPrivateNumbers(exponent, dh.DHPublicNumbers(_GENERATOR, parameters)).private_key()
        power = key.exchange(dh.DHPublicNumbers(base, parameters).public_key())
        return power.rjust(self.public_octets, b"\x00")


def _modp(number: iana.Group, bits: int, offset: int, exponent_octets: int) -> ModpGroup:
    """2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) * pi) + offset).

    Exponents are twice as long as the strength that RFC 3526 §8 ascribes to the group.
    """
    prime = 2**bits - 2 ** (bits - 64) - 1 + 2**64 * ((_PI >> (_LARGEST - bits)) + offset)
    return ModpGroup(f"modp{bits}", number, exponent_octets, bits // 8, bits // 8, prime)


GROUPS: tuple[Group, ...] = (
    _modp(iana.Group.MODP768, 768, 149686, 32),
    _modp(iana.Group.MODP1024, 1024, 129093, 32),
    _modp(iana.Group.MODP1536, 1536, 741804, 32),
    _modp(iana.Group.MODP2048, 2048, 124476, 40),
    _modp(iana.Group.MODP3072, 3072, 1690314, 53),
    _modp(iana.Group.MODP4096, 4096, 240904, 60),
    _modp(iana.Group.MODP6144, 6144, 929484, 68),
    _modp(iana.Group.MODP8192, 8192, 4743158, 78),
)
