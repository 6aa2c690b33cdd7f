"""IKEv2's header and the chain of payloads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secd.ike.wire.chain import MAX_PAYLOADS, encode_payloads, first_type
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, NotifyType, PayloadType
from secd.ike.wire.ikev2.message import Header, encode_message, parse_header, parse_payloads
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payloads import KEPayload, NoncePayload, UnknownPayload, VendorIDPayload
from secd.ike.wire.ikev2.protected import MAX_FRAGMENTS, find_protected

HEADER = Header(b"initiato", b"responde", ExchangeType.IKE_SA_INIT, Flag.INITIATOR, 7)
PAYLOADS = [KEPayload(31, b"k" * 32), NoncePayload(b"n" * 16)]
MESSAGE = encode_message(HEADER, PAYLOADS)


def changed(offset: int, value: int) -> bytes:
    """The message with one octet changed."""
    return MESSAGE[:offset] + bytes((value,)) + MESSAGE[offset + 1 :]


def generic(following: int, body: bytes, flags: int = 0) -> bytes:
    """A payload of any type."""
    return bytes((following, flags)) + (4 + len(body)).to_bytes(2, "big") + body


def datagram(first: int, body: bytes) -> bytes:
    """A message of any octets, with a true length."""
    return replace(HEADER, next_payload=first, length=HEADER_OCTETS + len(body)).encode() + body


def test_the_header_stands_as_rfc_7296_draws_it() -> None:
    assert MESSAGE[:HEADER_OCTETS].hex() == (
        b"initiato".hex() + b"responde".hex() + "22" + "20" + "22" + "08" + "00000007" + f"{len(MESSAGE):08x}"
    )


def test_a_header_comes_back() -> None:
    header = parse_header(MESSAGE)
    assert header == replace(HEADER, next_payload=PayloadType.KE, length=len(MESSAGE))
    assert header.from_initiator
    assert not header.response
    assert replace(header, flags=Flag.RESPONSE).response


@pytest.mark.parametrize(
    ("octets", "notify"),
    [
        (b"", NotifyType.INVALID_SYNTAX),
        (MESSAGE[: HEADER_OCTETS - 1], NotifyType.INVALID_SYNTAX),
        (changed(17, 0x10), NotifyType.INVALID_MAJOR_VERSION),
        (changed(17, 0x30), NotifyType.INVALID_MAJOR_VERSION),
        (MESSAGE + b"\x00", NotifyType.INVALID_SYNTAX),
        (MESSAGE[:-1], NotifyType.INVALID_SYNTAX),
        (bytes(8) + MESSAGE[8:], NotifyType.INVALID_SYNTAX),
    ],
)
def test_a_wrong_header_is_refused_with_its_notify(octets: bytes, notify: NotifyType) -> None:
    with pytest.raises(WireError) as caught:
        parse_header(octets)
    assert caught.value.notify == notify


def test_a_minor_version_reserved_flags_and_unknown_exchanges_are_not_looked_at() -> None:
    assert parse_header(changed(17, 0x25)).minor == 5
    assert parse_header(changed(19, 0xC7 | Flag.INITIATOR)).from_initiator
    assert parse_header(changed(18, 250)).exchange == 250


def test_payloads_come_back_with_their_octets() -> None:
    chain = parse_payloads(PayloadType.KE, MESSAGE[HEADER_OCTETS:])
    assert list(chain.payloads) == PAYLOADS
    assert chain.octets == MESSAGE[HEADER_OCTETS:]
    assert [each.raw for each in chain.payloads] == [each.encode_body() for each in PAYLOADS]


def test_what_was_received_is_given_back_even_where_it_says_what_we_would_not() -> None:
    body = b"\x00\x1f\xab\xcd" + b"k" * 32  # the reserved octets are not zero
    payload = parse_payloads(PayloadType.KE, generic(0, body)).one(KEPayload)
    assert payload == KEPayload(31, b"k" * 32)
    assert payload.body == body != payload.encode_body()
    assert replace(payload).body == payload.encode_body()


def test_an_empty_message_is_one() -> None:
    assert parse_payloads(PayloadType.NONE, b"").payloads == ()
    assert encode_payloads([]) == b""
    assert first_type([]) == PayloadType.NONE


def test_reserved_bits_beside_the_critical_bit_are_not_looked_at() -> None:
    assert parse_payloads(PayloadType.V, generic(0, b"v", 0x7F)).payloads == (VendorIDPayload(b"v"),)


def test_a_critical_payload_that_we_know_is_taken() -> None:
    assert parse_payloads(PayloadType.V, generic(0, b"v", 0x80)).payloads == (VendorIDPayload(b"v"),)


def test_an_unknown_payload_is_passed_over_unless_it_is_critical() -> None:
    following = generic(PayloadType.V, b"whatever") + generic(0, b"v")
    assert parse_payloads(200, following).payloads == (UnknownPayload(200, b"whatever"), VendorIDPayload(b"v"))
    with pytest.raises(WireError, match="unknown type 200") as caught:
        parse_payloads(200, generic(PayloadType.V, b"whatever", 0x80) + generic(0, b"v"))
    assert caught.value.notify == NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD
    assert caught.value.data == b"\xc8"


@pytest.mark.parametrize("type_", [1, 2, 10, 32])
def test_isakmps_payloads_are_unknown_here(type_: int) -> None:
    assert isinstance(parse_payloads(type_, generic(0, b"x")).payloads[0], UnknownPayload)


@pytest.mark.parametrize(
    ("first", "body"),
    [
        (PayloadType.V, b""),
        (PayloadType.V, b"\x00\x00\x00"),
        (PayloadType.V, b"\x00\x00\x00\x03"),
        (PayloadType.V, b"\x00\x00\x00\x05"),
        (PayloadType.V, generic(PayloadType.V, b"v")),
        (PayloadType.V, generic(0, b"v") + b"\x00"),
        (PayloadType.NONE, b"\x00"),
        (PayloadType.SK, generic(0, bytes(64))),
        (PayloadType.SKF, generic(0, bytes(64))),
        (PayloadType.V, generic(PayloadType.V, b"") * (MAX_PAYLOADS + 1)),
    ],
)
def test_a_broken_chain_is_invalid_syntax(first: int, body: bytes) -> None:
    with pytest.raises(WireError) as caught:
        parse_payloads(first, body)
    assert caught.value.notify == NotifyType.INVALID_SYNTAX


def test_payloads_are_found_by_kind() -> None:
    chain = parse_payloads(PayloadType.KE, MESSAGE[HEADER_OCTETS:])
    assert chain.one(NoncePayload) == NoncePayload(b"n" * 16)
    assert chain.find(VendorIDPayload) is None
    with pytest.raises(WireError, match="no V payload") as caught:
        chain.one(VendorIDPayload)
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
    twice = parse_payloads(PayloadType.NONCE, encode_payloads([NoncePayload(bytes(16))] * 2))
    with pytest.raises(WireError, match="2 NONCE payloads"):
        twice.find(NoncePayload)


def test_notifications_are_found_by_type_and_errors_by_number() -> None:
    said = [NotifyPayload(NotifyType.COOKIE, b"c"), NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN), NotifyPayload(8191)]
    chain = parse_payloads(PayloadType.N, encode_payloads(said))
    assert chain.notification(NotifyType.COOKIE) == said[0]
    assert chain.notification(NotifyType.REKEY_SA) is None
    assert chain.notifications(8191) == (said[2],)
    assert chain.errors == (said[1], said[2])


def test_a_wrong_spi_size_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="8 octets"):
        replace(HEADER, responder_spi=b"").encode()


# -- where the protected part is --------------------------------------------------------------------------


def test_an_encrypted_payload_is_found_at_the_end() -> None:
    octets = datagram(PayloadType.V, generic(PayloadType.SK, b"vendor") + generic(PayloadType.IDi, b"sealed octets"))
    found = find_protected(parse_header(octets), octets)
    assert found is not None
    assert (found.first, found.sealed, found.fragment) == (PayloadType.IDi, b"sealed octets", False)
    assert (found.clear_first, found.clear) == (PayloadType.V, generic(PayloadType.NONE, b"vendor"))
    assert found.associated + found.sealed == octets


def test_a_fragments_numbers_belong_to_what_is_authenticated() -> None:
    octets = datagram(PayloadType.SKF, generic(0, b"\x00\x02\x00\x03sealed"))
    found = find_protected(parse_header(octets), octets)
    assert found is not None
    assert (found.number, found.total, found.fragment) == (2, 3, True)
    assert (found.associated[-4:], found.sealed) == (b"\x00\x02\x00\x03", b"sealed")


def test_a_message_in_clear_has_no_protected_part() -> None:
    assert find_protected(parse_header(MESSAGE), MESSAGE) is None


@pytest.mark.parametrize(
    ("first", "body"),
    [
        pytest.param(PayloadType.SK, generic(0, b"s") + b"\x00", id="octets behind SK"),
        pytest.param(PayloadType.SK, b"\x00\x00\x00\x03", id="a length too short"),
        pytest.param(PayloadType.SK, b"\x00\x00\x00\xff", id="a length too long"),
        pytest.param(PayloadType.SK, b"", id="no SK at all"),
        pytest.param(PayloadType.SKF, generic(0, b"\x00\x00\x00\x01s"), id="fragment 0"),
        pytest.param(PayloadType.SKF, generic(0, b"\x00\x02\x00\x01s"), id="fragment 2 of 1"),
        pytest.param(PayloadType.SKF, generic(0, b"\x00\x01\xff\xffs"), id="too many fragments"),
        pytest.param(PayloadType.SKF, generic(35, b"\x00\x02\x00\x02s"), id="a second fragment with a first payload"),
        pytest.param(PayloadType.SKF, generic(0, b"\x00\x01\x00"), id="half a number"),
        pytest.param(200, generic(200, b"") * 300, id="many payloads"),
    ],
)
def test_a_protected_message_of_a_wrong_shape_is_refused(first: int, body: bytes) -> None:
    octets = datagram(first, body)
    with pytest.raises(WireError):
        find_protected(parse_header(octets), octets)


def test_as_many_fragments_as_we_take() -> None:
    assert MAX_FRAGMENTS * 400 >= 16_384  # a few certificates, in fragments of the smallest size that IPv4 has
