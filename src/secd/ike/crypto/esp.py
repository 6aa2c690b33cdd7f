"""ESP algorithms: `secd.ike.connection`'s names, IKEv1's numbers (RFC 2407 §4.4.4, §4.5) and the seam's names."""

from __future__ import annotations

from dataclasses import dataclass

from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.wire.iana import AuthenticationAlgorithm, EspTransformId
from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS


@dataclass(frozen=True, slots=True)
class EspTransform:
    """One combination of cipher and authentication that the data plane has, by whatever numbers it is negotiated.

    `cipher` and `auth` are `secd.ike.connection`'s names; `key_length` in bits is what the key length attribute says,
    0 where it is not sent; `encryption` and `auth` are the names of the seam.
    """

    cipher: str
    key_length: int
    auth: str
    encryption: str

    @property
    def encryption_key_octets(self) -> int:
        """Octets of the encryption key, a combined mode's salt included."""
        return ENCRYPTION_KEY_OCTETS[self.encryption]

    @property
    def auth_key_octets(self) -> int:
        """Octets of the authentication key."""
        return AUTH_KEY_OCTETS[self.auth]

    @property
    def keymat_octets(self) -> int:
        """How much KEYMAT one SA takes."""
        return self.encryption_key_octets + self.auth_key_octets

    def split(self, keymat: bytes) -> tuple[bytes, bytes]:
        """The encryption key, which comes first, and the authentication key (RFC 4301 §4.5.2)."""
        if len(keymat) != self.keymat_octets:
            raise ValueError(f"KEYMAT of {len(keymat)} octets, expected {self.keymat_octets}")
        return keymat[: self.encryption_key_octets], keymat[self.encryption_key_octets :]


@dataclass(frozen=True, slots=True)
class EspAlgorithm(EspTransform):
    """A combination and IKEv1's numbers for it."""

    transform_id: EspTransformId
    auth_number: AuthenticationAlgorithm | None


_AUTHS: dict[str, AuthenticationAlgorithm] = {
    "hmac-sha1": AuthenticationAlgorithm.HMAC_SHA,
    "hmac-sha2-256": AuthenticationAlgorithm.HMAC_SHA2_256,
    "hmac-sha2-384": AuthenticationAlgorithm.HMAC_SHA2_384,
    "hmac-sha2-512": AuthenticationAlgorithm.HMAC_SHA2_512,
}

#: Cipher, key length in bits, transform id, the seam's name, and whether it authenticates by itself.
_CIPHERS: tuple[tuple[str, int, EspTransformId, str, bool], ...] = (
    ("aes", 128, EspTransformId.ESP_AES_CBC, "aes-128", False),
    ("aes", 192, EspTransformId.ESP_AES_CBC, "aes-192", False),
    ("aes", 256, EspTransformId.ESP_AES_CBC, "aes-256", False),
    ("aes-gcm", 128, EspTransformId.ESP_AES_GCM_16, "aes-128-gcm", True),
    ("aes-gcm", 192, EspTransformId.ESP_AES_GCM_16, "aes-192-gcm", True),
    ("aes-gcm", 256, EspTransformId.ESP_AES_GCM_16, "aes-256-gcm", True),
    ("null", 0, EspTransformId.ESP_NULL, "null", False),
)

ESP_ALGORITHMS: tuple[EspAlgorithm, ...] = tuple(
    EspAlgorithm(cipher, length, auth, encryption, transform_id, number)
    for cipher, length, transform_id, encryption, combined in _CIPHERS
    for auth, number in ([("", None)] if combined else _AUTHS.items())
)


def esp_algorithm(cipher: str, key_length: int, auth: str) -> EspAlgorithm:
    """The combination of `secd.ike.connection`'s names, `key_length` in bits, else `UnsupportedAlgorithm`."""
    for entry in ESP_ALGORITHMS:
        if (entry.cipher, entry.key_length, entry.auth) == (cipher, key_length, auth):
            return entry
    raise UnsupportedAlgorithm(f"ESP with {cipher}{f'-{key_length}' if key_length else ''} and auth {auth or 'none'}")


def esp_algorithm_numbered(transform_id: int, key_length: int | None, auth_number: int | None) -> EspAlgorithm | None:
    """The combination that IKEv1's numbers say; None for one that we do not have.

    `key_length` None: no such attribute was sent, which for AES means 128 bits (RFC 3602 §2.2's default).
    """
    default = 128 if transform_id == EspTransformId.ESP_AES_CBC else 0
    length = default if key_length is None else key_length
    for entry in ESP_ALGORITHMS:
        if (entry.transform_id, entry.key_length, entry.auth_number) == (transform_id, length, auth_number):
            return entry
    return None
