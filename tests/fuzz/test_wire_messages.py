"""Hostile octets: nothing but `WireError` comes out of the parser, and soon; what it accepts is encoded as it came.

Mutations start from what strongSwan sent (tests/vectors/ikev1_*.json), in clear and decrypted.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secd.ike.crypto import ikev1
from secd.ike.crypto.ciphers import cipher_named
from secd.ike.crypto.hashes import hash_named
from secd.ike.wire.attributes import Attribute
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import NotifyType, PayloadType
from secd.ike.wire.isakmp import Chain, Header, encode_message, major_version, parse_header, parse_payloads
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import (
    CertPayload,
    CertReqPayload,
    ConfigurationPayload,
    DeletePayload,
    HashPayload,
    IDPayload,
    KEPayload,
    NatDPayload,
    NatOAPayload,
    NoncePayload,
    NotificationPayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import Proposal, SAPayload, Transform
from secd.ike.wire.vendorids import vendor_id_name

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
DATA = st.binary(max_size=40)

#: No example may take this long, however busy the machine is.
BOUNDED = settings(deadline=2000)
MANY = settings(BOUNDED, max_examples=500)

#: strongSwan's names of hashes that we call otherwise.
HASH_NAMES = {"sha256": "sha2-256", "sha384": "sha2-384", "sha512": "sha2-512"}


def _corpus() -> list[tuple[int, bytes]]:
    """Chains as (first payload, octets): recorded in clear, or decrypted with the recorded keys."""
    chains: list[tuple[int, bytes]] = []
    for path in sorted((Path(__file__).parents[1] / "vectors").glob("ikev1_*.json")):
        data = json.loads(path.read_text())
        encryption, prf = data["proposals"][0].split("-")[:2]
        cipher = cipher_named("3des" if encryption == "3des" else "aes")
        iv = bytes.fromhex(data["values"]["phase1_iv"])
        state = phase1 = ikev1.CbcState(cipher, bytes.fromhex(data["values"]["Ka"]), iv)
        message_id = 0
        for message in (bytes.fromhex(each["data"]) for each in data["messages"]):
            header = parse_header(message)
            body = message[HEADER_OCTETS:]
            if header.encrypted:
                if header.message_id != message_id:
                    message_id = header.message_id
                    state = phase1.phase2(hash_named(HASH_NAMES.get(prf, prf)), message_id)
                body, state = state.decrypt(body)
                phase1 = phase1 if message_id else state
            chains.append((header.next_payload, body))
    return chains


CORPUS = _corpus()


def assert_answerable(refusal: WireError) -> None:
    assert isinstance(refusal.notify, NotifyType)
    assert len(str(refusal)) < 300


def parse(first: int, body: bytes, *, padded: bool = False) -> Chain | None:
    """Parse, and ask everything of the result that a caller might."""
    try:
        chain = parse_payloads(first, body, padded=padded)
    except WireError as refusal:
        assert_answerable(refusal)
        return None
    for payload in chain.payloads:
        assert payload.encode_body() is not None
        assert repr(payload)
        if isinstance(payload, SAPayload):
            for proposal in payload.proposals:
                assert [transform.find(1) for transform in proposal.transforms]
        if isinstance(payload, VendorIDPayload):
            assert vendor_id_name(payload.data)
    return chain


def assert_encoded_as_received(first: int, body: bytes, *, padded: bool) -> None:
    chain = parse(first, body, padded=padded)
    if chain is not None and chain.payloads:
        assert encode_payloads(chain.payloads) == chain.octets
        assert body.startswith(chain.octets)


@BOUNDED
@given(st.binary(max_size=200))
def test_any_datagram_is_a_header_or_a_wire_error(datagram: bytes) -> None:
    major_version(datagram)
    try:
        header = parse_header(datagram)
    except WireError:
        return
    assert header.encode() == datagram[:HEADER_OCTETS]


@BOUNDED
@given(U8, st.binary(max_size=300), st.booleans())
def test_any_octets_are_payloads_or_a_wire_error(first: int, body: bytes, padded: bool) -> None:
    assert_encoded_as_received(first, body, padded=padded)


@MANY
@given(
    st.sampled_from(CORPUS),
    st.lists(st.tuples(st.integers(0, 2000), U8), max_size=4),
    st.tuples(st.integers(0, 2000), st.integers(0, 2000), DATA) | st.none(),
    st.booleans(),
)
def test_a_mutated_recording_is_payloads_or_a_wire_error(
    recorded: tuple[int, bytes],
    pokes: list[tuple[int, int]],
    splice: tuple[int, int, bytes] | None,
    padded: bool,
) -> None:
    first, body = recorded
    octets = bytearray(body)
    for offset, value in pokes:
        octets[offset % len(octets)] = value
    if splice is not None:
        start, end = (each % (len(octets) + 1) for each in splice[:2])
        octets[start:end] = splice[2]
    assert_encoded_as_received(first, bytes(octets), padded=padded)


attributes = st.lists(st.builds(Attribute, st.integers(0, 0x7FFF), U16 | DATA), max_size=5).map(tuple)
transforms = st.lists(st.builds(Transform, U8, U8, attributes), min_size=1, max_size=4).map(tuple)
proposals = st.lists(st.builds(Proposal, U8, U8, DATA, transforms), min_size=1, max_size=4).map(tuple)
spis = st.integers(0, 20).flatmap(
    lambda size: st.lists(st.binary(min_size=size, max_size=size), min_size=1, max_size=4)
)
payloads: st.SearchStrategy[Payload] = st.one_of(
    st.builds(SAPayload, proposals),
    st.builds(KEPayload, DATA),
    st.builds(IDPayload, st.sampled_from((2, 3, 9, 11, 250)), DATA, U8, U16),
    st.builds(CertPayload, U8, DATA),
    st.builds(CertReqPayload, U8, DATA),
    st.builds(HashPayload, DATA),
    st.builds(NoncePayload, st.binary(min_size=8, max_size=256)),
    st.builds(NotificationPayload, U16, U8, DATA, DATA, U32),
    st.builds(DeletePayload, U8, spis.map(tuple), U32),
    st.builds(VendorIDPayload, DATA),
    st.builds(ConfigurationPayload, U8, U16, attributes),
    st.builds(NatDPayload, DATA, st.booleans()),
    st.builds(NatOAPayload, U8, DATA, st.booleans()),
)


@BOUNDED
@given(st.lists(payloads, min_size=1, max_size=6), st.binary(min_size=8, max_size=8).filter(any), U32)
def test_every_message_that_we_can_say_is_understood(chain: list[Payload], cookie: bytes, message_id: int) -> None:
    datagram = encode_message(Header(cookie, cookie, 32, 0, message_id), chain)
    header = parse_header(datagram)
    assert list(parse_payloads(header.next_payload, datagram[HEADER_OCTETS:]).payloads) == chain


@BOUNDED
@given(st.binary(max_size=100), st.binary(min_size=16, max_size=16))
def test_any_ciphertext_is_decrypted_or_a_wire_error(ciphertext: bytes, key: bytes) -> None:
    state = ikev1.CbcState(cipher_named("aes"), key, bytes(16)).phase2(hash_named("sha1"), 7)
    try:
        plain, following = state.decrypt(ciphertext)
    except WireError:
        assert not ciphertext or len(ciphertext) % 16
        return
    assert following.iv == ciphertext[-16:]
    assert state.encrypt(plain) == (ciphertext, following)


LARGEST = 65507 - HEADER_OCTETS
SMALL_PROPOSAL = b"\x02\x00\x00\x10\x01\x03\x00\x01" + b"\x00\x00\x00\x08\x01\x0c\x00\x00"
SMALL_TRANSFORM = b"\x03\x00\x00\x08\x01\x0c\x00\x00"
MANY_ATTRIBUTES = b"\x00\x00\xfa\x10\x01\x03\x00\x01\x00\x00\xfa\x08\x01\x0c\x00\x00" + b"\x80\x01\x00\x01" * 16000


def _sa(body: bytes) -> bytes:
    return b"\x00\x00" + (12 + len(body)).to_bytes(2, "big") + b"\x00\x00\x00\x01\x00\x00\x00\x01" + body


@pytest.mark.parametrize(
    ("first", "body"),
    [
        pytest.param(13, b"\x0d\x00\x00\x04" * (LARGEST // 4), id="empty payloads"),
        pytest.param(200, b"\xc8\x00\x00\x04" * (LARGEST // 4), id="unknown payloads"),
        pytest.param(1, _sa(SMALL_PROPOSAL * 4000), id="proposals"),
        pytest.param(1, _sa(b"\x00\x00\xfa\x08\x01\x03\x00\xff" + SMALL_TRANSFORM * 8000), id="transforms"),
        pytest.param(1, _sa(MANY_ATTRIBUTES), id="attributes"),
        pytest.param(12, b"\x00\x00\xff\x00\x00\x00\x00\x01\x03\x00\xff\xff" + bytes(0xFEF4), id="empty SPIs"),
        pytest.param(14, b"\x00\x00\xff\x00\x01\x00\x00\x00" + bytes(0xFEF8), id="empty attributes"),
        pytest.param(1, (b"\x01" + _sa(SMALL_PROPOSAL * 63 + b"\x00" + SMALL_PROPOSAL[1:])[1:]) * 62, id="many SAs"),
    ],
)
def test_the_largest_datagrams_are_dealt_with_soon(first: int, body: bytes) -> None:
    begin = time.process_time()
    parse(first, body)
    assert time.process_time() - begin < 0.5


def test_the_corpus_is_what_it_should_be() -> None:
    assert len(CORPUS) >= 55
    assert all(parse(first, body, padded=True) for first, body in CORPUS)
    assert {PayloadType(first) for first, _ in CORPUS} == {
        PayloadType.SA,
        PayloadType.KE,
        PayloadType.ID,
        PayloadType.HASH,
    }
