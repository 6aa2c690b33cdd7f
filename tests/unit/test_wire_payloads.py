"""The bodies of IKEv1's payloads: what is accepted, what is refused and with which NOTIFY."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secd.ike.wire.attributes import MAX_ATTRIBUTES, Attribute, attribute
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import (
    AuthenticationMethod,
    EncryptionAlgorithm,
    IdType,
    IsakmpAttribute,
    NotifyType,
    PayloadType,
    ProtocolId,
    name_of,
)
from secd.ike.wire.isakmp import parse_payloads
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import (
    CertPayload,
    CertReqPayload,
    ConfigurationPayload,
    DeletePayload,
    FragmentPayload,
    HashPayload,
    IDPayload,
    KEPayload,
    NatDPayload,
    NatOAPayload,
    NoncePayload,
    NotificationPayload,
    SignaturePayload,
    UnknownPayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import MAX_PROPOSALS, Proposal, SAPayload, Transform

SA = SAPayload(
    (
        Proposal(
            1,
            ProtocolId.PROTO_ISAKMP,
            b"",
            (
                Transform(
                    1,
                    1,
                    (
                        attribute(IsakmpAttribute.ENCRYPTION_ALGORITHM, EncryptionAlgorithm.AES_CBC),
                        attribute(IsakmpAttribute.AUTHENTICATION_METHOD, AuthenticationMethod.PRE_SHARED_KEY),
                        attribute(IsakmpAttribute.LIFE_DURATION, 28800),
                        attribute(IsakmpAttribute.LIFE_DURATION, 86400),
                    ),
                ),
                Transform(2, 1),
            ),
        ),
        Proposal(2, ProtocolId.PROTO_IPSEC_ESP, b"\x01\x02\x03\x04", (Transform(1, 12),)),
    )
)

PAYLOADS: list[Payload] = [
    SA,
    KEPayload(b"\x02" * 96),
    IDPayload(IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01", protocol=17, port=500),
    IDPayload(IdType.ID_FQDN, b"gate.example"),
    CertPayload(4, b"certificate"),
    CertReqPayload(4, b""),
    HashPayload(b"h" * 20),
    SignaturePayload(b"s" * 128),
    NoncePayload(b"n" * 16),
    NotificationPayload(NotifyType.INITIAL_CONTACT, ProtocolId.PROTO_ISAKMP, b"c" * 16, b"data"),
    DeletePayload(ProtocolId.PROTO_IPSEC_ESP, (b"aaaa", b"bbbb")),
    DeletePayload(ProtocolId.PROTO_IPSEC_ESP, ()),
    VendorIDPayload(b""),
    ConfigurationPayload(1, 7, (Attribute(1, b""), Attribute(2, 3))),
    NatDPayload(b"d" * 20),
    NatDPayload(b"d" * 20, draft=True),
    NatOAPayload(IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01"),
    NatOAPayload(IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01", draft=True),
    FragmentPayload(b"\x00\x01piece"),
    UnknownPayload(200, b"whatever"),
]


def body_of(type_: int, body: bytes) -> Payload:
    """Parse one payload with this body."""
    octets = b"\x00\x00" + (4 + len(body)).to_bytes(2, "big") + body
    return parse_payloads(type_, octets).payloads[0]


def refusal_of(type_: int, body: bytes) -> WireError:
    with pytest.raises(WireError) as caught:
        body_of(type_, body)
    return caught.value


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
def test_a_payload_comes_back_as_it_was_sent(payload: Payload) -> None:
    parsed = body_of(payload.type, payload.body)
    assert parsed == payload
    assert parsed.raw == payload.body


def test_a_chain_of_all_of_them_comes_back() -> None:
    octets = encode_payloads(PAYLOADS)
    chain = parse_payloads(PAYLOADS[0].type, octets)
    assert list(chain.payloads) == PAYLOADS
    assert encode_payloads(chain.payloads) == octets


def test_the_body_is_what_was_received_even_where_we_would_have_written_it_otherwise() -> None:
    odd = NatOAPayload(IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01").body[:1] + b"\xff\xff\xff\xc0\x00\x02\x01"
    parsed = body_of(PayloadType.NAT_OA, odd)
    assert parsed.body == odd
    assert parsed.encode_body() != odd


def test_a_changed_copy_does_not_keep_the_received_octets() -> None:
    parsed = body_of(PayloadType.HASH, b"received")
    assert isinstance(parsed, HashPayload)
    assert replace(parsed, data=b"changed").body == b"changed"


@pytest.mark.parametrize("type_", [PayloadType.P, PayloadType.T])
def test_proposals_and_transforms_stand_in_an_sa_payload_only(type_: PayloadType) -> None:
    assert refusal_of(type_, b"12345678").notify is NotifyType.INVALID_PAYLOAD_TYPE


@pytest.mark.parametrize("octets", [0, 7, 257])
def test_a_nonce_has_8_to_256_octets(octets: int) -> None:
    assert refusal_of(PayloadType.NONCE, bytes(octets)).notify is NotifyType.PAYLOAD_MALFORMED


@pytest.mark.parametrize("octets", [8, 256])
def test_the_shortest_and_the_longest_nonce(octets: int) -> None:
    assert body_of(PayloadType.NONCE, bytes(octets)) == NoncePayload(bytes(octets))


def test_an_address_of_the_wrong_size_is_an_invalid_id() -> None:
    error = refusal_of(PayloadType.ID, b"\x01\x00\x00\x00\x0a\x00\x00")
    assert error.notify is NotifyType.INVALID_ID_INFORMATION
    assert "3 octets of ID_IPV4_ADDR, expected 4" in str(error)


def test_an_unknown_id_type_is_left_to_the_caller() -> None:
    assert body_of(PayloadType.ID, b"\xfa\x00\x00\x00abc") == IDPayload(0xFA, b"abc")


class TestSA:
    def test_another_doi_is_refused(self) -> None:
        error = refusal_of(PayloadType.SA, b"\x00\x00\x00\x02" + SA.body[4:])
        assert error.notify is NotifyType.DOI_NOT_SUPPORTED

    def test_another_situation_is_refused(self) -> None:
        error = refusal_of(PayloadType.SA, SA.body[:4] + b"\x00\x00\x00\x03" + SA.body[8:])
        assert error.notify is NotifyType.SITUATION_NOT_SUPPORTED

    def test_without_a_proposal_it_is_malformed(self) -> None:
        assert refusal_of(PayloadType.SA, SA.body[:8]).notify is NotifyType.PAYLOAD_MALFORMED

    @pytest.mark.parametrize("count", [1, 3])
    def test_the_number_of_transforms_must_be_the_announced_one(self, count: int) -> None:
        # doi, situation, then the proposal: its header (4), number, protocol, SPI size, number of transforms
        body = bytearray(SA.body)
        assert body[15] == 2
        body[15] = count
        assert refusal_of(PayloadType.SA, bytes(body)).notify is NotifyType.BAD_PROPOSAL_SYNTAX

    def test_a_foreign_payload_among_the_proposals_is_bad_syntax(self) -> None:
        body = bytearray(SA.body)
        body[8] = PayloadType.KE
        assert refusal_of(PayloadType.SA, bytes(body)).notify is NotifyType.BAD_PROPOSAL_SYNTAX

    def test_octets_behind_the_last_proposal_are_refused(self) -> None:
        assert "left over" in str(refusal_of(PayloadType.SA, SA.body + b"\x00"))

    def test_proposals_are_bounded(self) -> None:
        one = SA.proposals[1]
        assert body_of(PayloadType.SA, SAPayload((one,) * MAX_PROPOSALS).body)
        error = refusal_of(PayloadType.SA, SAPayload((one,) * (MAX_PROPOSALS + 1)).body)
        assert error.notify is NotifyType.BAD_PROPOSAL_SYNTAX

    def test_transforms_are_bounded_over_all_proposals(self) -> None:
        one = replace(SA.proposals[1], transforms=(Transform(1, 12),) * 255)
        assert body_of(PayloadType.SA, SAPayload((one,) * 4).body)
        error = refusal_of(PayloadType.SA, SAPayload((one,) * 5).body)
        assert "more than 1024 transforms" in str(error)

    def test_attributes_are_bounded(self) -> None:
        def with_attributes(count: int) -> bytes:
            return SAPayload((Proposal(1, 1, b"", (Transform(1, 1, (Attribute(1, 1),) * count),)),)).body

        assert body_of(PayloadType.SA, with_attributes(MAX_ATTRIBUTES))
        assert "more than 32 attributes" in str(refusal_of(PayloadType.SA, with_attributes(MAX_ATTRIBUTES + 1)))


class TestAttribute:
    def test_a_number_that_fits_16_bits_is_basic_and_a_larger_one_has_four_octets(self) -> None:
        assert attribute(12, 65535) == Attribute(12, 65535)
        assert attribute(12, 65536) == Attribute(12, b"\x00\x01\x00\x00")

    @pytest.mark.parametrize(
        ("value", "number"), [(7, 7), (b"\x00\x01\x51\x80", 86400), (b"\x00" * 7 + b"\x07", 7), (b"", None)]
    )
    def test_its_number_does_not_depend_on_its_form(self, value: int | bytes, number: int | None) -> None:
        assert Attribute(1, value).number == number

    def test_a_value_of_more_than_8_octets_is_no_number(self) -> None:
        assert Attribute(1, bytes(9)).number is None

    def test_a_transform_finds_the_first_of_a_type(self) -> None:
        transform = SA.proposals[0].transforms[0]
        assert transform.find(IsakmpAttribute.LIFE_DURATION) == 28800
        assert transform.find(IsakmpAttribute.KEY_LENGTH) is None


def test_more_spis_than_we_take_are_refused() -> None:
    assert body_of(PayloadType.D, DeletePayload(3, (b"abcd",) * 256).body)
    assert "256 are the most" in str(refusal_of(PayloadType.D, DeletePayload(3, (b"abcd",) * 257).body))


def test_a_delete_with_spis_of_no_size_does_not_multiply() -> None:
    assert body_of(PayloadType.D, b"\x00\x00\x00\x01\x03\x00\x00\x02") == DeletePayload(3, (b"", b""))


def test_spis_of_several_sizes_do_not_fit_one_delete() -> None:
    with pytest.raises(ValueError, match="one size"):
        DeletePayload(3, (b"a", b"bb")).encode_body()


def test_a_notification_whose_spi_is_longer_than_itself_is_malformed() -> None:
    assert "SPI takes 200 octets" in str(refusal_of(PayloadType.N, b"\x00\x00\x00\x01\x01\xc8\x00\x01abc"))


def test_numbers_are_named_where_the_registry_names_them() -> None:
    assert name_of(NotifyType, 14) == "NO_PROPOSAL_CHOSEN"
    assert name_of(NotifyType, 9999) == "9999"
