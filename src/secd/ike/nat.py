"""NAT traversal for IKEv1: which dialect, and which side a NAT stands before.

RFC 3947, draft-ietf-ipsec-nat-t-ike-02 and -03.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from secd.ike.crypto.hashes import Hash
from secd.ike.crypto.ikev1 import nat_d
from secd.ike.wire import vendorids
from secd.ike.wire.iana import EncapsulationMode
from secd.ike.wire.payloads import NatDPayload

IKE_PORT = 500
NAT_T_PORT = 4500
#: Seconds between keepalives when the NAT stands before us (RFC 3948 §4).
KEEPALIVE = 20.0
KEEPALIVE_DATA = b"\xff"

RFC = "RFC 3947"
#: Dialects and their vendor IDs, the best first.
DIALECTS = {
    RFC: vendorids.RFC_3947,
    "draft-03": vendorids.NAT_T_DRAFT_03,
    "draft-02 newline": vendorids.NAT_T_DRAFT_02_NEWLINE,
    "draft-02": vendorids.NAT_T_DRAFT_02,
}


def best(vendor_ids: Iterable[bytes]) -> str:
    """The best of the dialects that the peer has announced; "" if it has announced none."""
    known = set(vendor_ids)
    return next((dialect for dialect, vendor_id in DIALECTS.items() if vendor_id in known), "")


def udp_mode(dialect: str) -> int:
    """The number that means tunnel mode in UDP (RFC 3947 §5.1)."""
    if dialect == RFC:
        return EncapsulationMode.UDP_ENCAPSULATED_TUNNEL
    return EncapsulationMode.UDP_ENCAPSULATED_TUNNEL_DRAFT


def payloads(
    prf: Hash, cookies: tuple[bytes, bytes], dialect: str, remote: tuple[str, int], local: tuple[str, int]
) -> list[NatDPayload]:
    """What we say: the peer's address as we see it first, then our own (RFC 3947 §3.2)."""
    draft = dialect != RFC
    return [NatDPayload(nat_d(prf, *cookies, *where), draft=draft) for where in (remote, local)]


def detect(
    prf: Hash,
    cookies: tuple[bytes, bytes],
    received: tuple[NatDPayload, ...],
    remote: tuple[str, int],
    local: tuple[str, int],
) -> tuple[bool, bool]:
    """(a NAT before us, a NAT before the peer), from the peer's NAT-D payloads; without any, no and no."""
    if len(received) < 2:
        return False, False
    here = not hmac.compare_digest(received[0].data, nat_d(prf, *cookies, *local))
    expected = nat_d(prf, *cookies, *remote)
    there = not any(hmac.compare_digest(each.data, expected) for each in received[1:])
    return here, there
