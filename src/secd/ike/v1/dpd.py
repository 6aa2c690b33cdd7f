"""Dead peer detection (RFC 3706), for each tunnel by its newest ISAKMP SA.

Only when nothing was received for `interval` seconds, neither ESP on any of the tunnel's pairs nor an authenticated
message, is the peer asked; when `tries` questions, `wait` seconds apart, have brought nothing either, it is dead.
"""

from __future__ import annotations

from collections.abc import Sequence

from secd.ike.connection import DeadPeerDetection
from secd.ike.steps import Step, last_use
from secd.ike.tunnel import Tunnel
from secd.ike.v1.context import Context, Session
from secd.ike.wire.iana import NotifyType, ProtocolId
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import NotificationPayload

KEY = "dpd"
#: How many of our own last questions are known as such, and how often the peer may ask with one number.
OURS = 65_536
MAX_ASKED = 16

_KINDS = (NotifyType.R_U_THERE, NotifyType.R_U_THERE_ACK)


def schedule(ctx: Context, session: Session) -> None:
    """Look after the peer of a session that was established, or taken up from a checkpoint."""
    tunnel = ctx.tunnel(session)
    settings = tunnel.connection.dpd if tunnel is not None else None
    if not session.sa.established or not session.sa.dpd or settings is None:
        session.dpd_at = None
    elif session.dpd_at is None and not ctx.world.steps.busy(session.id, KEY):
        session.dpd_at = ctx.world.now + settings.interval


def hurry(ctx: Context, session: Session) -> None:
    """Somebody says that the peer has forgotten us: ask it now, unless it was heard from just before."""
    if session.dpd_at is not None and not session.dpd_tries and ctx.world.now - session.heard >= 1.0:
        session.dpd_at = ctx.world.now
        session.dpd_hurried = True
        ctx.touch(session)


def check(ctx: Context, session: Session, tunnel: Tunnel, settings: DeadPeerDetection) -> Step[bool]:
    """Look whether anything came from the peer; if nothing did, ask it.  False: it is dead."""
    hurried, session.dpd_hurried = session.dpd_hurried, False
    begun = ctx.world.now
    quiet = float("inf")
    for _, child in list(ctx.pairs(tunnel.name)):
        if child.usable:
            idle = yield from last_use(child.spi_in, child.endpoint.local)
            quiet = min(quiet, float("inf") if idle is None else idle)
    now = ctx.world.now
    quiet = min(quiet + (now - begun), now - session.heard)
    answered = session.dpd_tries and quiet < now - session.dpd_since
    if answered or (not session.dpd_tries and quiet < settings.interval and not hurried):
        session.dpd_tries = 0
        session.dpd_at = now + max(1.0, settings.interval - quiet)
        return True
    if session.dpd_tries >= settings.tries:
        return False
    if not session.dpd_tries:
        session.dpd_since = now
    session.dpd_tries += 1
    session.dpd_at = now + max(1, settings.wait)
    _ask(ctx, session)
    return True


def is_alone(payloads: Sequence[Payload]) -> bool:
    """Whether an informational exchange is dead peer detection's and nothing else: so many that nobody can remember
    the message ids of all; their numbers tell which are new."""
    only = payloads[0] if len(payloads) == 1 else None
    return isinstance(only, NotificationPayload) and only.notify_type in _KINDS


def is_new(session: Session, message_id: int, only: NotificationPayload) -> bool:
    """Whether this question or answer was not played again, and is not ours, thrown back at us (RFC 3706 §7.2)."""
    sa, number = session.sa, _number(session, only)
    if number is None:
        return False
    if only.notify_type == NotifyType.R_U_THERE_ACK:
        return _is_awaited(session, number)
    if sa.dpd_sent - OURS < number <= sa.dpd_sent or number < sa.dpd_received:
        return False
    if number > sa.dpd_received:
        sa.asked.clear()
    if message_id in sa.asked or len(sa.asked) >= MAX_ASKED:
        return False
    sa.asked.append(message_id)
    return True


def answer(ctx: Context, session: Session, question: NotificationPayload) -> None:
    """R-U-THERE: a number lower than one seen before is an old one."""
    number = _number(session, question)
    if number is None or number < session.sa.dpd_received:
        return
    session.sa.dpd_received = number
    _say(ctx, session, NotifyType.R_U_THERE_ACK, number)


def take_answer(ctx: Context, session: Session, ack: NotificationPayload) -> None:
    """R-U-THERE-ACK: of one of the questions that are still open."""
    number = _number(session, ack)
    if number is None or not _is_awaited(session, number):
        return
    tunnel = ctx.tunnel(session)
    session.dpd_tries = 0
    if tunnel is not None and tunnel.connection.dpd is not None:
        session.dpd_at = ctx.world.now + tunnel.connection.dpd.interval


def _is_awaited(session: Session, number: int) -> bool:
    return session.sa.dpd_sent - session.dpd_tries < number <= session.sa.dpd_sent


def _ask(ctx: Context, session: Session) -> None:
    sa = session.sa
    if not sa.dpd_sent:  # RFC 3706 §6: begin anywhere, with the highest bit clear
        sa.dpd_sent = int.from_bytes(ctx.world.random(4), "big") >> 2
    sa.dpd_sent = (sa.dpd_sent + 1) & 0xFFFFFFFF
    _say(ctx, session, NotifyType.R_U_THERE, sa.dpd_sent)
    ctx.touch(session)


def _say(ctx: Context, session: Session, kind: NotifyType, number: int) -> None:
    cookies = session.sa.icookie + session.sa.rcookie
    payload = NotificationPayload(kind, ProtocolId.PROTO_ISAKMP, cookies, number.to_bytes(4, "big"))
    ctx.inform(session, [payload], numbered=True)


def _number(session: Session, notification: NotificationPayload) -> int | None:
    """The sequence number; None if the notification is about another SA or not of this form."""
    if notification.spi not in (b"", session.sa.icookie + session.sa.rcookie) or len(notification.data) != 4:
        return None
    return int.from_bytes(notification.data, "big")
