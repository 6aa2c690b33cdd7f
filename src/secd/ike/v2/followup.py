"""IKE_FOLLOWUP_KE: additional key exchanges after CREATE_CHILD_SA (RFC 9370 §2.2.4).

    initiator                                             responder
    ---------                                             ---------
    CREATE_CHILD_SA {SA, Ni, KEi, ..}               ->
                                                    <-    {SA, Nr, KEr, .., N(ADDITIONAL_KEY_EXCHANGE, link)}
    IKE_FOLLOWUP_KE {KEi(n), N(link)}               ->
                                                    <-    {KEr(n), N(link) unless this was the last}

Only when the last round is over is there anything new; until then both sides keep what was agreed on.  The responder
keeps it for the link, an opaque word of its own, one at a time: who comes with another gets STATE_NOT_FOUND.
"""

from __future__ import annotations

from dataclasses import dataclass

from secd.ike.crypto.groups import group
from secd.ike.steps import Step, encapsulate, key_pair, shared_secret
from secd.ike.v2 import exchange, suites
from secd.ike.v2.context import Context, Message, Session
from secd.ike.v2.state import CreateChild, Followup, Pending, RekeyIke
from secd.ike.v2.suites import EspSuite, IkeSuite
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import ExchangeType, NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload, group_data
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import KEPayload

#: Seconds for which the responder keeps what was agreed on.
KEPT = 75.0
LINK_OCTETS = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """The request that is answered last, and what the answer says."""

    message: Message
    body: list[Payload]


# -- initiator --------------------------------------------------------------------------------------------


def go_on(
    ctx: Context, session: Session, purpose: CreateChild | RekeyIke, agreed: Followup, chain: Chain
) -> Step[bool]:
    """Begin the next round, if there is one; True: all are over."""
    rounds = suites.rounds(_suite(agreed))
    if agreed.round >= len(rounds):
        return True
    link = chain.notification(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    if link is None:
        raise WireError("additional key exchanges are due, and no link to them came", NotifyType.INVALID_SYNTAX)
    method = group(rounds[agreed.round])
    pair = yield from key_pair(method.name, ctx.world.random(method.seed_octets))
    request = session.sa.request
    if request is None or request.purpose is not purpose:
        return False
    agreed.private = pair.private
    purpose.followup = agreed
    payloads: list[Payload] = [
        KEPayload(method.number, pair.public),
        NotifyPayload(NotifyType.ADDITIONAL_KEY_EXCHANGE, link.data),
    ]
    session.sa.request = None
    exchange.request(ctx, session, ExchangeType.IKE_FOLLOWUP_KE, payloads, purpose)
    return False


def take_answer(agreed: Followup, chain: Chain) -> Step[Followup]:
    """The peer's half of a round; gives what is agreed on with its secret."""
    method = suites.rounds(_suite(agreed))[agreed.round]
    ke = chain.one(KEPayload)
    if ke.group != group(method).number:
        raise WireError(f"a public value for group {ke.group}, expected {method}", NotifyType.INVALID_SYNTAX)
    secret = yield from shared_secret(method, agreed.private, ke.data)
    return Followup(agreed.round + 1, agreed.spi, agreed.nonce, [*agreed.secrets, secret], agreed.esp, agreed.ike)


# -- responder --------------------------------------------------------------------------------------------


def key_exchange(ctx: Context, name: str, ke: KEPayload | None) -> Step[tuple[KEPayload, bytes]]:
    """Our half of CREATE_CHILD_SA's own key exchange, by group `name`, and the secret; another group is refused."""
    method = group(name)
    wanted = int(method.number)
    if ke is None or ke.group != wanted:
        raise WireError("a public value for another group", NotifyType.INVALID_KE_PAYLOAD, group_data(wanted))
    made = yield from encapsulate(name, ctx.world.random(method.seed_octets), ke.data)
    return KEPayload(wanted, made.public), made.secret


def keep(ctx: Context, session: Session, pending: Pending) -> NotifyPayload:
    """Keep what is agreed on until the last round is over; gives the link to it."""
    pending.link = ctx.world.random(LINK_OCTETS)
    pending.expires = ctx.world.now + KEPT
    session.sa.pending = pending
    return NotifyPayload(NotifyType.ADDITIONAL_KEY_EXCHANGE, pending.link)


def respond(ctx: Context, session: Session, chain: Chain) -> Step[tuple[Pending, list[Payload], bool]]:
    """The peer's half of a round; gives what is agreed on with its secret, our half, and whether that was the last."""
    pending, link = session.sa.pending, chain.notification(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    known = pending is not None and link is not None and link.data == pending.link
    if pending is None or not known or pending.expires <= ctx.world.now:
        raise WireError("additional key exchanges of something unknown", NotifyType.STATE_NOT_FOUND)
    rounds = suites.rounds(_suite(pending.agreed))
    method = group(rounds[pending.agreed.round])
    ke = chain.one(KEPayload)
    if ke.group != method.number:
        raise WireError(f"a public value for group {ke.group}, expected {method.name}", NotifyType.INVALID_SYNTAX)
    made = yield from encapsulate(method.name, ctx.world.random(method.seed_octets), ke.data)
    if session.sa.pending is not pending:
        raise WireError("additional key exchanges of something that is over", NotifyType.STATE_NOT_FOUND)
    before = pending.agreed
    agreed = Followup(
        before.round + 1, before.spi, before.nonce, [*before.secrets, made.secret], before.esp, before.ike
    )
    advanced = Pending(agreed, pending.own_spi, pending.own_nonce, pending.replaces)
    payloads: list[Payload] = [KEPayload(method.number, made.public)]
    last = agreed.round >= len(rounds)
    if not last:
        payloads.append(keep(ctx, session, advanced))
    return advanced, payloads, last


def _suite(agreed: Followup) -> EspSuite | IkeSuite:
    found = agreed.esp if agreed.esp is not None else agreed.ike
    if found is None:
        raise WireError("nothing was agreed on")
    return found
