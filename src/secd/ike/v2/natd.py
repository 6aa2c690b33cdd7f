"""NAT detection (RFC 7296 §2.23): what we say about addresses and ports, and what the peer's words mean."""

from __future__ import annotations

import hmac

from secd.ike.crypto.ikev2 import nat_detection
from secd.ike.endpoint import Endpoint
from secd.ike.v2.context import Context
from secd.ike.v2.state import IkeSA, Nat
from secd.ike.wire.ikev2.iana import NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload

#: Of what is said of one end: a SHA-1.
OCTETS = 20


def payloads(ctx: Context, sa: IkeSA, where: Endpoint, *, force: bool) -> list[NotifyPayload]:
    """What we say of a message that goes from and to `where`.

    An address of ours that we do not know yet, and with `force` any, is said to be one that it cannot be: the peer
    then finds a NAT where there may be none, which costs eight octets a packet and no connection.
    """
    spis = (sa.spi_i, sa.spi_r)
    known = bool(where.local) and not force
    source = nat_detection(*spis, where.local, where.local_port) if known else ctx.world.random(20)
    destination = nat_detection(*spis, where.remote, where.remote_port)
    return [
        NotifyPayload(NotifyType.NAT_DETECTION_SOURCE_IP, source),
        NotifyPayload(NotifyType.NAT_DETECTION_DESTINATION_IP, destination),
    ]


def detect(sa: IkeSA, chain: Chain, where: Endpoint, *, force: bool, spi_r: bytes | None = None) -> Nat:
    """Whether there is a NAT before us and before the peer, whose message came from `where.remote`.

    `spi_r`: the responder's SPI in the message, where it is not yet that of `sa`.
    """
    spis = (sa.spi_i, sa.spi_r if spi_r is None else spi_r)
    sources = chain.notifications(NotifyType.NAT_DETECTION_SOURCE_IP)
    destination = chain.notification(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if not sources or destination is None:
        return Nat()
    here = not hmac.compare_digest(destination.data, nat_detection(*spis, where.local, where.local_port))
    expected = nat_detection(*spis, where.remote, where.remote_port)
    there = not any(hmac.compare_digest(each.data, expected) for each in sources)
    return Nat(here or force, there, known=True)
