"""The cursor under every payload codec."""

from __future__ import annotations

import pytest

from secd.ike.wire.cursor import Reader, WireError, Writer
from secd.ike.wire.iana import NotifyType


def test_numbers_are_read_in_network_order() -> None:
    reader = Reader(b"\x01\x02\x03\x04\x05\x06\x07", "message")
    assert (reader.u8("a"), reader.u16("b"), reader.u32("c")) == (0x01, 0x0203, 0x04050607)
    reader.finish()


def test_an_error_says_what_was_read_where_and_how_much_was_left() -> None:
    reader = Reader(b"\x00\x00\x00", "SA payload")
    reader.u8("situation")
    with pytest.raises(WireError, match=r"SA payload: DOI takes 4 octets, 2 are left \(at offset 1\)") as caught:
        reader.u32("DOI")
    assert caught.value.notify is NotifyType.PAYLOAD_MALFORMED


def test_a_part_that_is_not_read_to_its_end_is_an_error() -> None:
    part = Reader(b"abcd", "message").sub(3, "transform")
    part.u8("number")
    with pytest.raises(WireError, match=r"transform: 2 octets are left over \(at offset 1\)"):
        part.finish()


def test_a_part_cannot_be_read_past_its_end() -> None:
    part = Reader(b"abcd", "message").sub(1, "transform")
    part.u8("number")
    with pytest.raises(WireError, match="0 are left"):
        part.u8("id")


@pytest.mark.parametrize("count", [-1, -4, 5])
def test_a_part_of_an_impossible_length_is_an_error(count: int) -> None:
    with pytest.raises(WireError, match=f"takes {count} octets, 4 are left"):
        Reader(b"abcd", "message").sub(count, "proposal")
    with pytest.raises(WireError):
        Reader(b"abcd", "message").take(count, "SPI")


def test_a_part_follows_the_part_before_it_and_counts_offsets_from_the_message() -> None:
    reader = Reader(b"abcd", "message")
    assert reader.sub(2, "first").rest() == b"ab"
    second = reader.sub(2, "second")
    assert (second.offset, second.peek(), second.rest()) == (2, b"cd", b"cd")


def test_the_notify_of_a_reader_goes_to_its_parts() -> None:
    reader = Reader(b"ab", "message", fault=NotifyType.BAD_PROPOSAL_SYNTAX)
    with pytest.raises(WireError) as caught:
        reader.sub(1, "part").u16("field")
    assert caught.value.notify is NotifyType.BAD_PROPOSAL_SYNTAX


def test_what_is_written_is_read_again() -> None:
    writer = Writer().u8(0xFF).u16(0xFFFE).u32(0xFFFFFFFD).put(b"rest")
    assert len(writer) == 11
    reader = Reader(writer.getvalue(), "message")
    assert (reader.u8("a"), reader.u16("b"), reader.u32("c"), reader.rest()) == (0xFF, 0xFFFE, 0xFFFFFFFD, b"rest")


@pytest.mark.parametrize("value", [-1, 256])
def test_writing_a_number_that_does_not_fit_is_our_own_mistake(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit a field of 1 octets"):
        Writer().u8(value)
