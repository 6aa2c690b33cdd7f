"""Vendor IDs: the octets that peers send, and what they are called."""

from __future__ import annotations

import pytest

from secd.ike.wire import vendorids
from secd.ike.wire.vendorids import product, vendor_id_name


@pytest.mark.parametrize(
    ("vendor_id", "octets"),
    [
        (vendorids.RFC_3947, "4a131c81070358455c5728f20e95452f"),
        (vendorids.NAT_T_DRAFT_00, "4485152d18b6bbcd0be8a8469579ddcc"),
        (vendorids.NAT_T_DRAFT_02, "cd60464335df21f87cfdb2fc68b6a448"),
        (vendorids.NAT_T_DRAFT_02_NEWLINE, "90cb80913ebb696e086381b5ec427b1f"),
        (vendorids.NAT_T_DRAFT_03, "7d9419a65310ca6f2c179d9215529d56"),
        (vendorids.CISCO_UNITY, "12f5f28c457168a9702d9fe274cc0100"),
        (vendorids.FRAGMENTATION, "4048b7d56ebce88525e7de7f00d6c2d3"),
    ],
)
def test_the_octets_are_those_on_the_wire(vendor_id: bytes, octets: str) -> None:
    assert vendor_id.hex() == octets


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        ("4a131c81070358455c5728f20e95452f", "RFC 3947"),
        ("afcad71368a1f1c96b8696fc77570100", "DPD"),
        ("09002689dfd6b712", "XAUTH"),
        ("4048b7d56ebce88525e7de7f00d6c2d380000000", "FRAGMENTATION"),
        ("8299031757a36082c6a621de000502d9", "FortiGate"),
        ("882fe56d6fd20dbc2251613b2ebe5beb", "strongSwan"),
        ("1d6e178f6c2c0be284985465450fe9d4", "FortiGate"),
        (b"OE-Libreswan-4.10".hex(), "libreswan"),
        (b"OpenIKED-7.2".hex(), "OpenIKED"),
        ("", "0x"),
        ("00ff", "0x00ff"),
        ("00" * 256, "0x" + "00" * 20 + "..."),
    ],
)
def test_a_vendor_id_has_a_name_for_logs(octets: str, name: str) -> None:
    assert vendor_id_name(bytes.fromhex(octets)) == name


def test_the_product_is_told_among_capabilities() -> None:
    assert product([vendorids.RFC_3947, vendorids.DPD, vendorids.OPENBSD]) == "OpenBSD isakmpd"
    assert product([vendorids.RFC_3947]) == ""
    assert product([]) == ""
