"""Hostile octets: nothing but `WireError` comes out of IKEv2's parsers, and soon; what they take is encoded as it came.

What is protected is mutated both outside (nothing but `NotAuthentic`) and inside, as a peer that knows the keys could.
Mutations start from what strongSwan sent (tests/vectors/ikev2*.json).
"""

from __future__ import annotations

import time
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ikev2_recordings import PATHS, Message, Recording

from secd.ike.crypto.errors import NotAuthentic
from secd.ike.crypto.ikev2_ciphers import MESSAGE_CIPHERS, DirectionKeys, MessageCipher
from secd.ike.crypto.ikev2_messages import Fragment, Opened, Reassembly, open_message, seal_fragments, seal_message
from secd.ike.wire.attributes import Attribute
from secd.ike.wire.chain import encode_payloads, first_type
from secd.ike.wire.cursor import WireError
from secd.ike.wire.distinguished_names import name_from_text, name_to_text, same_name
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2 import notify
from secd.ike.wire.ikev2.config import ConfigAttribute, ConfigPayload
from secd.ike.wire.ikev2.iana import NotifyType, PayloadType
from secd.ike.wire.ikev2.message import Chain, Header, encode_message, parse_header, parse_payloads
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
from secd.ike.wire.ikev2.protected import find_protected
from secd.ike.wire.ikev2.sa import Proposal, SAPayload, Transform
from secd.ike.wire.ikev2.ts import OpaqueSelector, TrafficSelector, TSiPayload, TSrPayload

U8 = st.integers(0, 0xFF)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
DATA = st.binary(max_size=40)

#: No example may take this long, however busy the machine is.
BOUNDED = settings(deadline=2000)
MANY = settings(BOUNDED, max_examples=500)

MESSAGES: list[Message] = [message for path in PATHS for message in Recording(path).messages]
#: Chains as (first payload, octets).
CORPUS = [(first_type(each.chain.payloads), each.chain.octets) for each in MESSAGES if each.chain.octets]
PROTECTED = [each for each in MESSAGES if each.sa is not None]

READERS = (
    notify.parse_group,
    notify.parse_hashes,
    notify.parse_cookie,
    notify.parse_window,
    notify.parse_address,
    notify.Redirect.parse,
    notify.PpkIdentity.parse,
)


def assert_answerable(refusal: WireError) -> None:
    assert isinstance(refusal.notify, NotifyType)
    assert len(refusal.data) <= 1
    assert len(str(refusal)) < 300


def parse(first: int, body: bytes) -> Chain | None:
    """Parse, and ask everything of the result that a caller might."""
    try:
        chain = parse_payloads(first, body)
    except WireError as refusal:
        assert_answerable(refusal)
        return None
    for payload in chain.payloads:
        assert payload.encode_body() is not None
        assert repr(payload)
        if isinstance(payload, SAPayload):
            for each in payload.proposals:
                assert all(one.understood in (True, False) for one in each.transforms)
                assert each.of(1) == tuple(one for one in each.transforms if one.type == 1)
        if isinstance(payload, NotifyPayload):
            for read in READERS:
                with suppress(WireError):
                    read(payload)
        if isinstance(payload, IDiPayload | IDrPayload):
            assert name_to_text(payload.data) or not payload.data
    return chain


def assert_encoded_as_received(first: int, body: bytes) -> None:
    """Generic headers are made anew; what is reserved in them, and the critical bit, may differ."""
    chain = parse(first, body)
    if chain is not None and chain.payloads:
        again = parse_payloads(first, encode_payloads(chain.payloads))
        assert again.payloads == chain.payloads
        assert [each.raw for each in again.payloads] == [each.raw for each in chain.payloads]
        assert len(again.octets) == len(body)


def mutated(octets: bytes, pokes: list[tuple[int, int]], splice: tuple[int, int, bytes] | None) -> bytes:
    made = bytearray(octets)
    for offset, value in pokes:
        made[offset % len(made)] = value
    if splice is not None:
        start, end = (each % (len(made) + 1) for each in splice[:2])
        made[start:end] = splice[2]
    return bytes(made)


POKES = st.lists(st.tuples(st.integers(0, 4000), U8), max_size=4)
SPLICE = st.tuples(st.integers(0, 4000), st.integers(0, 4000), DATA) | st.none()


@BOUNDED
@given(st.binary(max_size=200))
def test_any_datagram_is_a_header_or_a_wire_error(datagram: bytes) -> None:
    try:
        header = parse_header(datagram)
    except WireError as refusal:
        assert_answerable(refusal)
        return
    assert header.encode() == datagram[:HEADER_OCTETS]


@BOUNDED
@given(st.integers(32, 55) | U8, st.binary(max_size=300))
def test_any_octets_are_payloads_or_a_wire_error(first: int, body: bytes) -> None:
    assert_encoded_as_received(first, body)


@MANY
@given(st.sampled_from(CORPUS), POKES, SPLICE)
def test_a_mutated_recording_is_payloads_or_a_wire_error(
    recorded: tuple[int, bytes], pokes: list[tuple[int, int]], splice: tuple[int, int, bytes] | None
) -> None:
    first, body = recorded
    assert_encoded_as_received(first, mutated(body, pokes, splice))


@MANY
@given(st.sampled_from(PROTECTED), POKES, SPLICE)
def test_a_datagram_changed_on_its_way_is_not_authentic(
    message: Message, pokes: list[tuple[int, int]], splice: tuple[int, int, bytes] | None
) -> None:
    assert message.sa is not None
    datagram = mutated(message.datagrams[0], pokes, splice)
    try:
        header = parse_header(datagram)
    except WireError:
        return
    if datagram == message.datagrams[0]:
        return
    with pytest.raises(NotAuthentic):
        open_message(message.sa.cipher, message.direction, header, datagram)


@MANY
@given(st.sampled_from(PROTECTED), POKES, SPLICE, st.booleans(), U8)
def test_what_a_peer_protects_is_payloads_or_a_wire_error(
    message: Message,
    pokes: list[tuple[int, int]],
    splice: tuple[int, int, bytes] | None,
    fragment: bool,
    padding: int,
) -> None:
    """Any plaintext under a right check value, any padding, as SK or as fragment."""
    assert message.sa is not None
    cipher, keys = message.sa.cipher, message.direction
    protected = find_protected(parse_header(message.datagrams[0]), message.datagrams[0])
    assert protected is not None
    plain = mutated(message.chain.octets + b"\x00", pokes, splice)
    plain += bytes(-(len(plain) + 1) % cipher.block_octets) + bytes((padding,))
    type_ = PayloadType.SKF if fragment else PayloadType.SK
    fields = b"\x00\x01\x00\x01" if fragment else b""
    octets = 4 + len(fields) + cipher.iv_octets + len(plain) + cipher.icv_octets
    head = Header(b"i" * 8, b"r" * 8, 36, 0, 1, type_, HEADER_OCTETS + octets).encode()
    associated = head + bytes((first_type(message.chain.payloads), 0)) + octets.to_bytes(2, "big") + fields
    datagram = associated + cipher.seal(keys, bytes(cipher.iv_octets), associated, plain)
    try:
        opened = open_message(cipher, keys, parse_header(datagram), datagram)
        if isinstance(opened, Fragment):
            reassembly = Reassembly().add(opened)
            assert reassembly.complete
            opened = reassembly.message(opened.header)
    except WireError as refusal:
        assert_answerable(refusal)
        return
    assert isinstance(opened, Opened)
    assert repr(opened)


attributes = st.lists(st.builds(Attribute, st.integers(0, 0x7FFF), U16 | DATA), max_size=5).map(tuple)
transforms = st.lists(st.builds(Transform, U8, U16, attributes), max_size=4).map(tuple)
proposals = st.lists(st.builds(Proposal, U8, U8, DATA, transforms), min_size=1, max_size=4).map(tuple)
spis = st.integers(1, 20).flatmap(lambda size: st.lists(st.binary(min_size=size, max_size=size), max_size=4))
ranges = st.lists(st.ip_addresses(v=4), min_size=2, max_size=2).map(sorted) | st.lists(
    st.ip_addresses(v=6), min_size=2, max_size=2
).map(sorted)


def selector(pair: list[IPv4Address | IPv6Address], protocol: int, ports: tuple[int, int]) -> TrafficSelector:
    return TrafficSelector(pair[0], pair[1], protocol, *ports)


selectors = st.lists(
    st.builds(selector, ranges, U8, st.tuples(U16, U16))
    | st.builds(OpaqueSelector, st.integers(9, 255), U8, st.binary(max_size=20)),
    min_size=1,
    max_size=5,
).map(tuple)
config = st.lists(st.builds(ConfigAttribute, st.integers(0, 0x7FFF), DATA), max_size=5).map(tuple)
payloads: st.SearchStrategy[Payload] = st.one_of(
    st.builds(SAPayload, proposals),
    st.builds(KEPayload, U16, DATA),
    st.builds(IDiPayload, st.sampled_from((2, 3, 9, 11, 250)), DATA),
    st.builds(IDrPayload, st.just(5), st.binary(min_size=16, max_size=16)),
    st.builds(CertPayload, U8, DATA),
    st.builds(CertReqPayload, U8, DATA),
    st.builds(AuthPayload, U8, DATA),
    st.builds(NoncePayload, st.binary(min_size=16, max_size=256)),
    st.builds(NotifyPayload, U16, DATA, U8, DATA),
    st.builds(DeletePayload, U8, spis.map(tuple)),
    st.builds(VendorIDPayload, DATA),
    st.builds(EAPPayload, DATA),
    st.builds(TSiPayload, selectors),
    st.builds(TSrPayload, selectors),
    st.builds(ConfigPayload, U8, config),
)
chains = st.lists(payloads, max_size=6)
SPI = st.binary(min_size=8, max_size=8).filter(any)


@BOUNDED
@given(chains, SPI, U32)
def test_every_message_that_we_can_say_is_understood(chain: list[Payload], spi: bytes, message_id: int) -> None:
    datagram = encode_message(Header(spi, spi, 34, 0x28, message_id), chain)
    header = parse_header(datagram)
    assert list(parse_payloads(header.next_payload, datagram[HEADER_OCTETS:]).payloads) == chain


def keys_of(cipher: MessageCipher, octets: bytes) -> DirectionKeys:
    made = (octets * 8)[: cipher.encryption_key_octets + cipher.integrity_key_octets]
    return DirectionKeys(made[: cipher.encryption_key_octets], made[cipher.encryption_key_octets :])


@BOUNDED
@given(
    chains,
    st.sampled_from(MESSAGE_CIPHERS),
    st.binary(min_size=16, max_size=16),
    st.integers(100, 600),
    st.randoms(use_true_random=False),
)
def test_every_message_that_we_protect_is_opened_in_whatever_order(
    chain: list[Payload], cipher: MessageCipher, key: bytes, limit: int, order: st.DataObject
) -> None:
    keys = keys_of(cipher, key)
    header = Header(b"i" * 8, b"r" * 8, 36, 0x08, 9)
    datagram = seal_message(cipher, keys, header, chain, lambda octets: key[:octets])
    opened = open_message(cipher, keys, parse_header(datagram), datagram)
    assert isinstance(opened, Opened)
    assert list(opened.chain.payloads) == chain
    try:
        fragments = seal_fragments(cipher, keys, header, chain, lambda octets: key[:octets], limit=limit)
    except ValueError:
        return  # more than 64 of them
    assert all(len(each) <= limit for each in fragments)
    if len(fragments) == 1:
        assert fragments == [datagram]
        return
    order.shuffle(fragments)  # type: ignore[attr-defined]
    reassembly = Reassembly()
    for each in [*fragments[:1], *fragments]:
        assert not reassembly.complete
        fragment = open_message(cipher, keys, parse_header(each), each)
        assert isinstance(fragment, Fragment)
        reassembly = reassembly.add(fragment)
    whole = reassembly.message(parse_header(fragments[0]))
    assert whole.chain == opened.chain
    assert whole.int_auth_octets == opened.int_auth_octets


@MANY
@given(st.binary(max_size=120))
def test_any_octets_are_shown_as_a_name(der: bytes) -> None:
    text = name_to_text(der)
    assert text.isprintable()
    assert not same_name(der, der + b"\x00")
    with suppress(ValueError):
        assert same_name(name_from_text(text), der)


@MANY
@given(st.text(max_size=60))
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert name_from_text(name_to_text(name_from_text(text))) == name_from_text(text)


LARGEST = 65507 - HEADER_OCTETS
SMALL_PROPOSAL = b"\x02\x00\x00\x10\x01\x03\x00\x01" + b"\x00\x00\x00\x08\x01\x00\x00\x0c"
SMALL_TRANSFORM = b"\x03\x00\x00\x08\x01\x00\x00\x0c"
MANY_ATTRIBUTES = b"\x00\x00\xfa\x10\x01\x03\x00\x01\x00\x00\xfa\x08\x01\x00\x00\x0c" + b"\x80\x0e\x01\x00" * 16000
MANY_SELECTORS = b"\xff\x00\x00\x00" + b"\x0a\x00\x00\x04" * 255


def _payload(body: bytes, following: int = 0) -> bytes:
    return bytes((following, 0)) + (4 + len(body)).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    ("first", "body"),
    [
        pytest.param(43, b"\x2b\x00\x00\x04" * (LARGEST // 4), id="empty payloads"),
        pytest.param(200, b"\xc8\x00\x00\x04" * (LARGEST // 4), id="unknown payloads"),
        pytest.param(33, _payload(SMALL_PROPOSAL * 4000), id="proposals"),
        pytest.param(33, _payload(b"\x00\x00\xfa\x08\x01\x03\x00\xff" + SMALL_TRANSFORM * 8000), id="transforms"),
        pytest.param(33, _payload(MANY_ATTRIBUTES), id="attributes"),
        pytest.param(42, _payload(b"\x03\x00\xff\xff" + bytes(0xFEF4)), id="empty SPIs"),
        pytest.param(47, _payload(b"\x01\x00\x00\x00" + bytes(0xFEF8)), id="empty configuration attributes"),
        pytest.param(44, _payload(MANY_SELECTORS, 44) * 62, id="selectors"),
        pytest.param(33, _payload(SMALL_PROPOSAL * 63 + b"\x00" + SMALL_PROPOSAL[1:], 33) * 62, id="many SAs"),
        pytest.param(41, _payload(bytes(4) + bytes(65000)), id="a long notification"),
    ],
)
def test_the_largest_datagrams_are_dealt_with_soon(first: int, body: bytes) -> None:
    begin = time.process_time()
    parse(first, body)
    assert time.process_time() - begin < 0.5


def test_the_corpus_is_what_it_should_be() -> None:
    assert len(CORPUS) >= 150
    assert all(parse(first, body) for first, body in CORPUS)
    assert {PayloadType(first) for first, _ in CORPUS} >= {
        PayloadType.SA,
        PayloadType.KE,
        PayloadType.IDi,
        PayloadType.IDr,
        PayloadType.N,
        PayloadType.D,
    }
