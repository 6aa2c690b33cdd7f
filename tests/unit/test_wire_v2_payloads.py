"""Every payload of IKEv2: what it is on the wire, and what is refused."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from secd.ike.wire.attributes import Attribute
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.config import ConfigAttribute, ConfigPayload
from secd.ike.wire.ikev2.iana import (
    AuthMethod,
    CertEncoding,
    ConfigType,
    Encr,
    Esn,
    IdType,
    Integ,
    NotifyType,
    PayloadType,
    Prf,
    ProtocolId,
    TransformType,
)
from secd.ike.wire.ikev2.iana import ConfigAttribute as Attr
from secd.ike.wire.ikev2.message import parse_payloads
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import (
    AuthPayload,
    CertPayload,
    CertReqPayload,
    DeletePayload,
    EAPPayload,
    IDiPayload,
    IDrPayload,
    KEPayload,
    NoncePayload,
    VendorIDPayload,
)
from secd.ike.wire.ikev2.sa import MAX_ATTRIBUTES, MAX_PROPOSALS, Proposal, SAPayload, Transform, transform
from secd.ike.wire.ikev2.ts import OpaqueSelector, TrafficSelector, TSiPayload, TSrPayload, any_selector

OFFER = SAPayload(
    (
        Proposal(
            1,
            ProtocolId.ESP,
            b"\xca\xfe\xba\xbe",
            (
                transform(TransformType.ENCR, Encr.AES_CBC, 256),
                transform(TransformType.INTEG, Integ.HMAC_SHA2_256_128),
                transform(TransformType.ESN, Esn.NO_ESN),
            ),
        ),
        Proposal(2, ProtocolId.ESP, b"\xca\xfe\xba\xbe", (transform(TransformType.ENCR, Encr.CHACHA20_POLY1305),)),
    )
)
OFFER_OCTETS = (
    "0200002801030403cafebabe" + "0300000c0100000c800e0100" + "030000080300000c" + "0000000805000000"
    "0000001402030401cafebabe" + "000000080100001c"
)  # fmt: skip


def body_of(payload: Payload) -> str:
    return payload.encode_body().hex()


def reread(payload: Payload) -> Payload:
    return parse_payloads(payload.type, encode_payloads([payload])).payloads[0]


def parse(type_: int, body: str) -> Payload:
    octets = bytes.fromhex(body)
    return parse_payloads(type_, b"\x00\x00" + (4 + len(octets)).to_bytes(2, "big") + octets).payloads[0]


EXAMPLES: list[tuple[Payload, str]] = [
    (OFFER, OFFER_OCTETS),
    (SAPayload((Proposal(1, ProtocolId.IKE, b"", (transform(TransformType.PRF, Prf.HMAC_SHA2_512),)),)),
     "00000010" + "01010001" + "0000000802000007"),
    (SAPayload((Proposal(1, ProtocolId.AH, b"", ()),)), "0000000801020000"),
    (KEPayload(36, b"\xaa\xbb"), "00240000aabb"),
    (IDiPayload(IdType.ID_FQDN, b"gw.example"), "0200000067772e6578616d706c65"),
    (IDrPayload(IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01"), "01000000c0000201"),
    (IDiPayload(IdType.ID_NULL, b""), "0d000000"),
    (CertPayload(CertEncoding.X509_SIGNATURE, b"cert"), "0463657274"),
    (CertReqPayload(CertEncoding.X509_SIGNATURE, b"\x11" * 20), "04" + "11" * 20),
    (AuthPayload(AuthMethod.SHARED_KEY_MIC, b"mac"), "020000006d6163"),
    (NoncePayload(b"\x22" * 32), "22" * 32),
    (NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\xca\xfe\xba\xbe"), "03044009cafebabe"),
    (NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, b"\x00\x13"), "000000110013"),
    (DeletePayload(ProtocolId.IKE), "01000000"),
    (DeletePayload(ProtocolId.ESP, (b"aaaa", b"bbbb")), "030400026161616162626262"),
    (VendorIDPayload(b"v"), "76"),
    (EAPPayload(b"\x01\x02\x00\x04"), "01020004"),
    (TSiPayload((any_selector(4),)), "01000000" + "070000100000ffff00000000ffffffff"),
    (TSrPayload((any_selector(6), OpaqueSelector(10, 0, b"label"))),
     "02000000" + "080000280000ffff" + "00" * 16 + "ff" * 16 + "0a0000096c6162656c"),
    (TSiPayload((TrafficSelector(ip_address("10.0.0.1"), ip_address("10.0.0.9"), 17, 500, 500),)),
     "01000000" + "0711001001f401f40a0000010a000009"),
    (ConfigPayload(ConfigType.CFG_REQUEST, (ConfigAttribute(Attr.INTERNAL_IP4_ADDRESS),)), "01000000" + "00010000"),
    (ConfigPayload(ConfigType.CFG_REPLY, (ConfigAttribute(Attr.INTERNAL_IP4_ADDRESS, b"\x0a\x00\x00\x01"),)),
     "02000000" + "000100040a000001"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "octets"), EXAMPLES, ids=lambda each: type(each).__name__)
def test_a_payload_is_these_octets_and_they_are_it(payload: Payload, octets: str) -> None:
    assert body_of(payload) == octets
    assert parse(payload.type, octets) == payload
    assert reread(payload).raw.hex() == octets


SA, TSi, CP, N, D = PayloadType.SA, PayloadType.TSi, PayloadType.CP, PayloadType.N, PayloadType.D
LONG = "0000" + "fffc"


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        pytest.param(SA, "", id="no proposal"),
        pytest.param(SA, "0100000801020000", id="neither last nor more"),
        pytest.param(SA, "0200000801020000", id="a proposal is missing"),
        pytest.param(SA, "0000000901020000", id="a proposal too long"),
        pytest.param(SA, "0000000701020000", id="a proposal too short"),
        pytest.param(SA, "000000080102000000", id="octets behind the proposals"),
        pytest.param(SA, "0000001001010002" + "0000000802000007", id="fewer transforms than announced"),
        pytest.param(SA, "0000001001010000" + "0000000802000007", id="more transforms than announced"),
        pytest.param(SA, "0000001801010001" + "0300000802000007" * 2, id="more transforms than announced, linked"),
        pytest.param(SA, "0000000c01010401cafebabe", id="an SPI, but no transform"),
        pytest.param(SA, "000000080101ff00", id="an SPI longer than the proposal"),
        pytest.param(SA, "0000000f01010001" + "00000007020000", id="half a transform"),
        pytest.param(SA, "0000001201010001" + "0000000a02000007800e", id="half an attribute"),
        pytest.param(SA, "0000001401010001" + "0000000c02000007000e0001", id="an attribute too long"),
        pytest.param(PayloadType.KE, "0013", id="half a KE"),
        pytest.param(PayloadType.IDi, "010000", id="half an ID"),
        pytest.param(PayloadType.IDi, "01000000c00002", id="three octets of IPv4"),
        pytest.param(PayloadType.IDr, "05000000c0000201", id="four octets of IPv6"),
        pytest.param(PayloadType.CERT, "", id="an empty CERT"),
        pytest.param(PayloadType.CERTREQ, "", id="an empty CERTREQ"),
        pytest.param(PayloadType.AUTH, "020000", id="half an AUTH"),
        pytest.param(PayloadType.NONCE, "22" * 15, id="a short nonce"),
        pytest.param(PayloadType.NONCE, "22" * 257, id="a long nonce"),
        pytest.param(N, "000040", id="half a notification"),
        pytest.param(N, "03044009cafeba", id="an SPI of three octets that says four"),
        pytest.param(D, "030400", id="half a delete"),
        pytest.param(D, "0304000261616161", id="fewer SPIs than announced"),
        pytest.param(D, "03040001616161616262", id="octets behind the SPIs"),
        pytest.param(D, "0304ffff61616161", id="many SPIs"),
        pytest.param(D, "03000001", id="SPIs of no octets"),
        pytest.param(TSi, "000000", id="half a TS"),
        pytest.param(TSi, "00000000", id="no selectors"),
        pytest.param(TSi, "02000000" + "070000100000ffff00000000ffffffff", id="fewer selectors than announced"),
        pytest.param(TSi, "01000000" + "070000100000ffff00000000ffffffff00", id="octets behind the selectors"),
        pytest.param(TSi, "01000000" + "0700000f0000ffff00000000ffffff", id="a short selector"),
        pytest.param(TSi, "01000000" + "070000110000ffff00000000ffffffff00", id="a long selector"),
        pytest.param(TSi, "01000000" + "08000010" + "0000ffff00000000ffffffff", id="IPv6 of IPv4's size"),
        pytest.param(TSi, "01000000" + "070000100000ffff00000001" + "00000000", id="an empty range"),
        pytest.param(TSi, "01000000" + "0a000003", id="an opaque selector too short"),
        pytest.param(CP, "010000", id="half a CP"),
        pytest.param(CP, "01000000" + "0001", id="half an attribute"),
        pytest.param(CP, "01000000" + "00010005" + "0a000001", id="an attribute too long"),
    ],
)
def test_a_malformed_payload_is_invalid_syntax(type_: int, body: str) -> None:
    with pytest.raises(WireError) as caught:
        parse(type_, body)
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
    assert "offset" in str(caught.value)


def test_there_is_an_end_to_proposals_transforms_and_attributes() -> None:
    proposal = Proposal(1, ProtocolId.ESP, b"", ())
    assert reread(SAPayload((proposal,) * MAX_PROPOSALS)) == SAPayload((proposal,) * MAX_PROPOSALS)
    with pytest.raises(WireError, match="more than 64 proposals"):
        reread(SAPayload((proposal,) * (MAX_PROPOSALS + 1)))
    many = Proposal(1, ProtocolId.ESP, b"", (Transform(1, 1),) * 255)
    with pytest.raises(WireError, match="more than 1024 transforms"):
        reread(SAPayload((many,) * 5))
    attributes = (Attribute(14, 128),) * (MAX_ATTRIBUTES + 1)
    with pytest.raises(WireError, match="more than 16 attributes"):
        reread(SAPayload((Proposal(1, ProtocolId.ESP, b"", (Transform(1, 12, attributes),)),)))
    config = ConfigPayload(1, (ConfigAttribute(1),) * 129)
    with pytest.raises(WireError, match="more than 128 attributes"):
        reread(config)


def test_a_transforms_key_length_and_whether_it_is_understood() -> None:
    assert transform(TransformType.ENCR, Encr.AES_CBC, 192).key_length == 192
    assert transform(TransformType.ENCR, Encr.CHACHA20_POLY1305).key_length is None
    assert Transform(1, 12).understood
    assert transform(1, 12, 128).understood
    assert not Transform(1, 12, (Attribute(99, 1),)).understood
    assert not Transform(1, 12, (Attribute(14, 128), Attribute(99, 1))).understood
    assert not Transform(1, 12, (Attribute(14, b"\x00\x80"),)).understood  # key length is a fixed-length attribute
    assert not Transform(1, 12, (Attribute(14, 128), Attribute(14, 256))).understood


def test_transforms_are_found_by_type() -> None:
    assert OFFER.proposals[0].of(TransformType.ESN) == (transform(TransformType.ESN, Esn.NO_ESN),)
    assert OFFER.proposals[1].of(TransformType.ESN) == ()


def test_variable_attributes_come_back() -> None:
    offer = SAPayload((Proposal(1, 3, b"", (Transform(1, 12, (Attribute(77, b"abc"), Attribute(14, 128))),)),))
    assert reread(offer) == offer


def test_the_authorities_of_a_certificate_request() -> None:
    both = CertReqPayload(CertEncoding.X509_SIGNATURE, b"a" * 20 + b"b" * 20)
    assert both.authorities == (b"a" * 20, b"b" * 20)
    assert CertReqPayload(4, b"a" * 20 + b"b" * 19).authorities == (b"a" * 20,)
    assert CertReqPayload(4).authorities == ()


def test_reserved_bits_of_configuration_attributes_are_not_looked_at() -> None:
    assert parse(CP, "01000000" + "80010000") == ConfigPayload(1, (ConfigAttribute(1),))


def test_configuration_values_are_found_by_type() -> None:
    payload = ConfigPayload(2, (ConfigAttribute(3, b"\x01" * 4), ConfigAttribute(1), ConfigAttribute(3, b"\x02" * 4)))
    assert payload.all(Attr.INTERNAL_IP4_DNS) == (b"\x01" * 4, b"\x02" * 4)


def test_opaque_ports_are_taken() -> None:
    opaque = TSiPayload((TrafficSelector(ip_address("::"), ip_address("::"), 135, 0xFFFF, 0),))
    assert reread(opaque) == opaque


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(DeletePayload(3, (b"aaaa", b"b")), id="SPIs of two sizes"),
        pytest.param(TSiPayload((TrafficSelector(ip_address("::"), ip_address("10.0.0.1")),)), id="two versions of IP"),
        pytest.param(NotifyPayload(70000), id="a number that does not fit"),
        pytest.param(ConfigPayload(1, (ConfigAttribute(1, bytes(70000)),)), id="a value that does not fit"),
    ],
)
def test_what_cannot_be_said_is_our_own_mistake(payload: Payload) -> None:
    with pytest.raises(ValueError, match=r"size|version|fit"):
        payload.encode_body()
