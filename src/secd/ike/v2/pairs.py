"""Pairs of ESP SAs in the data plane: made, put in, used, moved and taken out.

When may we send?  As initiator of an exchange as soon as its answer is there: the responder has installed its inbound
SA before it answered.  As responder we know that the initiator can receive only when it has got our answer (RFC 7296
§2.8).  In place of an older pair, nothing is gained by haste: the outbound SA is held back until the peer deletes the
older pair or is seen to send on the new one, and after a while in any case, should it do neither.  Where there is no
older pair to carry the traffic meanwhile, it is used at once, behind the answer on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from secd.ike import esp
from secd.ike.contract import DeleteSA
from secd.ike.crypto.ikev2 import child_keymat
from secd.ike.endpoint import Endpoint
from secd.ike.retransmission import fraction
from secd.ike.tunnel import Tunnel
from secd.ike.v2.context import Context, Session, settings
from secd.ike.v2.state import Child
from secd.ike.v2.suites import EspSuite
from secd.sadb.messages import SA, Lifetime

#: What the initiator and the responder rekey at, as parts of the lifetime: apart, so that they rarely collide.
REKEY_INITIATOR = (0.85, 0.90)
REKEY_RESPONDER = (0.90, 0.95)
#: Seconds between two looks at whether the peer uses a new pair, and after which it is used in any case: no sooner than
#: an initiator has repeated its request for the last time.
LOOK = 1.0
PATIENCE = 65.0
#: Pairs that an IKE SA may hold before the peer gets no more, those included that are about to end.
MAX_PAIRS = 24


@dataclass(frozen=True, slots=True)
class Material:
    """What the keys of a pair are made of: nonces and shared secrets of its exchange, SK_d if not the session's."""

    ni: bytes
    nr: bytes
    secret: bytes = b""
    additional: tuple[bytes, ...] = ()
    sk_d: bytes = b""


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair that was agreed on, and its SAs with their keys."""

    child: Child
    inbound: SA
    outbound: SA


def make(
    ctx: Context,
    session: Session,
    tunnel: Tunnel,
    suite: EspSuite,
    *,
    spis: tuple[int, int],
    material: Material,
    ours: bool,
) -> Pair:
    """A pair with its keys; `spis` are ours and the peer's, `ours`: we have begun the exchange."""
    sa, where, now = session.sa, session.sa.endpoint, ctx.world.now
    limits = settings(tunnel)
    algorithm = suite.algorithm
    sent_by_initiator, sent_by_responder = child_keymat(
        session.prf,
        material.sk_d or session.keys.sk_d,
        algorithm.keymat_octets,
        ni=material.ni,
        nr=material.nr,
        g_ir=material.secret,
        additional=material.additional,
    )
    low, high = REKEY_INITIATOR if ours else REKEY_RESPONDER
    part = low + (high - low) * fraction(ctx.world.random)
    child = Child(
        spi_in=spis[0],
        spi_out=spis[1],
        suite=suite,
        endpoint=where,
        udp=sa.nat.found,
        created=now,
        ours=ours,
        expires=now + limits.lifetime if limits.lifetime else float("inf"),
        rekey_at=now + limits.lifetime * part if limits.lifetime else None,
        lowest=min(material.ni, material.nr),
    )
    one = partial(
        esp.make,
        session,
        tunnel,
        algorithm,
        esn=suite.esn,
        udp=sa.nat.found,
        hard=Lifetime(addtime=limits.lifetime, bytes=limits.lifetime_bytes),
        soft=Lifetime(addtime=int(limits.lifetime * part), bytes=int(limits.lifetime_bytes * part)),
    )
    out_keymat, in_keymat = (sent_by_initiator, sent_by_responder) if ours else (sent_by_responder, sent_by_initiator)
    return Pair(child, one(in_keymat, direction="in", spi=spis[0]), one(out_keymat, direction="out", spi=spis[1]))


# -- in and out of the data plane -------------------------------------------------------------------------


def use(ctx: Context, session: Session, pair: Pair, *, after_send: bool = False) -> None:
    """Put both SAs of a pair in; `after_send`: the outbound one behind the datagrams of this step."""
    esp.install(ctx, session, pair.inbound)
    esp.install(ctx, session, pair.outbound, after_send=after_send)
    pair.child.installed = True
    session.sa.children.append(pair.child)
    ctx.touch(session)


def hold(ctx: Context, session: Session, pair: Pair, *, redundant: bool = False) -> None:
    """Put the inbound SA of a pair in, and keep the outbound one back; of a `redundant` pair for ever."""
    esp.install(ctx, session, pair.inbound)
    if not redundant:
        pair.child.outbound = pair.outbound
        pair.child.activate_at = ctx.world.now + LOOK
    pair.child.replaced = redundant
    session.sa.children.append(pair.child)
    ctx.touch(session)


def activate(ctx: Context, session: Session, child: Child) -> None:
    """The peer can receive: what was held back goes in."""
    outbound, child.outbound, child.activate_at = child.outbound, None, None
    if outbound is not None and not child.replaced and child.gone_at is None and child.delete_at is None:
        esp.install(ctx, session, esp.outbound_at(outbound, child))
        child.installed = True
    ctx.touch(session)


def discard_outbound(ctx: Context, session: Session, child: Child) -> None:
    """Nothing goes out through this pair any more."""
    child.outbound = child.activate_at = None
    esp.discard_outbound(ctx, session, child)


def remove(ctx: Context, session: Session, child: Child) -> None:
    """Take a pair out of the data plane and forget it."""
    discard_outbound(ctx, session, child)
    if not child.lost:
        ctx.world.outbox.put(DeleteSA(child.spi_in, "in", child.endpoint.local))
    session.sa.children.remove(child)


def end(ctx: Context, session: Session, child: Child) -> None:
    """Tell the peer as soon as possible that this pair is deleted."""
    if child.delete_at is None and child.gone_at is None:
        child.delete_at = ctx.world.now
        child.rekey_at = child.check_at = None
        child.replaced = True
        ctx.touch(session)


# -- which ------------------------------------------------------------------------------------------------


def find(ctx: Context, name: str, *, spi_in: int = 0, spi_out: int = 0) -> tuple[Session, Child] | None:
    """The pair of a tunnel with this SPI of ours, or of the peer's."""
    for session, child in ctx.pairs(name):
        if (spi_in and child.spi_in == spi_in) or (spi_out and child.spi_out == spi_out):
            return session, child
    return None


def spis(children: Sequence[Child]) -> tuple[bytes, ...]:
    """Our SPIs of these pairs, as a delete payload names them."""
    return tuple(child.spi_in.to_bytes(4, "big") for child in children)


# -- a peer that moves ------------------------------------------------------------------------------------


def move(ctx: Context, session: Session, to: Endpoint, *, udp: bool | None = None) -> None:
    """The peer, or we, are at `to` now: everything of this IKE SA goes there; `udp` if that has changed, too."""
    session.sa.endpoint = to
    for child in session.sa.children:
        was = child.udp
        child.udp = was if udp is None else udp
        if child.endpoint != to or child.udp != was:
            esp.redirect(ctx, child, to)
    ctx.touch(session)
