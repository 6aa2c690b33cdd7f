"""Pairs of ESP SAs: put into the data plane, moved, taken out, and what the peer is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secd.ike import esp
from secd.ike.contract import DeleteSA
from secd.ike.crypto.ikev1 import keymat
from secd.ike.endpoint import Endpoint
from secd.ike.proposals import EspSuite, algorithm_of
from secd.ike.tunnel import Tunnel
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import Child
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import NotifyType, ProtocolId
from secd.ike.wire.payloads import DeletePayload
from secd.sadb.messages import SA, Direction, Lifetime

#: Soft limits as part of the hard ones; OpenBSD's.
SOFT = 0.9
#: Seconds for which a retired pair still receives.
DRAIN = 3.0


def make(
    session: Session,
    tunnel: Tunnel,
    suite: EspSuite,
    *,
    direction: Direction,
    spi: int,
    nonces: tuple[bytes, bytes],
    secret: bytes,
) -> SA:
    """One SA of a pair with its keys (RFC 2409 §5.5)."""
    algorithm = algorithm_of(suite)
    if algorithm is None:
        raise WireError(f"`{suite.words()}` cannot be installed", NotifyType.NO_PROPOSAL_CHOSEN)
    material = keymat(
        session.prf,
        session.keys.skeyid_d,
        algorithm.keymat_octets,
        protocol=ProtocolId.PROTO_IPSEC_ESP,
        spi=spi.to_bytes(4, "big"),
        ni_b=nonces[0],
        nr_b=nonces[1],
        g_qm_xy=secret,
    )
    return esp.make(
        session,
        tunnel,
        algorithm,
        material,
        direction=direction,
        spi=spi,
        esn=suite.esn,
        udp=suite.udp,
        hard=Lifetime(addtime=suite.lifetime, bytes=suite.kilobytes * 1024),
        soft=Lifetime(addtime=int(suite.lifetime * SOFT), bytes=int(suite.kilobytes * 1024 * SOFT)),
    )


def retire(ctx: Context, session: Session, child: Child) -> None:
    """Tell the peer that a pair is deleted and send on it no more; for a while it still receives what is under way."""
    tell_deleted(ctx, session, [child])
    esp.discard_outbound(ctx, session, child)
    child.retire_at = child.rekey_at = child.check_at = None
    child.gone_at = ctx.world.now + DRAIN


def remove(ctx: Context, session: Session, child: Child, *, inbound: bool = True) -> None:
    """Take a pair out of the data plane and forget it; without `inbound` that SA is gone already."""
    esp.discard_outbound(ctx, session, child)
    if inbound:
        ctx.world.outbox.put(DeleteSA(child.spi_in, "in", child.endpoint.local))
    session.sa.children.remove(child)


def tell_deleted(ctx: Context, session: Session, children: Sequence[Child]) -> None:
    """Tell the peer that these pairs are gone: through their ISAKMP SA, or the newest of the tunnel, or not at all."""
    carrier: Session | None = session if session.sa.established else ctx.newest(session.sa.tunnel)
    if carrier is not None and children:
        spis = tuple(child.spi_in.to_bytes(4, "big") for child in children)
        ctx.inform(carrier, [DeletePayload(ProtocolId.PROTO_IPSEC_ESP, spis)])


def delete_payload(session: Session) -> DeletePayload:
    """Says that the ISAKMP SA itself is gone."""
    return DeletePayload(ProtocolId.PROTO_ISAKMP, (session.sa.icookie + session.sa.rcookie,))


def destroy(ctx: Context, session: Session, *, tell: bool) -> None:
    """End a session and all of its pairs; `tell` the peer if it can be told."""
    sa = session.sa
    if tell and sa.established:
        tell_deleted(ctx, session, sa.children)
        ctx.inform(session, [delete_payload(session)])
    for child in list(sa.children):
        remove(ctx, session, child)
    ctx.remove(session)


def forget_earlier(ctx: Context, session: Session) -> None:
    """INITIAL-CONTACT: the peer knows nothing of this tunnel older than this exchange (RFC 2407 §4.6.3.3).

    What was established while the exchange was under way stays: after both sides have rebooted at once, each is told
    so by the other.
    """
    begun = session.sa.created
    for other in ctx.of(session.sa.tunnel):
        for child in [each for each in other.sa.children if each.created < begun]:
            remove(ctx, other, child)
        if other is not session and (other.since < begun or not _is_alive(other)):
            destroy(ctx, other, tell=False)


def _is_alive(session: Session) -> bool:
    return session.sa.established or (session.sa.role == "initiator" and bool(session.sa.flight.sent))


def move(ctx: Context, session: Session, to: Endpoint) -> None:
    """The peer has been seen at `to`: from now on everything of it goes there."""
    was = session.sa.endpoint
    for other in ctx.of(session.sa.tunnel):
        if other.sa.endpoint == was:
            other.sa.endpoint = to
            for child in other.sa.children:
                _redirect(ctx, child, to)
            ctx.touch(other)


def _redirect(ctx: Context, child: Child, to: Endpoint) -> None:
    """Send a pair's packets elsewhere; without UDP there is no NAT that could have moved the peer."""
    if child.udp and child.endpoint != to:
        esp.redirect(ctx, child, to)


def adopt(ctx: Context, session: Session, from_: Iterable[Session]) -> None:
    """`session` takes over the finished pairs of others of its tunnel."""
    for other in from_:
        taken = [child for child in other.sa.children if child.installed or child.gone_at is not None]
        if taken:
            other.sa.children = [child for child in other.sa.children if child not in taken]
            session.sa.children += taken
            for child in taken:
                if session.sa.endpoint.local_port == other.sa.endpoint.local_port:
                    _redirect(ctx, child, session.sa.endpoint)
            ctx.touch(other)
            ctx.touch(session)
