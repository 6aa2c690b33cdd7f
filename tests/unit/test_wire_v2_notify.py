"""The data of IKEv2's notifications."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2 import notify
from secd.ike.wire.ikev2.iana import GatewayIdType, HashAlgorithm, NotifyType, PpkIdType
from secd.ike.wire.ikev2.notify import NotifyPayload, PpkIdentity, Redirect


def test_the_group_that_is_wanted() -> None:
    assert notify.group_data(36) == b"\x00\x24"
    assert notify.parse_group(NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, b"\x00\x24")) == 36


def test_hash_algorithms() -> None:
    hashes = (HashAlgorithm.SHA2_512, HashAlgorithm.IDENTITY, 99)
    data = notify.hashes_data(hashes)
    assert data == b"\x00\x04\x00\x05\x00\x63"
    assert notify.parse_hashes(NotifyPayload(NotifyType.SIGNATURE_HASH_ALGORITHMS, data)) == hashes
    assert notify.parse_hashes(NotifyPayload(NotifyType.SIGNATURE_HASH_ALGORITHMS)) == ()


def test_cookies_and_windows() -> None:
    assert notify.parse_cookie(NotifyPayload(NotifyType.COOKIE, b"c" * 64)) == b"c" * 64
    assert notify.parse_window(NotifyPayload(NotifyType.SET_WINDOW_SIZE, b"\x00\x00\x00\x05")) == 5


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_additional_addresses(address: str) -> None:
    assert notify.parse_address(notify.additional_address(address)) == address


@pytest.mark.parametrize(
    ("redirect", "octets"),
    [
        (Redirect(GatewayIdType.IPV4, "192.0.2.7", b"n" * 16), "0104c0000207" + "6e" * 16),
        (Redirect(GatewayIdType.IPV6, "2001:db8::7"), "021020010db8000000000000000000000007"),
        (Redirect(GatewayIdType.FQDN, "gw.example"), "030a67772e6578616d706c65"),
    ],
)
def test_redirects(redirect: Redirect, octets: str) -> None:
    assert redirect.encode().hex() == octets
    assert Redirect.parse(NotifyPayload(NotifyType.REDIRECT, bytes.fromhex(octets))) == redirect


def test_ppk_identities() -> None:
    identity = PpkIdentity(PpkIdType.PPK_ID_FIXED, b"ppk.example")
    assert identity.encode() == b"\x02ppk.example"
    assert PpkIdentity.parse(NotifyPayload(NotifyType.PPK_IDENTITY, identity.encode())) == identity


@pytest.mark.parametrize(
    ("read", "type_", "data"),
    [
        (notify.parse_group, NotifyType.INVALID_KE_PAYLOAD, b"\x00"),
        (notify.parse_group, NotifyType.INVALID_KE_PAYLOAD, b"\x00\x13\x00"),
        (notify.parse_hashes, NotifyType.SIGNATURE_HASH_ALGORITHMS, b"\x00\x02\x00"),
        (notify.parse_hashes, NotifyType.SIGNATURE_HASH_ALGORITHMS, bytes(66)),
        (notify.parse_cookie, NotifyType.COOKIE, b""),
        (notify.parse_cookie, NotifyType.COOKIE, bytes(65)),
        (notify.parse_window, NotifyType.SET_WINDOW_SIZE, b"\x00\x00\x00"),
        (notify.parse_window, NotifyType.SET_WINDOW_SIZE, bytes(4)),
        (notify.parse_window, NotifyType.SET_WINDOW_SIZE, bytes(5)),
        (notify.parse_address, NotifyType.ADDITIONAL_IP4_ADDRESS, bytes(16)),
        (notify.parse_address, NotifyType.ADDITIONAL_IP6_ADDRESS, bytes(4)),
        (Redirect.parse, NotifyType.REDIRECT, b""),
        (Redirect.parse, NotifyType.REDIRECT, b"\x01\x05\xc0\x00\x02\x07\x00"),
        (Redirect.parse, NotifyType.REDIRECT, b"\x01\x04\xc0\x00\x02"),
        (Redirect.parse, NotifyType.REDIRECT, b"\x04\x01a"),
        (Redirect.parse, NotifyType.REDIRECT, b"\x03\x00"),
        (Redirect.parse, NotifyType.REDIRECT, b"\x03\x02a\n"),
        (Redirect.parse, NotifyType.REDIRECT, b"\x03\x02\xc3\xa4"),
        (PpkIdentity.parse, NotifyType.PPK_IDENTITY, b""),
        (PpkIdentity.parse, NotifyType.PPK_IDENTITY, b"\x03ppk"),
    ],
)
def test_malformed_data_is_invalid_syntax(read: Callable[[NotifyPayload], object], type_: int, data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        read(NotifyPayload(type_, data))
    assert caught.value.notify == NotifyType.INVALID_SYNTAX
