"""INFORMATIONAL exchanges (RFC 7296 §1.4): deletes, notifications, and empty ones that ask whether we are there."""

from __future__ import annotations

from secd.ike.v2 import ending, exchange, explain, mobike, pairs, redirect
from secd.ike.v2.context import Context, Message, Session
from secd.ike.v2.state import Child, CreateChild, DeleteChildren, DeleteIke, Move, Probe, Purpose, RekeyIke
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import NotifyType, ProtocolId
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import DeletePayload


def respond(ctx: Context, session: Session, message: Message, chain: Chain) -> None:
    """A request of the peer's."""
    payloads: list[Payload] = []
    over = ""
    for delete in chain.all(DeletePayload):
        if delete.protocol == ProtocolId.IKE:
            over = "the peer has deleted the IKE SA"
        elif delete.protocol == ProtocolId.ESP:
            payloads += _deleted(ctx, session, delete)
    for each in chain.all(NotifyPayload):
        if each.notify_type == NotifyType.AUTHENTICATION_FAILED:
            over = _not_believed(ctx, session)
        elif each.is_error:
            _told(ctx, session, each)
        elif each.notify_type == NotifyType.COOKIE2:
            payloads.append(NotifyPayload(NotifyType.COOKIE2, each.data))
    payloads += mobike.update(ctx, session, message, chain)
    tunnel = ctx.tunnel(session)
    if tunnel is not None and session.sa.began == "initiator" and not over:
        redirect.followed(ctx, session, tunnel, chain)
    exchange.answer(ctx, session, message, [] if over else payloads)
    if over:
        end(ctx, session, over)


def take_answer(ctx: Context, session: Session, purpose: Purpose, message: Message, chain: Chain) -> None:
    """The peer has answered."""
    session.sa.request = None
    if isinstance(purpose, Move):
        mobike.told(ctx, session, purpose, message, chain)
    elif isinstance(purpose, Probe):
        mobike.answered(ctx, session, purpose, chain)
    elif isinstance(purpose, DeleteChildren):
        ending.children_deleted(ctx, session, purpose.spis)
    elif isinstance(purpose, DeleteIke):
        if session.sa.children:
            ending.close(ctx, session)
        else:
            ctx.remove(session)
    ctx.touch(session)


def end(ctx: Context, session: Session, why: str) -> None:
    """The peer has ended this IKE SA: after a rekey its successor takes over, else its pairs go along."""
    tunnel, request = ctx.tunnel(session), session.sa.request
    if not session.sa.successor and request is not None and isinstance(request.purpose, RekeyIke):
        session.sa.successor = request.purpose.rival  # the peer knows nothing of our rekey (RFC 7296 §2.8.2)
    heir = ending.successor(ctx, session)
    if heir is not None:
        ending.adopt(ctx, session, heir)
    elif tunnel is not None:
        ctx.log(session, "ike-down", f"{session.sa.endpoint.remote}: {why}")
        if tunnel.up_since is not None and any(child.usable for child in session.sa.children):
            tunnel.reason = why
    ending.close(ctx, session)
    if tunnel is not None:
        activate_held(ctx, tunnel.name)


def activate_held(ctx: Context, name: str) -> None:
    """The peer has ended what it has replaced: it receives on what it has put in the place."""
    for holder, child in list(ctx.pairs(name)):
        if child.outbound is not None:
            pairs.activate(ctx, holder, child)


def _not_believed(ctx: Context, session: Session) -> str:
    tunnel, ours = ctx.tunnel(session), session.sa.local_id
    if tunnel is None or ours is None:
        return "the peer does not believe that we are who we say (AUTHENTICATION_FAILED)"
    return explain.not_believed(ours, tunnel.connection)


def _deleted(ctx: Context, session: Session, delete: DeletePayload) -> list[Payload]:
    """The peer receives on these SPIs no more; the answer names those of the other direction (RFC 7296 §1.4.1)."""
    ended: list[Child] = []
    for spi in dict.fromkeys(delete.spis):
        found = pairs.find(ctx, session.sa.tunnel, spi_out=int.from_bytes(spi, "big"))
        if found is None or found[1].gone_at is not None:
            continue
        _end_pair(ctx, *found)
        if not found[1].told:
            ended.append(found[1])
    return [DeletePayload(ProtocolId.ESP, pairs.spis(ended))] if ended else []


def _end_pair(ctx: Context, session: Session, child: Child) -> None:
    tunnel = ctx.tunnel(session)
    request = session.sa.request
    renewing = request is not None and isinstance(request.purpose, CreateChild)
    if tunnel is not None:
        ctx.log(session, "child-deleted", f"the peer has deleted SPI 0x{child.spi_out:08x}")
        others = any(each.usable or each.outbound for _, each in ctx.pairs(tunnel.name) if each is not child)
        if tunnel.up_since is not None and not others and not renewing:
            tunnel.reason = "the peer has deleted the SAs"
    child.gone_at = ctx.world.now + ending.DRAIN
    child.rekey_at = child.delete_at = child.check_at = None
    activate_held(ctx, session.sa.tunnel)
    pairs.discard_outbound(ctx, session, child)


def _told(ctx: Context, session: Session, notification: NotifyPayload) -> None:
    tunnel = ctx.tunnel(session)
    if tunnel is not None:
        name = name_of(NotifyType, notification.notify_type)
        ctx.world.log_once(tunnel, "warning", "peer-says", f"{session.sa.endpoint.remote} says {name}")
