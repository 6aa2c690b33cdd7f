"""Pairs of ESP SAs: put into the data plane, moved, taken out, and what the peer is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from secd.ike.contract import AddSA, DeleteSA, UpdateSA
from secd.ike.crypto.ikev1 import keymat
from secd.ike.proposals import EspSuite, algorithm_of
from secd.ike.tunnel import Tunnel
from secd.ike.v1.context import Context, Session
from secd.ike.v1.state import Child, Endpoint
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import NotifyType, ProtocolId
from secd.ike.wire.payloads import DeletePayload
from secd.sadb.messages import SA, Direction, Lifetime, UdpEncap

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
    sa, where = session.sa, session.sa.endpoint
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
    encryption_key, auth_key = algorithm.split(material)
    inbound = direction == "in"
    return SA(
        spi=spi,
        direction=direction,
        iface=tunnel.connection.iface,
        source=where.remote if inbound else where.local,
        destination=where.local if inbound else where.remote,
        encryption=algorithm.encryption,
        encryption_key=encryption_key,
        auth=algorithm.auth,
        auth_key=auth_key,
        replay=tunnel.connection.replay,
        esn=suite.esn,
        udpencap=UdpEncap(where.local_port, where.remote_port) if suite.udp else None,
        hard=Lifetime(addtime=suite.lifetime, bytes=suite.kilobytes * 1024),
        soft=Lifetime(addtime=int(suite.lifetime * SOFT), bytes=int(suite.kilobytes * 1024 * SOFT)),
        identity_source=sa.remote_id if inbound else sa.local_id,
        identity_destination=sa.local_id if inbound else sa.remote_id,
        checkpoint=session.id,
    )


def outbound_at(sa: SA, child: Child) -> SA:
    """The outbound SA of a pair that has waited to be installed: the peer may have moved meanwhile."""
    where = child.endpoint
    ports = UdpEncap(where.local_port, where.remote_port) if child.udp else None
    return replace(sa, source=where.local, destination=where.remote, udpencap=ports)


def install(ctx: Context, session: Session, sa: SA, *, after_send: bool = False) -> None:
    """Ask for `sa` to be installed; a refusal comes back by `ctx.installs`."""
    number = ctx.world.steps.new_id()
    ctx.installs[number] = (session.id, sa.spi, sa.direction)
    while len(ctx.installs) > ctx.MAX_INSTALLS:
        del ctx.installs[next(iter(ctx.installs))]
    put = ctx.world.outbox.put_after_send if after_send else ctx.world.outbox.put
    put(AddSA(number, sa))


def all_of(ctx: Context, name: str) -> Iterator[tuple[Session, Child]]:
    """Every pair of a tunnel with the session that holds it."""
    return ((session, child) for session in ctx.of(name) for child in session.sa.children)


def newest(ctx: Context, name: str) -> tuple[Session, Child] | None:
    """The usable pair of a tunnel that was made last: the one that is rekeyed, and that our traffic takes."""
    usable = [(session, child) for session, child in all_of(ctx, name) if child.usable]
    return max(usable, key=lambda pair: pair[1].created, default=None)


def find_inbound(ctx: Context, spi: int) -> tuple[Session, Child] | None:
    """The pair whose inbound SPI this is."""
    for session in ctx.sessions.values():
        for child in session.sa.children:
            if child.spi_in == spi:
                return session, child
    return None


def discard_outbound(ctx: Context, session: Session, child: Child) -> None:
    """Nothing goes out through this pair any more."""
    if child.installed:
        child.installed = False
        ctx.world.outbox.put(DeleteSA(child.spi_out, "out", child.endpoint.remote))
    ctx.touch(session)


def retire(ctx: Context, session: Session, child: Child) -> None:
    """Tell the peer that a pair is deleted and send on it no more; for a while it still receives what is under way."""
    tell_deleted(ctx, session, [child])
    discard_outbound(ctx, session, child)
    child.retire_at = child.rekey_at = child.check_at = None
    child.gone_at = ctx.world.now + DRAIN


def remove(ctx: Context, session: Session, child: Child, *, inbound: bool = True) -> None:
    """Take a pair out of the data plane and forget it; without `inbound` that SA is gone already."""
    discard_outbound(ctx, session, child)
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
    was = child.endpoint
    if not child.udp or was == to:
        return
    child.endpoint = to
    ports = (to.local_port, to.remote_port)
    ctx.world.outbox.put(UpdateSA(child.spi_in, "in", was.local, to.remote, to.local, ports))
    if child.installed:
        ctx.world.outbox.put(UpdateSA(child.spi_out, "out", was.remote, to.local, to.remote, ports))


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
