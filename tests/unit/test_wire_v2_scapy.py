"""A second opinion on IKEv2's wire formats: scapy reads what we write, and we read what scapy writes."""

from __future__ import annotations

import re
from enum import IntEnum
from ipaddress import ip_address

import pytest
from ikev2_recordings import PATHS, Recording
from scapy.contrib import ikev2 as scapy

from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import Group
from secd.ike.wire.ikev2 import iana
from secd.ike.wire.ikev2.config import ConfigAttribute, ConfigPayload
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, NotifyType, ProtocolId, TransformType
from secd.ike.wire.ikev2.message import Header, encode_message, parse_header, parse_payloads
from secd.ike.wire.ikev2.notify import NotifyPayload, Redirect
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import (
    AuthPayload,
    CertReqPayload,
    DeletePayload,
    IDiPayload,
    IDrPayload,
    KEPayload,
    NoncePayload,
    VendorIDPayload,
)
from secd.ike.wire.ikev2.sa import Proposal, SAPayload, transform
from secd.ike.wire.ikev2.ts import TrafficSelector, TSiPayload, TSrPayload, any_selector

HEADER = Header(b"initiato", b"responde", ExchangeType.IKE_AUTH, Flag.INITIATOR | Flag.RESPONSE, 3)

PAYLOADS: list[Payload] = [
    SAPayload(
        (
            Proposal(
                1,
                ProtocolId.ESP,
                b"\xca\xfe\xba\xbe",
                (
                    transform(TransformType.ENCR, iana.Encr.AES_GCM_16, 256),
                    transform(TransformType.KE, Group.CURVE25519),
                    transform(TransformType.ESN, iana.Esn.NO_ESN),
                ),
            ),
        )
    ),
    KEPayload(31, b"k" * 32),
    IDiPayload(2, b"gw.example"),
    IDrPayload(1, b"\xc0\x00\x02\x01"),
    CertReqPayload(4, b"h" * 20),
    AuthPayload(2, b"m" * 32),
    NoncePayload(b"n" * 32),
    NotifyPayload(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\xca\xfe\xba\xbe"),
    NotifyPayload(NotifyType.REDIRECT, Redirect(1, "192.0.2.9", b"n" * 16).encode()),
    DeletePayload(ProtocolId.ESP, (b"aaaa", b"bbbb")),
    VendorIDPayload(b"vendor"),
    TSiPayload((any_selector(4), TrafficSelector(ip_address("10.0.0.1"), ip_address("10.0.0.9"), 17, 500, 501))),
    TSrPayload((TrafficSelector(ip_address("2001:db8::1"), ip_address("2001:db8::2")),)),
    ConfigPayload(1, (ConfigAttribute(1), ConfigAttribute(3, b"\x0a\x00\x00\x01"))),
]


def test_scapy_reads_what_we_write() -> None:
    packet = scapy.IKEv2(encode_message(HEADER, PAYLOADS))
    assert (packet.init_SPI, packet.resp_SPI) == (b"initiato", b"responde")
    assert (packet.exch_type, packet.id, str(packet.flags)) == (35, 3, "Initiator+Response")
    proposal = packet[scapy.IKEv2_SA].prop
    assert (proposal.proto, proposal.SPI, proposal.trans_nb) == (3, b"\xca\xfe\xba\xbe", 3)
    encr = proposal.trans
    assert (encr.transform_type, encr.transform_id, encr.key_length) == (1, 20, 256)
    assert (encr.payload.transform_type, encr.payload.transform_id) == (4, 31)
    assert (packet[scapy.IKEv2_KE].group, packet[scapy.IKEv2_KE].ke) == (31, b"k" * 32)
    assert (packet[scapy.IKEv2_IDi].IDtype, packet[scapy.IKEv2_IDi].ID) == (2, b"gw.example")
    assert packet[scapy.IKEv2_IDr].ID == "192.0.2.1"
    assert packet[scapy.IKEv2_CERTREQ].cert_authority == b"h" * 20
    assert (packet[scapy.IKEv2_AUTH].auth_type, packet[scapy.IKEv2_AUTH].load) == (2, b"m" * 32)
    assert packet[scapy.IKEv2_Nonce].nonce == b"n" * 32
    notify = packet[scapy.IKEv2_Notify]
    assert (notify.proto, notify.type, notify.SPI) == (3, 16393, b"\xca\xfe\xba\xbe")
    redirect = notify.payload
    assert (redirect.type, redirect.gw_id_type, redirect.gw_id, redirect.nonce) == (16407, 1, "192.0.2.9", b"n" * 16)
    assert packet[scapy.IKEv2_Delete].SPI == [b"aaaa", b"bbbb"]
    assert packet[scapy.IKEv2_VendorID].vendorID == b"vendor"
    first, second = packet[scapy.IKEv2_TSi].traffic_selector
    assert (first.starting_address_v4, first.ending_address_v4) == ("0.0.0.0", "255.255.255.255")
    assert (second.IP_protocol_ID, second.start_port, second.end_port) == (17, 500, 501)
    assert packet[scapy.IKEv2_TSr].traffic_selector[0].ending_address_v6 == "2001:db8::2"
    assert [each.type for each in packet[scapy.IKEv2_CP].attributes] == [1, 3]
    assert packet[scapy.IKEv2_CP].attributes[1].value == "10.0.0.1"


def test_we_read_what_scapy_writes_and_write_the_same() -> None:
    transforms = (
        scapy.IKEv2_Transform(next_payload=3, transform_type=1, transform_id=20, length=12, key_length=256)
        / scapy.IKEv2_Transform(next_payload=3, transform_type=4, transform_id=31)
        / scapy.IKEv2_Transform(next_payload=0, transform_type=5, transform_id=0)
    )
    proposal = scapy.IKEv2_Proposal(
        next_payload=0, proposal=1, proto=3, SPI=b"\xca\xfe\xba\xbe", trans_nb=3, trans=transforms
    )
    selectors = [scapy.IPv4TrafficSelector(IP_protocol_ID=0, starting_address_v4="0.0.0.0",
                                           ending_address_v4="255.255.255.255")]  # fmt: skip
    written = bytes(
        scapy.IKEv2(init_SPI=b"initiato", resp_SPI=b"responde", next_payload=33, exch_type=35, flags=0x28, id=3)
        / scapy.IKEv2_SA(next_payload=34, prop=proposal)
        / scapy.IKEv2_KE(next_payload=35, group=31, ke=b"k" * 32)
        / scapy.IKEv2_IDi(next_payload=39, IDtype=2, ID=b"gw.example")
        / scapy.IKEv2_AUTH(next_payload=40, auth_type=2, load=b"m" * 32)
        / scapy.IKEv2_Nonce(next_payload=41, nonce=b"n" * 32)
        / scapy.IKEv2_Notify(next_payload=42, proto=3, type=16393, SPI=b"\xca\xfe\xba\xbe")
        / scapy.IKEv2_Delete(next_payload=44, proto=3, SPIsize=4, SPInum=2, SPI=[b"aaaa", b"bbbb"])
        / scapy.IKEv2_TSi(next_payload=0, traffic_selector=selectors)
    )
    expected = [PAYLOADS[0], PAYLOADS[1], PAYLOADS[2], PAYLOADS[5], PAYLOADS[6], PAYLOADS[7], PAYLOADS[9]]
    expected.append(TSiPayload((any_selector(4),)))
    header = parse_header(written)
    assert list(parse_payloads(header.next_payload, written[HEADER_OCTETS:]).payloads) == expected
    assert encode_message(HEADER, expected) == written


@pytest.mark.parametrize("path", PATHS[:8], ids=lambda path: path.stem)
def test_scapy_and_we_see_the_same_in_a_recorded_offer(path: object) -> None:
    recording = Recording(path)  # type: ignore[arg-type]
    message = recording.messages[0]
    ours = message.chain.one(SAPayload).proposals[0]
    each = scapy.IKEv2(message.datagrams[0])[scapy.IKEv2_SA].prop.trans
    theirs = []
    while isinstance(each, scapy.IKEv2_Transform):
        theirs.append((each.transform_type, each.transform_id, each.key_length if each.length > 8 else None))
        each = each.payload
    assert [(one.type, one.id, one.key_length) for one in ours.transforms] == theirs


def plain(name: str) -> str:
    """A name without what the two spell differently."""
    name = re.sub(r"^(ENCR|PRF|AUTH|HMAC|IV2_NOTIFY|NOTIFY)_", "", name.upper().replace("-", "_"))
    return re.sub(r"_|ICV$|HMAC", "", name).replace("3DES", "TRIPLEDES").replace("3IDEA", "THREEIDEA")


@pytest.mark.parametrize(
    ("registry", "theirs", "at_least"),
    [
        (iana.Encr, scapy.IKEv2TransformAlgorithms[1], 20),
        (iana.Prf, scapy.IKEv2TransformAlgorithms[2], 8),
        (iana.Integ, scapy.IKEv2TransformAlgorithms[3], 14),
        (iana.NotifyType, scapy.IKEv2NotifyMessageTypes, 75),
        (iana.ConfigType, scapy.IKEv2ConfigurationPayloadCFGTypes, 4),
        (iana.ConfigAttribute, scapy.IKEv2ConfigurationAttributeTypes, 20),
        (iana.ExchangeType, scapy.IKEv2ExchangeTypes, 5),
    ],
)
def test_registries_number_alike(registry: type[IntEnum], theirs: dict[int, str], at_least: int) -> None:
    ours = {int(entry): entry.name for entry in registry}
    common = ours.keys() & theirs.keys()
    assert len(common) >= at_least
    assert {number: plain(ours[number]) for number in common} == {number: plain(theirs[number]) for number in common}


def test_payload_types_and_protocols_are_numbered_alike() -> None:
    for entry in iana.PayloadType:
        assert int(entry) == 0 or int(entry) in scapy.IKEv2PayloadTypes
    assert scapy.IKEv2PayloadTypes[iana.PayloadType.SKF] == "Encrypted_Fragment"
    names = {int(entry): entry.name for entry in ProtocolId if entry}
    assert names == scapy.IKEv2ProtocolTypes
    assert {int(entry) for entry in iana.AuthMethod} | {0} == set(scapy.IKEv2AuthenticationTypes)
