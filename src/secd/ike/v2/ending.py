"""How IKE SAs and pairs end: by us, by the peer, or without a word (RFC 7296 §1.4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from secd.ike.v2 import exchange, pairs
from secd.ike.v2.context import Context, Session
from secd.ike.v2.state import Child, Closed, Closing, DeleteChildren, DeleteIke, Established
from secd.ike.wire.ikev2.iana import ExchangeType, ProtocolId
from secd.ike.wire.ikev2.payloads import DeletePayload

#: Seconds for which a pair that is deleted still receives what was under way.
DRAIN = 3.0
#: Seconds for which a dead IKE SA answers the repeats of the peer's last request.
LINGER = 30.0


def delete_children(ctx: Context, session: Session, children: Sequence[Child]) -> None:
    """Tell the peer that these pairs end; they receive until it has answered."""
    for child in children:
        pairs.discard_outbound(ctx, session, child)
        child.told = True
        child.rekey_at = child.check_at = None
    payload = DeletePayload(ProtocolId.ESP, pairs.spis(children))
    purpose = DeleteChildren([child.spi_in for child in children])
    exchange.request(ctx, session, ExchangeType.INFORMATIONAL, [payload], purpose)


def children_deleted(ctx: Context, session: Session, spis: Sequence[int]) -> None:
    """The peer has answered: nothing comes any more, apart from what is under way."""
    for child in session.sa.children:
        if child.spi_in in spis and child.gone_at is None:
            child.gone_at = ctx.world.now + DRAIN
    ctx.touch(session)


def delete_ike(ctx: Context, session: Session) -> None:
    """Tell the peer that this IKE SA ends, with the pairs that it still holds."""
    sa = session.sa
    _drain(ctx, session)
    ctx.world.steps.cancel(session.id)
    sa.phase = Closing()
    sa.delete_at = sa.rekey_at = None
    sa.expires = float("inf")  # the request's repeats come to an end by themselves
    exchange.request(ctx, session, ExchangeType.INFORMATIONAL, [DeletePayload(ProtocolId.IKE)], DeleteIke())


def goodbye(ctx: Context, session: Session, *, repeat: bool = True) -> None:
    """End an IKE SA and its pairs at once, whatever is under way; `repeat`: until the peer has heard of it."""
    for child in list(session.sa.children):
        pairs.remove(ctx, session, child)
    if not session.sa.established:
        ctx.remove(session)
    elif repeat:
        session.sa.request = None
        delete_ike(ctx, session)
        ctx.claim(session, "")
    else:
        exchange.last_words(ctx, session, [DeletePayload(ProtocolId.IKE)])
        ctx.remove(session)


def close(ctx: Context, session: Session, *, refused: bool = False) -> None:
    """This IKE SA is over, and the peer knows; its answer stays for a while."""
    sa = session.sa
    _drain(ctx, session)
    ctx.world.steps.cancel(session.id)
    sa.phase = Closed(refused)
    sa.request = None
    sa.delete_at = sa.rekey_at = None
    sa.expires = ctx.world.now + LINGER
    ctx.touch(session)


def destroy(ctx: Context, session: Session) -> None:
    """End an IKE SA and its pairs without a word."""
    for child in list(session.sa.children):
        pairs.remove(ctx, session, child)
    ctx.remove(session)


def forget_earlier(ctx: Context, session: Session) -> None:
    """INITIAL_CONTACT: the peer knows nothing of this tunnel older than this exchange (RFC 7296 §2.4).

    What was established while the exchange was under way stays: after both sides have rebooted at once, each is told
    so by the other.
    """
    begun = session.sa.created
    for other in ctx.of(session.sa.tunnel):
        if other is not session and not _is_young(other, begun):
            destroy(ctx, other)


def _is_young(session: Session, begun: float) -> bool:
    if isinstance(session.sa.phase, Established | Closing | Closed):
        return session.since >= begun and session.sa.established
    return session.initiator


def adopt(ctx: Context, old: Session, new: Session) -> None:
    """A rekey is over: the new IKE SA has the pairs, and what follows goes through it (RFC 7296 §2.8)."""
    for child in old.sa.children:
        if child.told and child.gone_at is None:  # its delete was never answered
            child.gone_at = ctx.world.now + DRAIN
    new.sa.children += old.sa.children
    old.sa.children = []
    old.sa.successor = new.id
    if isinstance(new.sa.phase, Established):
        new.sa.phase.confirmed = True
    new.heard = max(new.heard, old.heard)
    ctx.touch(old)
    ctx.touch(new)


def successor(ctx: Context, session: Session) -> Session | None:
    """The session that has replaced this one by a rekey, if it lives."""
    found = ctx.sessions.get(session.sa.successor)
    return found if found is not None and found.sa.established else None


def _drain(ctx: Context, session: Session) -> None:
    for child in session.sa.children:
        pairs.discard_outbound(ctx, session, child)
        child.rekey_at = child.check_at = child.delete_at = None
        if child.gone_at is None:
            child.gone_at = ctx.world.now + DRAIN
