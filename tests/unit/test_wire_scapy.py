"""A second opinion on the wire formats: scapy reads what we write, and we read what scapy writes."""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path

import pytest
from scapy.layers import isakmp as scapy

from secd.ike.wire import iana
from secd.ike.wire.attributes import attribute
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import (
    AuthenticationMethod,
    EncryptionAlgorithm,
    ExchangeType,
    Group,
    HashAlgorithm,
    IsakmpAttribute,
    LifeType,
    NotifyType,
    PayloadType,
    ProtocolId,
)
from secd.ike.wire.isakmp import Header, encode_message, parse_header, parse_payloads
from secd.ike.wire.payloads import (
    DeletePayload,
    HashPayload,
    IDPayload,
    KEPayload,
    NoncePayload,
    NotificationPayload,
    SignaturePayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import Proposal, SAPayload, Transform

HEADER = Header(b"initiato", b"responde", ExchangeType.IDENTITY_PROTECTION)

#: Both ways to say 3DES, SHA-1, PSK, modp1024, 28800 s: ours and scapy's.
OUR_TRANSFORM = Transform(
    1,
    1,
    (
        attribute(IsakmpAttribute.ENCRYPTION_ALGORITHM, EncryptionAlgorithm.TRIPLE_DES_CBC),
        attribute(IsakmpAttribute.HASH_ALGORITHM, HashAlgorithm.SHA),
        attribute(IsakmpAttribute.AUTHENTICATION_METHOD, AuthenticationMethod.PRE_SHARED_KEY),
        attribute(IsakmpAttribute.GROUP_DESCRIPTION, Group.MODP1024),
        attribute(IsakmpAttribute.LIFE_TYPE, LifeType.SECONDS),
        attribute(IsakmpAttribute.LIFE_DURATION, 28800),
    ),
)
SCAPY_TRANSFORM = [
    ("Encryption", "3DES-CBC"),
    ("Hash", "SHA"),
    ("Authentication", "PSK"),
    ("GroupDesc", "1024MODPgr"),
    ("LifeType", "Seconds"),
    ("LifeDuration", 28800),
]


def test_scapy_reads_our_phase_1_offer() -> None:
    second = Transform(2, 1, (attribute(IsakmpAttribute.KEY_LENGTH, 256),))
    offer = SAPayload((Proposal(1, ProtocolId.PROTO_ISAKMP, b"", (OUR_TRANSFORM, second)),))
    datagram = encode_message(HEADER, [offer, VendorIDPayload(bytes.fromhex("09002689dfd6b712"))])
    read = scapy.ISAKMP(datagram)
    assert (read.init_cookie, read.resp_cookie) == (b"initiato", b"responde")
    assert (read.exch_type, int(read.flags), read.id, read.length) == (2, 0, 0, len(datagram))
    proposal = read[scapy.ISAKMP_payload_SA].prop
    assert (proposal.proposal, proposal.proto, proposal.trans_nb) == (1, 1, 2)
    assert proposal.trans.transforms == SCAPY_TRANSFORM
    assert proposal.trans.payload.transforms == [("KeyLength", 256)]
    assert "XAUTH" in read[scapy.ISAKMP_payload_VendorID].sprintf("%VendorID%")


def test_scapy_reads_our_key_exchange_our_notifications_and_our_deletes() -> None:
    datagram = encode_message(
        HEADER,
        [
            KEPayload(b"k" * 128),
            NoncePayload(b"n" * 32),
            IDPayload(iana.IdType.ID_IPV4_ADDR, b"\xc0\x00\x02\x01", 17, 500),
            HashPayload(b"h" * 20),
            SignaturePayload(b"s" * 128),
            NotificationPayload(NotifyType.R_U_THERE, ProtocolId.PROTO_ISAKMP, b"c" * 16, b"\x00\x00\x00\x07"),
            DeletePayload(ProtocolId.PROTO_IPSEC_ESP, (b"aaaa", b"bbbb")),
        ],
    )
    read = scapy.ISAKMP(datagram)
    assert read[scapy.ISAKMP_payload_KE].ke == b"k" * 128
    assert read[scapy.ISAKMP_payload_Nonce].nonce == b"n" * 32
    identity = read[scapy.ISAKMP_payload_ID]
    assert (identity.IdentData, identity.ProtoID, identity.Port) == ("192.0.2.1", 17, 500)
    assert read[scapy.ISAKMP_payload_Hash].hash == b"h" * 20
    assert read[scapy.ISAKMP_payload_SIG].sig == b"s" * 128
    notify = read[scapy.ISAKMP_payload_Notify]
    assert notify.sprintf("%notify_msg_type%") == "R-U-THERE"
    assert (notify.doi, notify.proto, notify.SPI, notify.notify_data) == (1, 1, b"c" * 16, b"\x00\x00\x00\x07")
    delete = read[scapy.ISAKMP_payload_Delete]
    assert (delete.doi, delete.proto, delete.SPIs) == (1, 3, [b"aaaa", b"bbbb"])


def test_we_read_what_scapy_writes() -> None:
    transforms = scapy.ISAKMP_payload_Transform(transform_count=1, transforms=SCAPY_TRANSFORM)
    written = bytes(
        scapy.ISAKMP(init_cookie=b"initiato", resp_cookie=b"responde", exch_type=2)
        / scapy.ISAKMP_payload_SA(prop=scapy.ISAKMP_payload_Proposal(trans_nb=1, trans=transforms))
        / scapy.ISAKMP_payload_KE(ke=b"k" * 96)
        / scapy.ISAKMP_payload_Nonce(nonce=b"n" * 16)
        / scapy.ISAKMP_payload_Notify(doi=1, notify_msg_type=24578, SPI=b"c" * 16)
        / scapy.ISAKMP_payload_Delete(doi=1, proto=3, SPIs=[b"aaaa", b"bbbb"])
        / scapy.ISAKMP_payload_VendorID(VendorID=b"vendor")
    )
    expected = [
        SAPayload((Proposal(1, ProtocolId.PROTO_ISAKMP, b"", (OUR_TRANSFORM,)),)),
        KEPayload(b"k" * 96),
        NoncePayload(b"n" * 16),
        NotificationPayload(NotifyType.INITIAL_CONTACT, ProtocolId.PROTO_ISAKMP, b"c" * 16),
        DeletePayload(ProtocolId.PROTO_IPSEC_ESP, (b"aaaa", b"bbbb")),
        VendorIDPayload(b"vendor"),
    ]
    header = parse_header(written)
    assert list(parse_payloads(header.next_payload, written[HEADER_OCTETS:]).payloads) == expected
    assert encode_message(HEADER, expected) == written


def test_we_read_a_long_lifetime_as_scapy_writes_it() -> None:
    # with as many octets as the number needs: three here, where others send four
    transforms = scapy.ISAKMP_payload_Transform(transform_count=1, transforms=[("LifeDuration", 86400)])
    written = bytes(scapy.ISAKMP_payload_SA(prop=scapy.ISAKMP_payload_Proposal(trans_nb=1, trans=transforms)))
    offer = parse_payloads(PayloadType.SA, b"\x00" + written[1:]).one(SAPayload)
    found = offer.proposals[0].transforms[0].attributes[0]
    assert (found.value, found.number) == (b"\x01\x51\x80", 86400)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "vectors").glob("ikev1_*.json")), ids=lambda path: path.stem
)
def test_scapy_and_we_see_the_same_in_a_recorded_offer(path: Path) -> None:
    datagram = bytes.fromhex(json.loads(path.read_text())["messages"][0]["data"])
    ours = parse_payloads(parse_header(datagram).next_payload, datagram[HEADER_OCTETS:])
    theirs = scapy.ISAKMP(datagram)[scapy.ISAKMP_payload_SA].prop.trans.transforms
    numbers = [
        scapy.ISAKMPTransformSetField.num2type(each.type, each.number, proto=1)
        for each in ours.one(SAPayload).proposals[0].transforms[0].attributes
    ]
    assert numbers == theirs
    assert encode_payloads(ours.payloads) == datagram[HEADER_OCTETS:]


def test_notify_types_are_numbered_alike() -> None:
    ours = {entry.value: entry.name.replace("_", "-") for entry in NotifyType}
    assert {number: ours[number] for number in scapy.NotifyMessageType} == scapy.NotifyMessageType


@pytest.mark.parametrize(
    ("registry", "attribute_name", "spelling"),
    [
        (EncryptionAlgorithm, "Encryption", {"3DES-CBC": "TRIPLE_DES_CBC"}),
        (HashAlgorithm, "Hash", {}),
        (LifeType, "LifeType", {}),
        (
            Group,
            "GroupDesc",
            {f"{bits}MODPgr": f"MODP{bits}" for bits in (768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)},
        ),
    ],
)
def test_values_of_phase_1_attributes_are_numbered_alike(
    registry: type[IntEnum], attribute_name: str, spelling: dict[str, str]
) -> None:
    theirs = scapy.ISAKMPAttributeTypes[attribute_name][1]
    ours = {entry.name: entry.value for entry in registry}
    named = {spelling.get(name, name.upper().replace("-", "_")): number for name, number in theirs.items()}
    common = ours.keys() & named.keys()
    assert len(common) >= 2
    assert {name: ours[name] for name in common} == {name: named[name] for name in common}


def test_attributes_of_both_phases_are_numbered_alike() -> None:
    phase_1 = {
        "Encryption": IsakmpAttribute.ENCRYPTION_ALGORITHM,
        "Hash": IsakmpAttribute.HASH_ALGORITHM,
        "Authentication": IsakmpAttribute.AUTHENTICATION_METHOD,
        "GroupDesc": IsakmpAttribute.GROUP_DESCRIPTION,
        "LifeType": IsakmpAttribute.LIFE_TYPE,
        "LifeDuration": IsakmpAttribute.LIFE_DURATION,
        "PRF": IsakmpAttribute.PRF,
        "KeyLength": IsakmpAttribute.KEY_LENGTH,
    }
    phase_2 = {
        "LifeType": iana.IpsecAttribute.SA_LIFE_TYPE,
        "LifeDuration": iana.IpsecAttribute.SA_LIFE_DURATION,
        "GroupDesc": iana.IpsecAttribute.GROUP_DESCRIPTION,
        "EncapsulationMode": iana.IpsecAttribute.ENCAPSULATION_MODE,
        "AuthenticationAlgorithm": iana.IpsecAttribute.AUTHENTICATION_ALGORITHM,
        "KeyLength": iana.IpsecAttribute.KEY_LENGTH,
    }
    assert phase_1 == {name: scapy.ISAKMPAttributeTypes[name][0] for name in phase_1}
    assert phase_2 == {name: scapy.IPSECAttributeTypes[name][0] for name in phase_2}
    modes = scapy.IPSECAttributeTypes["EncapsulationMode"][1]
    assert modes["UDP-Encapsulated-Tunnel"] == iana.EncapsulationMode.UDP_ENCAPSULATED_TUNNEL
    auths = scapy.IPSECAttributeTypes["AuthenticationAlgorithm"][1]
    assert {entry.name.replace("_", "-"): entry.value for entry in iana.AuthenticationAlgorithm} == {
        name: number for name, number in auths.items() if number <= iana.AuthenticationAlgorithm.AES_XCBC_MAC
    }
