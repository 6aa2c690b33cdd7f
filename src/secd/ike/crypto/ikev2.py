"""IKEv2's keys and what AUTH covers, as pure functions (RFC 7296 §2.14 to §2.18, RFC 8784, RFC 9242, RFC 9370).

Names are the RFCs'.  `ni` and `nr` are nonces without any header; `spi_i` and `spi_r` the IKE SA's; `g_ir` and the
secrets of additional key exchanges are shared secrets as `Group.shared` gives them.

A pre-shared key and a PPK are with the key holder.  What it computes with them is said here as functions, too, so that
holder and tests use the same: `psk_auth` takes the key itself; a PPK is mixed in by three of `ComputePRF`, over
`ppk_data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha1
from ipaddress import ip_address

from secd.ike.crypto.ikev2_ciphers import DirectionKeys, MessageCipher
from secd.ike.crypto.prfs import Prf

_KEY_PAD = b"Key Pad for IKEv2"


@dataclass(frozen=True, slots=True)
class IkeKeys:
    """The seven keys of an IKE SA (RFC 7296 §2.14)."""

    sk_d: bytes = field(repr=False)
    sk_ai: bytes = field(repr=False)
    sk_ar: bytes = field(repr=False)
    sk_ei: bytes = field(repr=False)
    sk_er: bytes = field(repr=False)
    sk_pi: bytes = field(repr=False)
    sk_pr: bytes = field(repr=False)

    def of(self, *, initiator: bool) -> DirectionKeys:
        """What protects the messages of the original initiator, or those of the responder."""
        if initiator:
            return DirectionKeys(self.sk_ei, self.sk_ai)
        return DirectionKeys(self.sk_er, self.sk_ar)

    def with_ppk(self, sk_d: bytes, sk_pi: bytes, sk_pr: bytes) -> IkeKeys:
        """The keys into which a PPK was mixed: those that the holder made of `ppk_data` (RFC 8784 §3)."""
        return replace(self, sk_d=sk_d, sk_pi=sk_pi, sk_pr=sk_pr)


# -- keys of an IKE SA ------------------------------------------------------------------------------------


def skeyseed(prf: Prf, ni: bytes, nr: bytes, g_ir: bytes) -> bytes:
    """SKEYSEED of a first IKE SA: prf(Ni | Nr, g^ir)."""
    return prf.compute(ni + nr, g_ir)


def skeyseed_rekey(
    prf: Prf, sk_d: bytes, *, ni: bytes, nr: bytes, g_ir: bytes, additional: Sequence[bytes] = ()
) -> bytes:
    """SKEYSEED of an IKE SA that replaces another: prf(SK_d, g^ir | Ni | Nr | SK(1) | ...).

    `prf` and `sk_d` are those of the old SA (RFC 7296 §2.18); `additional` as RFC 9370 §2.2.4 has them.
    """
    return prf.compute(sk_d, g_ir + ni + nr + b"".join(additional))


def skeyseed_additional(prf: Prf, sk_d: bytes, ni: bytes, nr: bytes, secret: bytes) -> bytes:
    """SKEYSEED(n) after an IKE_INTERMEDIATE with an additional key exchange: prf(SK_d(n-1), SK(n) | Ni | Nr).

    RFC 9370 §2.2.2.  The nonces and SPIs stay those of IKE_SA_INIT.
    """
    return prf.compute(sk_d, secret + ni + nr)


def ike_keys(
    prf: Prf, cipher: MessageCipher, seed: bytes, *, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)."""
    sizes = (
        prf.octets,
        *(cipher.integrity_key_octets,) * 2,
        *(cipher.encryption_key_octets,) * 2,
        *(prf.octets,) * 2,
    )
    made = prf.expand(seed, ni + nr + spi_i + spi_r, sum(sizes))
    parts: list[bytes] = []
    for size in sizes:
        parts.append(made[:size])
        made = made[size:]
    return IkeKeys(*parts)


# -- keys of a CHILD SA -----------------------------------------------------------------------------------


def child_keymat(
    prf: Prf,
    sk_d: bytes,
    octets: int,
    *,
    ni: bytes,
    nr: bytes,
    g_ir: bytes = b"",
    additional: Sequence[bytes] = (),
) -> tuple[bytes, bytes]:
    """KEYMAT of both SAs, `octets` each: first that for what the exchange's initiator sends (RFC 7296 §2.17).

    `g_ir` is empty without a key exchange of its own.  `ni`, `nr` are the exchange's: IKE_SA_INIT's for the SA that
    IKE_AUTH makes.  KEYMAT = prf+(SK_d, g^ir | Ni | Nr | SK(1) | ...) (RFC 9370 §2.2.4).
    """
    made = prf.expand(sk_d, g_ir + ni + nr + b"".join(additional), 2 * octets)
    return made[:octets], made[octets:]


# -- authentication ---------------------------------------------------------------------------------------


def signed_octets(
    prf: Prf, sk_p: bytes, *, message: bytes, nonce: bytes, id_body: bytes, int_auth: bytes = b""
) -> bytes:
    """What one side's AUTH covers (RFC 7296 §2.15): RealMessage | Nonce | prf(SK_p, RestOfID) [| IntAuth].

    For the initiator: SK_pi, its IKE_SA_INIT message as sent (the last one, if it was repeated), Nr, the body of IDi;
    for the responder SK_pr, its IKE_SA_INIT message, Ni, the body of IDr.
    """
    return message + nonce + prf.compute(sk_p, id_body) + int_auth


def psk_auth(prf: Prf, psk: bytes, signed: bytes) -> bytes:
    """AUTH of method SHARED_KEY_MIC, by whoever holds the key: prf(prf(psk, "Key Pad for IKEv2"), signed octets).

    The inner prf is worth as much as the key itself, so it should not leave the holder either.
    """
    return prf.compute(prf.compute(psk, _KEY_PAD), signed)


def ppk_data(key: bytes) -> bytes:
    """What SK_d, SK_pi and SK_pr become the prf of, under the PPK (RFC 8784 §3): prf+(PPK, key), of one block."""
    return key + b"\x01"


def int_auth_step(prf: Prf, sk_p: bytes, previous: bytes, octets: bytes) -> bytes:
    """One side's IntAuth_n over an IKE_INTERMEDIATE message of its own (RFC 9242 §3.3.2).

    `sk_p` is that of the keys which protect the message, `previous` IntAuth_(n-1) (empty for the first), `octets` what
    `secd.ike.crypto.ikev2_messages` gives for a message (`Opened.int_auth_octets`, `int_auth_octets`).
    """
    return prf.compute(sk_p, previous + octets)


def int_auth(of_initiator: bytes, of_responder: bytes, ike_auth_message_id: int) -> bytes:
    """IntAuth = IntAuth_iN | IntAuth_rN | IKE_AUTH_MID: what `signed_octets` ends with on both sides."""
    return of_initiator + of_responder + ike_auth_message_id.to_bytes(4, "big")


# -- NAT detection ----------------------------------------------------------------------------------------


def nat_detection(spi_i: bytes, spi_r: bytes, address: str, port: int) -> bytes:
    """The data of NAT_DETECTION_SOURCE_IP and _DESTINATION_IP: SHA-1(SPIi | SPIr | address | port) (RFC 7296 §2.23)."""
    octets = spi_i + spi_r + ip_address(address).packed + port.to_bytes(2, "big")
    return sha1(octets, usedforsecurity=False).digest()
