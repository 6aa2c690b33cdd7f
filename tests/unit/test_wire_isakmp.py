"""ISAKMP's header and the chain of payloads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secd.ike.wire.chain import MAX_PAYLOADS, encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import ExchangeType, Flag, NotifyType, PayloadType
from secd.ike.wire.isakmp import Header, encode_message, encode_with_body, major_version, parse_header, parse_payloads
from secd.ike.wire.payloads import HashPayload, KEPayload, NoncePayload, VendorIDPayload

HEADER = Header(b"initiato", b"responde", ExchangeType.QUICK, Flag.ENCRYPTION, 0xDEADBEEF)
MESSAGE = encode_message(HEADER, [HashPayload(b"h" * 20), NoncePayload(b"n" * 16)])


def changed(offset: int, value: int) -> bytes:
    """The message with one octet changed."""
    return MESSAGE[:offset] + bytes((value,)) + MESSAGE[offset + 1 :]


def test_the_header_stands_as_rfc_2408_draws_it() -> None:
    assert MESSAGE[:HEADER_OCTETS].hex() == (
        b"initiato".hex() + b"responde".hex() + "08" + "10" + "20" + "01" + "deadbeef" + f"{len(MESSAGE):08x}"
    )


def test_a_header_comes_back() -> None:
    expected = replace(HEADER, next_payload=PayloadType.HASH, length=len(MESSAGE))
    assert parse_header(MESSAGE) == expected
    assert parse_header(MESSAGE).encrypted


@pytest.mark.parametrize(
    ("datagram", "notify"),
    [
        (b"", NotifyType.PAYLOAD_MALFORMED),
        (MESSAGE[: HEADER_OCTETS - 1], NotifyType.PAYLOAD_MALFORMED),
        (changed(17, 0x20), NotifyType.INVALID_MAJOR_VERSION),
        (changed(18, 34), NotifyType.INVALID_EXCHANGE_TYPE),
        (changed(18, 0), NotifyType.INVALID_EXCHANGE_TYPE),
        (MESSAGE + b"\x00", NotifyType.UNEQUAL_PAYLOAD_LENGTHS),
        (MESSAGE[:-1], NotifyType.UNEQUAL_PAYLOAD_LENGTHS),
        (bytes(8) + MESSAGE[8:], NotifyType.INVALID_COOKIE),
    ],
)
def test_a_wrong_header_is_refused_with_its_notify(datagram: bytes, notify: NotifyType) -> None:
    with pytest.raises(WireError) as caught:
        parse_header(datagram)
    assert caught.value.notify is notify


def test_another_minor_version_is_accepted() -> None:
    assert parse_header(changed(17, 0x13)).minor == 3


def test_the_major_version_can_be_told_of_any_datagram() -> None:
    assert major_version(MESSAGE) == 1
    assert major_version(changed(17, 0x20)) == 2
    assert major_version(MESSAGE[:27]) is None


def test_a_message_of_an_encrypted_body_tells_its_first_payload_and_its_length() -> None:
    header = parse_header(encode_with_body(HEADER, PayloadType.HASH, bytes(48)))
    assert (header.next_payload, header.length) == (PayloadType.HASH, 76)


def test_a_cookie_of_another_size_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="8 octets"):
        encode_message(replace(HEADER, responder_cookie=b""), [])


def test_an_empty_chain() -> None:
    assert parse_payloads(PayloadType.NONE, b"").payloads == ()
    assert parse_header(encode_message(HEADER, [])).next_payload == PayloadType.NONE


def test_what_is_behind_the_first_payload_is_what_hash_1_covers() -> None:
    rest = [NoncePayload(b"n" * 16), KEPayload(b"k" * 4)]
    octets = encode_payloads([HashPayload(b"h" * 20), *rest])
    chain = parse_payloads(PayloadType.HASH, octets + bytes(7), padded=True)
    assert chain.after_first == encode_payloads(rest)
    assert chain.octets == octets


@pytest.mark.parametrize("padding", [b"", b"\x00", bytes(3)])
def test_up_to_three_zeros_may_follow_in_clear(padding: bytes) -> None:
    octets = encode_payloads([HashPayload(b"h")])
    chain = parse_payloads(PayloadType.HASH, octets + padding)
    assert (chain.payloads, chain.octets) == ((HashPayload(b"h"),), octets)


@pytest.mark.parametrize("padding", [b"\x01", b"\x00\x01", bytes(4)])
def test_other_padding_is_refused_where_nothing_was_decrypted(padding: bytes) -> None:
    with pytest.raises(WireError, match=f"{len(padding)} octets are left over"):
        parse_payloads(PayloadType.HASH, encode_payloads([HashPayload(b"h")]) + padding)


def test_a_reserved_octet_that_is_not_zero_is_refused() -> None:
    octets = bytearray(encode_payloads([HashPayload(b"h")]))
    octets[1] = 0x80
    with pytest.raises(WireError, match="HASH payload: the reserved octet is not zero"):
        parse_payloads(PayloadType.HASH, bytes(octets))


@pytest.mark.parametrize("length", [0, 3, 6, 65535])
def test_a_payload_length_that_cannot_be_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="are left"):
        parse_payloads(PayloadType.HASH, b"\x00\x00" + length.to_bytes(2, "big") + b"h")


def test_payloads_are_bounded() -> None:
    most = [VendorIDPayload(b"x")] * MAX_PAYLOADS
    assert len(parse_payloads(PayloadType.VID, encode_payloads(most)).payloads) == MAX_PAYLOADS
    with pytest.raises(WireError, match="more than 64 payloads"):
        parse_payloads(PayloadType.VID, encode_payloads([*most, VendorIDPayload(b"x")]))


def test_a_chain_gives_its_payloads_by_kind() -> None:
    chain = parse_payloads(
        PayloadType.VID, encode_payloads([VendorIDPayload(b"a"), NoncePayload(b"n" * 8), VendorIDPayload(b"b")])
    )
    assert [each.data for each in chain.all(VendorIDPayload)] == [b"a", b"b"]
    assert chain.one(NoncePayload) == NoncePayload(b"n" * 8)
    assert chain.find(HashPayload) is None
    with pytest.raises(WireError, match="no HASH payload"):
        chain.one(HashPayload)
    with pytest.raises(WireError, match="2 VID payloads"):
        chain.find(VendorIDPayload)
