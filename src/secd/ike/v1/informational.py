"""Informational exchanges (RFC 2408 §4.8): notifications and deletes.

Those that an established SA protects are obeyed.  Anybody can send the others: they are told to people, a bounded
number of times, and at most make us look sooner whether the peer is still there.
"""

from __future__ import annotations

import hmac

from secd.ike import esp, explain
from secd.ike.crypto.ikev1 import hash_1
from secd.ike.nat import NAT_T_PORT
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children, dpd, offers, opening, phase1, quick_mode
from secd.ike.v1.context import Context, Message, Session
from secd.ike.v1.state import AggressiveSent, AnswerSent, Gone, IdentitySent, ProposalSent, QuickMode
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import NotifyType, ProtocolId, name_of
from secd.ike.wire.isakmp import Chain
from secd.ike.wire.payloads import DeletePayload, HashPayload, NotificationPayload

#: Seconds within which an initiator that does not like our name deletes the ISAKMP SA.
AT_ONCE = 5.0
#: Seconds for which the children of a deleted ISAKMP SA wait to be adopted by its replacement.
HOLD = 90.0

_NAME_REFUSED = (NotifyType.INVALID_ID_INFORMATION, NotifyType.AUTHENTICATION_FAILED)
_FORGOTTEN = (NotifyType.INVALID_COOKIE, NotifyType.INVALID_SPI)
#: Said of one datagram, often of one that came twice or late when the exchange was forgotten: no answer to an offer.
_OF_A_DATAGRAM = frozenset({
    NotifyType.INVALID_COOKIE, NotifyType.INVALID_MESSAGE_ID, NotifyType.INVALID_HASH_INFORMATION,
    NotifyType.PAYLOAD_MALFORMED,
})  # fmt: skip


def opened(session: Session, message: Message) -> Chain:
    """The payloads of an exchange of one message under an established SA, whose hash agrees (RFC 2409 §5.7)."""
    chain, _ = message.decrypt(session.phase2_cbc(message.header.message_id))
    first = chain.payloads[0] if chain.payloads else None
    expected = hash_1(session.prf, session.keys.skeyid_a, message.header.message_id, chain.after_first)
    if not isinstance(first, HashPayload) or not hmac.compare_digest(first.data, expected):
        raise WireError("the hash does not agree", NotifyType.INVALID_HASH_INFORMATION)
    return chain


def protected(ctx: Context, session: Session, message: Message) -> None:
    """An informational exchange under an established SA."""
    message_id = message.header.message_id
    if message_id in session.sa.recent:
        return
    chain = opened(session, message)
    if not dpd.is_alone(chain.payloads[1:]):
        session.remember(message_id)
    elif not dpd.is_new(session, message_id, chain.one(NotificationPayload)):
        raise WireError("a question whether we are there, or an answer, that is not new")
    session.heard = ctx.world.now
    follow(ctx, session, message)
    phase1.obey(ctx, session, chain)
    for notification in chain.all(NotificationPayload):
        _notified(ctx, session, notification)
    for delete in chain.all(DeletePayload):
        _deleted(ctx, session, delete)
    ctx.touch(session)


def unprotected(ctx: Context, session: Session | None, message: Message) -> None:
    """An informational exchange in clear, or one that we cannot decrypt because there are no keys yet."""
    peer = message.datagram.remote
    if message.header.encrypted:
        if session is not None and isinstance(session.sa.phase1, IdentitySent):
            _instead_of_message_6(ctx, session, session.sa.phase1, message)
        return
    for each in message.clear().all(NotificationPayload):
        name = name_of(NotifyType, each.notify_type).replace("_", "-")
        text, tunnel = f"{peer} says {name}, which it cannot prove", ctx.tunnel(session) if session else None
        if tunnel is None or tunnel.is_news("unauthenticated-notify", text):
            ctx.world.log_stranger("info", "unauthenticated-notify", text, tunnel.name if tunnel else "")
        if session is not None:
            _hint(ctx, session, each.notify_type)


def _instead_of_message_6(ctx: Context, session: Session, state: IdentitySent, message: Message) -> None:
    """The peer has our message 5.  If this decrypts it has our key too, and does not like our name, or our proof."""
    tunnel, peer, message_id = ctx.tunnel(session), session.sa.endpoint.remote, message.header.message_id
    try:
        chain, _ = message.decrypt(session.cbc(state.keys).phase2(session.prf, message_id))
        proof = chain.one(HashPayload).data
    except WireError:
        opening.suspect(ctx, session, "it was answered with a message that does not decrypt")
        return
    expected = hash_1(session.prf, state.keys.skeyid_a, message_id, chain.after_first)
    refusals = [each.notify_type for each in chain.all(NotificationPayload) if each.notify_type < NotifyType.CONNECTED]
    if tunnel is None or session.sa.local_id is None or not refusals or not hmac.compare_digest(proof, expected):
        return
    name = name_of(NotifyType, refusals[0]).replace("_", "-")
    text = explain.our_identity_refused(peer, session.sa.local_id, name, tunnel.connection.origin)
    ctx.world.log_once(tunnel, "error", "identity-mismatch", text)
    tunnel.failed(text, ctx.world.now, ctx.world.random)
    ctx.remove(session)


def follow(ctx: Context, session: Session, message: Message) -> None:
    """An authenticated message that is not a repetition came from somewhere else: the NAT has moved the peer.

    Only by what comes to port 4500, where alone ESP in UDP can go.
    """
    floated = message.endpoint.local_port == NAT_T_PORT
    if session.sa.nat.found and floated and message.endpoint != session.sa.endpoint:
        tunnel, was = ctx.tunnel(session), session.sa.endpoint
        children.move(ctx, session, message.endpoint)
        if tunnel is not None:
            ctx.world.log(
                "info", tunnel.name, "peer-moved",
                f"the peer moved from {was.remote} port {was.remote_port} to {message.datagram.remote} port "
                f"{message.datagram.remote_port}",
            )  # fmt: skip


def _hint(ctx: Context, session: Session, kind: int) -> None:
    """What an unproven notification most likely means for the exchange under way."""
    tunnel, state = ctx.tunnel(session), session.sa.phase1
    if tunnel is None:
        return
    if session.sa.established:
        if kind in _FORGOTTEN:
            dpd.hurry(ctx, session)
    elif session.sa.role == "initiator":
        if kind == NotifyType.NO_PROPOSAL_CHOSEN and not isinstance(state, IdentitySent):
            offered = offers.offered(tunnel.connection)
            text = explain.offer_refused(session.sa.endpoint.remote, offered, tunnel.connection.origin)
            opening.discouraged(ctx, session, tunnel, "proposal-mismatch", text)
        elif isinstance(state, IdentitySent):
            said = name_of(NotifyType, kind).replace("_", "-")
            opening.suspect(ctx, session, f"it was answered with {said}")
        elif isinstance(state, AggressiveSent) and kind in _NAME_REFUSED and session.sa.local_id is not None:
            said = name_of(NotifyType, kind).replace("_", "-")
            peer, origin = session.sa.endpoint.remote, tunnel.connection.origin
            text = explain.our_identity_refused(peer, session.sa.local_id, said, origin)
            opening.discouraged(ctx, session, tunnel, "identity-mismatch", text)


def _notified(ctx: Context, session: Session, notification: NotificationPayload) -> None:
    kind = notification.notify_type
    if kind == NotifyType.R_U_THERE:
        dpd.answer(ctx, session, notification)
    elif kind == NotifyType.R_U_THERE_ACK:
        dpd.take_answer(ctx, session, notification)
    elif kind < NotifyType.CONNECTED:
        _refused(ctx, session, notification)


def _refused(ctx: Context, session: Session, notification: NotificationPayload) -> None:
    """The peer refuses something: our quick mode, if there is one that this can mean, or our identity."""
    tunnel = ctx.tunnel(session)
    if tunnel is None:
        return
    name = name_of(NotifyType, notification.notify_type).replace("_", "-")
    quick = _meant(session, notification)
    if quick is None:
        again = notification.notify_type in _OF_A_DATAGRAM and quick_mode.disown(ctx, session)
        text = f"{session.sa.endpoint.remote} says {name}{': quick mode begins again' if again else ''}"
        ctx.world.log_once(tunnel, "warning", "peer-says", text)
        return
    message_id, state = quick
    origin, peer = tunnel.connection.origin, session.sa.endpoint.remote
    if notification.notify_type == NotifyType.NO_PROPOSAL_CHOSEN:
        code, text = "proposal-mismatch", explain.offer_refused(peer, state.suites, origin)
    elif notification.notify_type == NotifyType.INVALID_ID_INFORMATION:
        code, text = "selector-mismatch", explain.selectors_refused(peer)
    else:
        code, text = "quick-mode-refused", f"{peer} refuses quick mode: {name}"
    ctx.world.log_once(tunnel, "error", code, text)
    quick_mode.give_up(ctx, session, message_id, text)


def _meant(session: Session, notification: NotificationPayload) -> tuple[int, ProposalSent] | None:
    """The quick mode of ours that a notification is about: by its SPI, or because it is an answer and the only one."""
    ours: list[tuple[int, ProposalSent]] = [
        (message_id, quick.state)
        for message_id, quick in session.sa.quick.items()
        if isinstance(quick.state, ProposalSent)
    ]
    by_spi = [each for each in ours if notification.spi == each[1].spi.to_bytes(4, "big")]
    if by_spi:
        return by_spi[0]
    return ours[0] if len(ours) == 1 and notification.notify_type not in _OF_A_DATAGRAM else None


def _deleted(ctx: Context, session: Session, delete: DeletePayload) -> None:
    if delete.protocol == ProtocolId.PROTO_IPSEC_ESP:
        for spi in delete.spis:
            _deleted_pair(ctx, session, int.from_bytes(spi, "big"))
    elif delete.protocol == ProtocolId.PROTO_ISAKMP:
        for spi in delete.spis:
            other = ctx.by_cookie(spi[:8])
            if (
                other is not None
                and other.sa.icookie + other.sa.rcookie == spi
                and other.sa.tunnel == session.sa.tunnel
            ):
                _suspect_identity(ctx, other)
                end(ctx, other, "the peer has deleted the ISAKMP SA")


def _suspect_identity(ctx: Context, session: Session) -> None:
    """An initiator that ends main mode when it has seen message 6 does not like what stands in it: our name."""
    tunnel, name = ctx.tunnel(session), session.sa.local_id
    unused = session.sa.role == "responder" and not session.sa.used
    if tunnel is None or name is None or tunnel.up_since is not None or not unused:
        return
    if ctx.world.now - session.since < AT_ONCE:
        text = explain.our_identity_suspected(session.sa.endpoint.remote, name, tunnel.connection.origin)
        ctx.world.log_once(tunnel, "error", "identity-mismatch", text)
        tunnel.reason = text


def _deleted_pair(ctx: Context, session: Session, spi: int) -> None:
    """The peer receives on `spi` no more: stop sending on it, and let the other direction run out."""
    for holder, child in ctx.pairs(session.sa.tunnel):
        if child.spi_out == spi and child.gone_at is None:
            tunnel = ctx.tunnel(session)
            if tunnel is not None:
                ctx.world.log("info", tunnel.name, "phase2-deleted", f"the peer has deleted SPI 0x{spi:08x}")
                if tunnel.up_since is not None and ctx.newest_pair(tunnel.name) == (holder, child):
                    tunnel.reason = "the peer has deleted the SAs"
            esp.discard_outbound(ctx, holder, child)
            child.stale = True
            child.gone_at = ctx.world.now + children.DRAIN
            child.rekey_at = child.retire_at = None
            if tunnel is not None:
                _take_for_confirmed(ctx, tunnel)
            return


def _take_for_confirmed(ctx: Context, tunnel: Tunnel) -> None:
    """The peer has deleted a pair while a new one waits for message 3, which may be lost: it must have the new one."""
    for session in ctx.of(tunnel.name):
        for quick in quick_mode.in_progress(session, ours=False):
            if isinstance(quick.state, AnswerSent) and ctx.newest_pair(tunnel.name) is None:
                quick_mode.confirm(ctx, session, tunnel, quick, quick.state)


def end(ctx: Context, session: Session, why: str) -> None:
    """An established SA is over; its children wait for a while to be adopted by its replacement."""
    tunnel, sa = ctx.tunnel(session), session.sa
    if tunnel is not None:
        ctx.world.log("info", tunnel.name, "phase1-down", f"{sa.endpoint.remote}: {why}")
    ctx.touch(session)
    for message_id in [key for key, quick in sa.quick.items() if _unfinished(quick)]:
        quick_mode.give_up(ctx, session, message_id, why)
    quick_mode.wait_no_longer(ctx, session)
    sa.phase1 = Gone()
    sa.quick.clear()
    sa.flight.next = sa.rekey_at = sa.retire_at = None
    sa.expires = ctx.world.now + HOLD
    for child in sa.children:
        child.stale = True
    ctx.world.steps.cancel(session.id)
    if not sa.children:
        ctx.remove(session)


def _unfinished(quick: QuickMode) -> bool:
    return quick.flight.next is not None
