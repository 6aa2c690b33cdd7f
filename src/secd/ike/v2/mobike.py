"""MOBIKE (RFC 4555): an initiator whose address changes takes its IKE SA and its pairs along.

The initiator is who began the first IKE SA; after rekeys it still is.  When the data plane says that addresses or
routes of this host have changed, and when a request stays unanswered, we ask from whatever address the routing table
chooses now.  If the answer comes to another address than before, that is ours from now on, and the peer is told
(UPDATE_SA_ADDRESSES).  A NAT before us may change without our seeing it: the answers to our questions say how the peer
sees us, and it is told likewise when that is not as it was (§3.8).

As responder we go to where such a message came from, whose octets are authenticated but whose addresses are not: the
peer is asked there at once, with a cookie that has to come back (COOKIE2).
"""

from __future__ import annotations

import hmac

from msgspec.structs import replace

from secd.ike.endpoint import Endpoint
from secd.ike.nat import NAT_T_PORT
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import exchange, natd, pairs
from secd.ike.v2.context import Context, Message, Session, settings
from secd.ike.v2.state import Move, Nat, Probe
from secd.ike.wire.ikev2.iana import ExchangeType, NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payload import Payload

COOKIE_OCTETS = 16


def supported(tunnel: Tunnel, asked: Chain | None) -> list[Payload]:
    """MOBIKE_SUPPORTED of an IKE_AUTH request, or of an answer to one that has it."""
    wanted = settings(tunnel).mobike and (asked is None or asked.notification(NotifyType.MOBIKE_SUPPORTED) is not None)
    return [NotifyPayload(NotifyType.MOBIKE_SUPPORTED)] if wanted else []


def note(session: Session, tunnel: Tunnel, chain: Chain) -> None:
    """Whether both sides can do it."""
    said = chain.notification(NotifyType.MOBIKE_SUPPORTED) is not None
    session.sa.peer.mobike = settings(tunnel).mobike and said


# -- initiator --------------------------------------------------------------------------------------------


def paths_changed(ctx: Context) -> None:
    """Our address may be another one: ask those whom that matters to, from wherever the routing table says."""
    ctx.locals.clear()
    for session in list(ctx.sessions.values()):
        if ctx.roams(session) and session.sa.delete_at is None and not session.sa.successor:
            session.probe = session.sa.request is None
            exchange.try_another_way(ctx, session)
            ctx.touch(session)


def arrived(ctx: Context, session: Session, message: Message) -> None:
    """An authentic answer: did it come to another address of ours?"""
    session.roaming = False
    here = message.datagram.local
    if here != session.sa.endpoint.local and ctx.roams(session):
        session.moved_to = replace(session.sa.endpoint, local=here)


def tell(ctx: Context, session: Session, where: Endpoint) -> None:
    """Tell the peer that we are at `where`."""
    tunnel, sa = ctx.tunnel(session), session.sa
    force = tunnel is not None and settings(tunnel).force_natt
    was, sa.endpoint = sa.endpoint, where
    payloads: list[Payload] = [NotifyPayload(NotifyType.UPDATE_SA_ADDRESSES)]
    payloads += natd.payloads(ctx, sa, where, force=force)
    cookie = ctx.world.random(COOKIE_OCTETS)
    payloads.append(NotifyPayload(NotifyType.COOKIE2, cookie))
    if where.local != was.local:
        ctx.log(session, "moved", f"our address is {where.local} now, it was {was.local}")
    exchange.request(ctx, session, ExchangeType.INFORMATIONAL, payloads, Move(where, cookie))


def told(ctx: Context, session: Session, purpose: Move, message: Message, chain: Chain) -> None:
    """The peer has answered: everything goes from the new address, in UDP if there is a NAT."""
    refused = chain.notification(NotifyType.UNACCEPTABLE_ADDRESSES) or chain.notification(
        NotifyType.UNEXPECTED_NAT_DETECTED
    )
    cookie = chain.notification(NotifyType.COOKIE2)
    tunnel = ctx.tunnel(session)
    if refused is not None or cookie is None or not hmac.compare_digest(cookie.data, purpose.cookie):
        if tunnel is not None:
            text = f"{session.sa.endpoint.remote} does not accept that we are at {purpose.endpoint.local} now"
            ctx.world.log_once(tunnel, "warning", "move-refused", text)
        return
    _note_how_seen(session, chain)
    _settle(ctx, session, tunnel, message.endpoint, chain)


# -- responder --------------------------------------------------------------------------------------------


def update(ctx: Context, session: Session, message: Message, chain: Chain) -> list[Payload]:
    """The initiator is at another address: go there; gives what the answer says of addresses."""
    sa, tunnel = session.sa, ctx.tunnel(session)
    asked = chain.notification(NotifyType.UPDATE_SA_ADDRESSES) is not None
    if tunnel is None or not sa.peer.mobike or sa.began != "responder" or not sa.established:
        return []
    if not asked:  # but perhaps how we see it
        wants = chain.notification(NotifyType.NAT_DETECTION_DESTINATION_IP) is not None
        return [*natd.payloads(ctx, sa, message.endpoint, force=settings(tunnel).force_natt)] if wants else []
    found = _nat(session, tunnel, message, chain)
    udp = found.found if found.known else sa.nat.found
    if udp and chain.notification(NotifyType.NO_NATS_ALLOWED) is not None:
        return [NotifyPayload(NotifyType.UNEXPECTED_NAT_DETECTED)]
    if udp and message.endpoint.local_port != NAT_T_PORT:  # where alone ESP in UDP can go
        return [NotifyPayload(NotifyType.UNACCEPTABLE_ADDRESSES)]
    was, where = sa.endpoint, message.endpoint
    _settle(ctx, session, tunnel, where, chain)
    if where != was:
        ctx.log(session, "peer-moved", f"the peer moved from {was.remote} to {where.remote} port {where.remote_port}")
        session.probe = True
    return [*natd.payloads(ctx, sa, where, force=settings(tunnel).force_natt)] if sa.nat.known else []


def question(ctx: Context, session: Session) -> None:
    """Ask whether the peer is there; where it can move, so that only who reads at its address can answer.

    Behind a NAT also how it sees us; as long as that is not known, we say that we are where we are (§3.8).
    """
    session.probe = False
    sa = session.sa
    if not sa.peer.mobike:
        exchange.request(ctx, session, ExchangeType.INFORMATIONAL, [], Probe())
        return
    behind_nat = sa.nat.here and ctx.decides(session)
    if behind_nat and not sa.seen and not session.roaming:
        tell(ctx, session, sa.endpoint)
        return
    cookie = ctx.world.random(COOKIE_OCTETS)
    payloads: list[Payload] = [NotifyPayload(NotifyType.COOKIE2, cookie)]
    if behind_nat:
        payloads += natd.payloads(ctx, sa, sa.endpoint, force=False)
    exchange.request(ctx, session, ExchangeType.INFORMATIONAL, payloads, Probe(cookie))


def answered(ctx: Context, session: Session, purpose: Probe, chain: Chain) -> None:
    """Does the answer bring back our cookie?  Does the peer see us as before?"""
    if not purpose.cookie:
        return
    cookie, tunnel = chain.notification(NotifyType.COOKIE2), ctx.tunnel(session)
    if cookie is None or not hmac.compare_digest(cookie.data, purpose.cookie):
        if tunnel is not None:
            text = f"{session.sa.endpoint.remote} does not bring back the cookie that proves where it is"
            ctx.world.log_once(tunnel, "warning", "cookie-lost", text)
        return
    before = session.sa.seen
    _note_how_seen(session, chain)
    if before != session.sa.seen and session.moved_to is None and ctx.decides(session):
        if before:
            ctx.log(session, "mapping-moved", f"the NAT before us has changed: {session.sa.endpoint.remote} is told")
        session.moved_to = session.sa.endpoint


def _note_how_seen(session: Session, chain: Chain) -> None:
    """What the peer says that its message goes to."""
    said = chain.notification(NotifyType.NAT_DETECTION_DESTINATION_IP)
    if said is not None and len(said.data) == natd.OCTETS:
        session.sa.seen = said.data


# -- both -------------------------------------------------------------------------------------------------


def _nat(session: Session, tunnel: Tunnel, message: Message, chain: Chain) -> Nat:
    return natd.detect(session.sa, chain, message.endpoint, force=settings(tunnel).force_natt)


def _settle(ctx: Context, session: Session, tunnel: Tunnel | None, where: Endpoint, chain: Chain) -> None:
    """Everything of this IKE SA goes from and to `where`, in UDP or not as the NAT detection of `chain` says."""
    force = tunnel is not None and settings(tunnel).force_natt
    found = natd.detect(session.sa, chain, where, force=force)
    if found.known:
        session.sa.nat = found
    pairs.move(ctx, session, where, udp=session.sa.nat.found)
