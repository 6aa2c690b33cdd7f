"""Main mode, quick mode and deletes as strongSwan spoke them, checked against every value that it logged.

Source: the recordings beside this file (ikev1_*.json) of two strongSwan 5.9.8 daemons, one per choice of algorithms
(pre-shared key but for ikev1_rsa_*); `values` are from charon's log at level 4.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_der_x509_certificate

from secd.ike.crypto import ikev1
from secd.ike.crypto.ciphers import BlockCipher, cipher_numbered
from secd.ike.crypto.esp import EspAlgorithm, esp_algorithm_numbered
from secd.ike.crypto.groups import group_numbered
from secd.ike.crypto.hashes import Hash, hash_numbered
from secd.ike.crypto.ikev1 import CbcState
from secd.ike.crypto.signatures import verify_hash
from secd.ike.wire import vendorids
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import AuthenticationMethod, ExchangeType, IpsecAttribute, IsakmpAttribute, ProtocolId
from secd.ike.wire.isakmp import Chain, Header, encode_with_body, parse_header, parse_payloads
from secd.ike.wire.payloads import (
    CertPayload,
    DeletePayload,
    HashPayload,
    IDPayload,
    KEPayload,
    NatDPayload,
    NoncePayload,
    SignaturePayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import SAPayload, Transform

RECORDINGS = sorted(Path(__file__).parent.glob("ikev1_*.json"))


@dataclass(frozen=True)
class Recording:
    """A recorded exchange and what follows from its first four messages."""

    data: Any

    def value(self, name: str) -> bytes:
        return bytes.fromhex(self.data["values"][name])

    @cached_property
    def datagrams(self) -> list[bytes]:
        return [bytes.fromhex(each["data"]) for each in self.data["messages"]]

    @cached_property
    def headers(self) -> list[Header]:
        return [parse_header(each) for each in self.datagrams]

    def clear(self, index: int) -> Chain:
        return parse_payloads(self.headers[index].next_payload, self.datagrams[index][HEADER_OCTETS:])

    def chosen(self, index: int) -> Transform:
        return self.clear(index).one(SAPayload).proposals[0].transforms[0]

    @cached_property
    def prf(self) -> Hash:
        found = hash_numbered(self.chosen(1).find(IsakmpAttribute.HASH_ALGORITHM) or 0)
        assert found is not None
        return found

    @cached_property
    def cipher(self) -> BlockCipher:
        found = cipher_numbered(self.chosen(1).find(IsakmpAttribute.ENCRYPTION_ALGORITHM) or 0)
        assert found is not None
        return found

    @property
    def method(self) -> int | None:
        return self.chosen(1).find(IsakmpAttribute.AUTHENTICATION_METHOD)

    @cached_property
    def key_octets(self) -> int:
        return (self.chosen(1).find(IsakmpAttribute.KEY_LENGTH) or self.cipher.key_lengths[0]) // 8

    @property
    def cookies(self) -> tuple[bytes, bytes]:
        return self.headers[1].initiator_cookie, self.headers[1].responder_cookie

    @cached_property
    def nonces(self) -> tuple[bytes, bytes]:
        return self.clear(2).one(NoncePayload).body, self.clear(3).one(NoncePayload).body

    @cached_property
    def public_values(self) -> tuple[bytes, bytes]:
        return self.clear(2).one(KEPayload).body, self.clear(3).one(KEPayload).body

    @cached_property
    def keys(self) -> ikev1.Phase1Keys:
        return ikev1.phase1_keys(self.prf, self.value("SKEYID"), self.value("g_xy"), *self.cookies)

    @cached_property
    def decrypted(self) -> dict[int, tuple[Chain, bytes]]:
        """Every encrypted message's payloads and plain octets, by index."""
        key = ikev1.encryption_key(self.prf, self.keys.skeyid_e, self.key_octets)
        state = phase1 = CbcState.phase1(self.prf, self.cipher, key, *self.public_values)
        plain: dict[int, tuple[Chain, bytes]] = {}
        message_id = 0
        for index, header in enumerate(self.headers):
            if not header.encrypted:
                continue
            if header.message_id != message_id:
                message_id = header.message_id
                state = phase1.phase2(self.prf, message_id)
            octets, state = state.decrypt(self.datagrams[index][HEADER_OCTETS:])
            if message_id == 0:
                phase1 = state
            plain[index] = parse_payloads(header.next_payload, octets, padded=True), octets
        return plain

    @cached_property
    def esp(self) -> EspAlgorithm:
        transform = self.decrypted[7][0].one(SAPayload).proposals[0].transforms[0]
        found = esp_algorithm_numbered(
            transform.id,
            transform.find(IpsecAttribute.KEY_LENGTH),
            transform.find(IpsecAttribute.AUTHENTICATION_ALGORITHM),
        )
        assert found is not None
        return found


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.stem.removeprefix("ikev1_"))
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(json.loads(request.param.read_text()))


def test_the_recording_is_a_main_mode_a_quick_mode_and_two_deletes(recording: Recording) -> None:
    exchanges = [header.exchange for header in recording.headers]
    assert exchanges == [ExchangeType.IDENTITY_PROTECTION] * 6 + [ExchangeType.QUICK] * 3 + [5, 5]
    assert [header.encrypted for header in recording.headers] == [False] * 4 + [True] * 7


def test_vendor_ids_name_capabilities(recording: Recording) -> None:
    sent = [vendorids.vendor_id_name(each.data) for each in recording.clear(0).all(VendorIDPayload)]
    names = ["XAUTH", "DPD", "FRAGMENTATION", "RFC 3947", "draft-ietf-ipsec-nat-t-ike-02\\n"]
    if recording.method == AuthenticationMethod.RSA_SIGNATURES:
        names.remove("FRAGMENTATION")  # it was recorded with fragmentation turned off
    assert sent == names


def test_skeyid_and_its_descendants(recording: Recording) -> None:
    if recording.method == AuthenticationMethod.PRE_SHARED_KEY:
        psk = recording.data["psk"].encode()
        skeyid = recording.prf.prf(psk, ikev1.skeyid_psk_data(*recording.nonces))
    else:
        skeyid = ikev1.skeyid_signatures(recording.prf, *recording.nonces, recording.value("g_xy"))
    assert skeyid == recording.value("SKEYID")
    assert recording.keys.skeyid_d == recording.value("SKEYID_d")
    assert recording.keys.skeyid_a == recording.value("SKEYID_a")
    assert recording.keys.skeyid_e == recording.value("SKEYID_e")


def test_the_ciphers_key_and_first_iv(recording: Recording) -> None:
    key = ikev1.encryption_key(recording.prf, recording.keys.skeyid_e, recording.key_octets)
    assert key == recording.value("Ka")
    state = CbcState.phase1(recording.prf, recording.cipher, key, *recording.public_values)
    assert state.iv == recording.value("phase1_iv")


def test_the_responders_nat_d_says_where_the_initiator_is(recording: Recording) -> None:
    # kernel-libipsec spoils the hash of its own address (to force UDP), but the peer's is true
    address = recording.data["initiator"]
    expected = ikev1.nat_d(recording.prf, *recording.cookies, address, 500)
    assert recording.clear(3).all(NatDPayload)[0].data == expected


def test_hash_i_and_hash_r(recording: Recording) -> None:
    sai_b = recording.clear(0).one(SAPayload).body
    common = {
        "g_xi": recording.public_values[0],
        "g_xr": recording.public_values[1],
        "cky_i": recording.cookies[0],
        "cky_r": recording.cookies[1],
        "sai_b": sai_b,
    }
    skeyid = recording.value("SKEYID")
    for index, name in ((4, "HASH_I"), (5, "HASH_R")):
        chain = recording.decrypted[index][0]
        id_b = chain.one(IDPayload).body
        if name == "HASH_I":
            computed = ikev1.hash_i(recording.prf, skeyid, **common, idii_b=id_b)
        else:
            computed = ikev1.hash_r(recording.prf, skeyid, **common, idir_b=id_b)
        assert computed == recording.value(name)
        if recording.method == AuthenticationMethod.PRE_SHARED_KEY:
            assert computed == chain.one(HashPayload).data
        else:
            public_key = load_der_x509_certificate(chain.one(CertPayload).data).public_key()
            assert isinstance(public_key, RSAPublicKey)
            verify_hash(public_key, computed, chain.one(SignaturePayload).data)


def test_the_hashes_of_quick_mode(recording: Recording) -> None:
    first, second, third = (recording.decrypted[index][0] for index in (6, 7, 8))
    message_id = recording.headers[6].message_id
    skeyid_a = recording.keys.skeyid_a
    ni_b, nr_b = first.one(NoncePayload).body, second.one(NoncePayload).body
    one = ikev1.hash_1(recording.prf, skeyid_a, message_id, first.after_first)
    two = ikev1.hash_2(recording.prf, skeyid_a, message_id, ni_b, second.after_first)
    three = ikev1.hash_3(recording.prf, skeyid_a, message_id, ni_b, nr_b)
    assert one == recording.value("HASH(1)") == first.one(HashPayload).data
    assert two == recording.value("HASH(2)") == second.one(HashPayload).data
    assert three == third.one(HashPayload).data


def test_the_hash_of_an_informational_exchange_and_what_it_deletes(recording: Recording) -> None:
    for index, protocol, spi in (
        (9, ProtocolId.PROTO_IPSEC_ESP, recording.value("spi_initiator")),
        (10, ProtocolId.PROTO_ISAKMP, b"".join(recording.cookies)),
    ):
        chain = recording.decrypted[index][0]
        message_id = recording.headers[index].message_id
        computed = ikev1.hash_1(recording.prf, recording.keys.skeyid_a, message_id, chain.after_first)
        assert computed == chain.one(HashPayload).data
        assert chain.one(DeletePayload) == DeletePayload(protocol, (spi,))


def test_the_keys_of_both_esp_sas(recording: Recording) -> None:
    first, second = (recording.decrypted[index][0] for index in (6, 7))
    values = recording.data["values"]
    # an SA's KEYMAT is made with the SPI that its receiver chose
    for receiver, sender in (("responder", "initiator"), ("initiator", "responder")):
        keymat = ikev1.keymat(
            recording.prf,
            recording.keys.skeyid_d,
            recording.esp.keymat_octets,
            protocol=ProtocolId.PROTO_IPSEC_ESP,
            spi=recording.value(f"spi_{receiver}"),
            ni_b=first.one(NoncePayload).body,
            nr_b=second.one(NoncePayload).body,
            g_qm_xy=bytes.fromhex(values.get("g_qm_xy", "")),
        )
        encryption, integrity = recording.esp.split(keymat)
        assert encryption == recording.value(f"encryption_{sender}")
        assert integrity == bytes.fromhex(values.get(f"integrity_{sender}", ""))


def test_public_values_have_the_groups_size(recording: Recording) -> None:
    group = group_numbered(recording.chosen(1).find(IsakmpAttribute.GROUP_DESCRIPTION) or 0)
    assert group is not None
    assert [len(each) for each in recording.public_values] == [group.public_octets] * 2
    assert len(recording.value("g_xy")) == group.secret_octets


def test_every_message_is_encoded_again_to_the_same_octets(recording: Recording) -> None:
    for index, header in enumerate(recording.headers):
        chain = recording.decrypted[index][0] if header.encrypted else recording.clear(index)
        assert b"".join(each.encode_body() for each in chain.payloads) == b"".join(each.raw for each in chain.payloads)
        assert encode_payloads(chain.payloads) == chain.octets
        datagram = recording.datagrams[index]
        assert encode_with_body(header, header.next_payload, datagram[HEADER_OCTETS:]) == datagram


def test_encrypting_again_gives_the_same_ciphertext(recording: Recording) -> None:
    key = ikev1.encryption_key(recording.prf, recording.keys.skeyid_e, recording.key_octets)
    state = CbcState.phase1(recording.prf, recording.cipher, key, *recording.public_values)
    for index in (4, 5):
        ciphertext, state = state.encrypt(recording.decrypted[index][1])
        assert ciphertext == recording.datagrams[index][HEADER_OCTETS:]
