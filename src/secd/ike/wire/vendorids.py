"""Vendor IDs: those that stand for a capability, and those that only tell who the peer is, for logs.

Most are MD5 hashes of a text, so the text is what is written down here.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import md5


def _hashed(text: str) -> bytes:
    return md5(text.encode(), usedforsecurity=False).digest()


RFC_3947 = _hashed("RFC 3947")
NAT_T_DRAFT_00 = _hashed("draft-ietf-ipsec-nat-t-ike-00")
NAT_T_DRAFT_02 = _hashed("draft-ietf-ipsec-nat-t-ike-02")
NAT_T_DRAFT_02_NEWLINE = _hashed("draft-ietf-ipsec-nat-t-ike-02\n")  # the hash that the draft itself printed
NAT_T_DRAFT_03 = _hashed("draft-ietf-ipsec-nat-t-ike-03")
DPD = bytes.fromhex("afcad71368a1f1c96b8696fc77570100")  # RFC 3706 §5.1; ends with its version, 1.0
XAUTH = bytes.fromhex("09002689dfd6b712")  # draft-beaulieu-ike-xauth
CISCO_UNITY = _hashed("CISCO-UNITY")[:14] + b"\x01\x00"  # ends with its version, 1.0
FRAGMENTATION = _hashed("FRAGMENTATION")  # some append four octets of flags
OPENBSD = _hashed("OpenBSD-6.3")  # what isakmpd has sent since

_OPENBSD_VERSIONS = [f"{major}.{minor}" for major in range(3, 8) for minor in range(10)]

#: Exact vendor IDs, and what to call them.
_EXACT: dict[bytes, str] = {
    RFC_3947: "RFC 3947",
    NAT_T_DRAFT_00: "draft-ietf-ipsec-nat-t-ike-00",
    _hashed("draft-ietf-ipsec-nat-t-ike-01"): "draft-ietf-ipsec-nat-t-ike-01",
    NAT_T_DRAFT_02: "draft-ietf-ipsec-nat-t-ike-02",
    NAT_T_DRAFT_02_NEWLINE: "draft-ietf-ipsec-nat-t-ike-02\\n",
    NAT_T_DRAFT_03: "draft-ietf-ipsec-nat-t-ike-03",
    _hashed("draft-ietf-ipsec-nat-t-ike"): "draft-ietf-ipsec-nat-t-ike",
    XAUTH: "XAUTH",
}

#: Beginnings of vendor IDs whose rest is a version; the longer ones first.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (DPD[:14], "DPD"),
    (CISCO_UNITY[:14], "Cisco Unity"),
    (FRAGMENTATION, "FRAGMENTATION"),
    (b"HeartBeat_Notify", "HeartBeat Notify"),
)

#: Beginnings that name a product: what `sec status` shows as the peer's vendor.
_PRODUCTS: tuple[tuple[bytes, str], ...] = (
    (_hashed("strongSwan"), "strongSwan"),
    (b"OE-Libreswan-", "libreswan"),
    (b"OpenIKED-", "OpenIKED"),
    (bytes.fromhex("8299031757a36082c6a621de"), "FortiGate"),
    (bytes.fromhex("1d6e178f6c2c0be284985465450fe9d4"), "FortiGate"),
    (bytes.fromhex("699369228741c6d4ca094c93e242c9de"), "Juniper"),
    (bytes.fromhex("3e984048"), "Cisco IOS"),
    (_hashed("ALTIGA GATEWAY")[:14], "Cisco VPN 3000"),
    (_hashed("MS NT5 ISAKMPOAKLEY"), "Windows"),
    (_hashed("KAME/racoon"), "racoon"),
    *((_hashed(f"OpenBSD-{version}"), "OpenBSD isakmpd") for version in _OPENBSD_VERSIONS),
)


def vendor_id_name(vendor_id: bytes) -> str:
    """What to call a vendor ID in a log; its first octets in hex when it is not known."""
    if vendor_id in _EXACT:
        return _EXACT[vendor_id]
    for beginning, name in (*_BEGINNINGS, *_PRODUCTS):
        if vendor_id.startswith(beginning):
            return name
    return f"0x{vendor_id[:20].hex()}" + ("..." if len(vendor_id) > 20 else "")


def product(vendor_ids: Iterable[bytes]) -> str:
    """Which product sent these vendor IDs; "" when none of them tells."""
    for vendor_id in vendor_ids:
        for beginning, name in _PRODUCTS:
            if vendor_id.startswith(beginning):
                return name
    return ""
