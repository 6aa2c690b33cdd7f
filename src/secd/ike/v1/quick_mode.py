"""Quick mode (RFC 2409 §5.5): a pair of ESP SAs for 0.0.0.0/0 <-> 0.0.0.0/0, with or without PFS.

    initiator                                        responder
    ---------                                        ---------
    1 {HASH(1), SA, Ni, KE, IDci, IDcr}       ->     choose, reserve an SPI, install inbound
      ProposalSent                            <-   2 {HASH(2), SA, Nr, KE, IDci, IDcr}          AnswerSent
      install inbound
    3 {HASH(3)}                               ->     install outbound
      install outbound, Finished                                                                Finished

So each side receives on the new pair before the other can send on it; but some responders (strongSwan) install both
SAs when they have read message 3.  So the initiator of a rekey, who has another pair to send on, waits until the
peer is seen to use the new one, some seconds at most (ConfirmationSent).  Either side repeats its message until the
next one comes; a finished quick mode stays for a while to answer the repeats of a peer that missed the last one.
A peer that complains of a repeated message 1 gets another quick mode instead (`disown`).
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from secd.ike import esp, explain, identities, nat, proposals
from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev1 import hash_1, hash_2, hash_3
from secd.ike.proposals import EspSuite
from secd.ike.retransmission import Flight, fraction, received, sent
from secd.ike.steps import Step, key_pair, reserve_spi, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children, quick_offers
from secd.ike.v1.context import Context, Message, Session
from secd.ike.v1.state import AnswerSent, Child, ConfirmationSent, Finished, ProposalSent, QuickMode
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import EncapsulationMode, ExchangeType, NotifyType, ProtocolId
from secd.ike.wire.isakmp import Chain
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import HashPayload, IDPayload, KEPayload, NoncePayload, NotificationPayload
from secd.ike.wire.sa import SAPayload

#: Seconds until an unfinished quick mode is given up, and for which a finished one is remembered.
LIMIT = 75.0
LINGER = 90.0
#: Seconds before that deadline from which on none begins in its place.
TOO_LATE = 5.0
#: Quick modes at a time, and in the life of an ISAKMP SA (their message ids must not come again).
MAX_AT_ONCE = 16
MAX_IN_ALL = 4096
#: Pairs of one tunnel, and with those that are about to end: a peer that makes more is not answered for a while.
MAX_PAIRS = 4
MAX_PAIRS_ENDING = 24
#: Seconds after a rekey at which the old pair is looked at, to be retired.
RETIRE = 5.0
#: Seconds for which the initiator of a rekey waits at most to see that the peer has the new pair, and between looks;
#: longer if the peer is seen to use the old one still.  What comes on that is after so many seconds not just late.
HOLD = 10.0
LOOK = 0.1
LONG_HOLD = 30.0
LAG = 1.0
#: Seconds after which message 3 of a first pair goes again if nothing has come on it, and how often it goes in all.
UNSEEN = 1.0
UNSEEN_TRIES = 4
#: Seconds after which a passive tunnel tries a rekey again that the peer has refused or not answered.
LATER = 60.0
#: Seconds between two pairs that may have been made by both sides at once.
SIMULTANEOUS = 60.0

REKEY_INITIATOR = (0.85, 0.90)
REKEY_RESPONDER = (0.90, 0.95)
NONCE_OCTETS = 32


@dataclass(frozen=True, slots=True)
class Opened:
    """A first message that was decrypted and verified; `iv` is that of the answer."""

    message: Message
    chain: Chain
    iv: bytes


# -- initiator --------------------------------------------------------------------------------------------


def start(ctx: Context, session: Session, tunnel: Tunnel, replaces: int = 0, *, instead: int = 0) -> Step[None]:
    """Send message 1; `replaces`: inbound SPI of the pair to be rekeyed, or 0.

    `instead`: message id of a disowned quick mode of ours, whose place and deadline this one takes, or 0.
    """
    connection, sa = tunnel.connection, session.sa
    disowned = sa.quick.get(instead)
    mode = nat.udp_mode(sa.nat.dialect) if sa.nat.found else EncapsulationMode.TUNNEL
    suites = proposals.suites2(connection.phase2, connection.phase2_lifetime, esn=connection.esn, mode=mode)
    if not suites:
        tunnel.failed(f"no proposal at {connection.origin} can be used", ctx.world.now, ctx.world.random)
        return
    spi = yield from reserve_spi(connection.iface)
    private = public = b""
    if suites[0].group:
        pair = yield from key_pair(suites[0].group, ctx.world.random(group(suites[0].group).seed_octets))
        private, public = pair.private, pair.public
    if not sa.established or sa.quick.get(instead) is not disowned:
        return
    deadline = ctx.world.now + LIMIT
    if disowned is not None:
        deadline = disowned.deadline
        del sa.quick[instead]
    nonce = ctx.world.random(NONCE_OCTETS)
    message_id = ctx.new_message_id(session)
    payloads: list[Payload] = [proposals.offer2(suites, spi.to_bytes(4, "big")), NoncePayload(nonce)]
    if public:
        payloads.append(KEPayload(public))
    payloads += [identities.ANY_SELECTOR, identities.ANY_SELECTOR]
    hashed = hash_1(session.prf, session.keys.skeyid_a, message_id, encode_payloads(payloads))
    state = ProposalSent(suites, spi, nonce, private, public, replaces, ctx.world.now)
    quick = QuickMode(state, b"", Flight(), deadline)
    remember(ctx, session, message_id, quick)
    _send(ctx, session, quick, _sealed(ctx, session, message_id, quick, [HashPayload(hashed), *payloads]))


def disown(ctx: Context, session: Session) -> bool:
    """The peer complains of a message: if it can be our repeated message 1, quick mode begins again at once.

    strongSwan knows a repetition by the last message it got.  When its answer is lost and anything else comes between,
    it takes message 1 for message 3, and goes on failing to decrypt it however often it comes.
    """
    ours = [(quick, quick.state) for quick in session.sa.quick.values() if isinstance(quick.state, ProposalSent)]
    if len(ours) != 1:
        return False
    quick, state = ours[0]
    if quick.flight.tries < 2 or quick.deadline - ctx.world.now < TOO_LATE:
        return False
    state.disowned = True
    quick.flight.next = ctx.world.now
    return True


def take_answer(ctx: Context, session: Session, tunnel: Tunnel, quick: QuickMode, message: Message) -> Step[None]:
    """Message 2: install the pair and send message 3."""
    state, message_id = quick.state, message.header.message_id
    if not isinstance(state, ProposalSent) or state.disowned:
        raise WireError("does not fit the exchange any more")
    chain, after = message.decrypt(session.cbc(session.keys, quick.iv))
    expected = hash_2(session.prf, session.keys.skeyid_a, message_id, state.nonce, chain.after_first)
    _verify(chain, expected)
    nonce_r = chain.one(NoncePayload).body
    suite, spi_out = quick_offers.chosen(state, chain.one(SAPayload))
    if refusal := quick_offers.other_selectors(session, chain):
        _refuse_answer(ctx, session, tunnel, message_id, refusal)
        return
    secret = b""
    if state.private:
        secret = yield from shared_secret(suite.group, state.private, chain.one(KEPayload).body)
    if session.sa.quick.get(message_id) is not quick or state.disowned:
        raise WireError("does not fit the exchange any more")
    suite = proposals.limited(suite, suite.lifetime, quick_offers.notified_lifetime(chain))
    session.heard = ctx.world.now
    quick.iv = after.iv
    nonces = (state.nonce, nonce_r)
    made = partial(children.make, session, tunnel, suite, nonces=nonces, secret=secret)
    inbound, outbound = made(direction="in", spi=state.spi), made(direction="out", spi=spi_out)
    esp.install(ctx, session, inbound)
    session.sa.children.append(_child(ctx, session, suite, (state.spi, spi_out), ours=True))
    hashed = hash_3(session.prf, session.keys.skeyid_a, message_id, *nonces)
    _send(ctx, session, quick, _sealed(ctx, session, message_id, quick, [HashPayload(hashed)]), message, awaits=False)
    now, older = ctx.world.now, ctx.newest_pair(tunnel.name)
    if older is not None and older[1].doubtful:
        older = None
    limit = now if older is None else now + min(HOLD, (older[1].expires - now) / 2)
    quick.state = ConfirmationSent(state.spi, outbound, state.begun, now + LOOK, limit)
    quick.deadline = now + LINGER
    if older is None:
        confirm(ctx, session, tunnel, quick, quick.state)
        quick.state = Finished(unseen=state.spi)
        quick.flight.next = now + UNSEEN


def _refuse_answer(ctx: Context, session: Session, tunnel: Tunnel, message_id: int, text: str) -> None:
    """An authenticated message 2 with other selectors than ours: say so to both sides, and end the exchange."""
    ctx.world.log_once(tunnel, "error", "selector-mismatch", text)
    state = session.sa.quick[message_id].state
    spi = state.spi.to_bytes(4, "big") if isinstance(state, ProposalSent) else b""
    ctx.inform(session, [NotificationPayload(NotifyType.INVALID_ID_INFORMATION, ProtocolId.PROTO_IPSEC_ESP, spi)])
    give_up(ctx, session, message_id, text)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, session: Session, tunnel: Tunnel, message: Message) -> Step[None]:
    """Message 1: choose, install inbound and send message 2; what is not acceptable the peer is told."""
    message_id = message.header.message_id
    chain, after = message.decrypt(session.phase2_cbc(message_id))
    _verify(chain, hash_1(session.prf, session.keys.skeyid_a, message_id, chain.after_first))
    if message_id in session.sa.used or len(session.sa.used) >= MAX_IN_ALL:
        raise WireError("message id was used before", NotifyType.INVALID_MESSAGE_ID)
    session.heard = ctx.world.now
    answering = Opened(message, chain, after.iv)
    yield from _or_refuse(ctx, session, answering, _answer(ctx, session, tunnel, answering))


def _answer(ctx: Context, session: Session, tunnel: Tunnel, opened: Opened) -> Step[None]:
    chain, message_id = opened.chain, opened.message.header.message_id
    quick_offers.check_selectors(ctx, session, tunnel, chain)
    choice, suite = quick_offers.choose(ctx, session, tunnel, chain.one(SAPayload))
    nonce_i = chain.one(NoncePayload).body
    spi_out = int.from_bytes(choice.spi, "big")
    if len(choice.spi) != 4 or spi_out < 256:
        raise WireError(f"SPI 0x{choice.spi.hex()} cannot be used", NotifyType.INVALID_SPI)
    public = secret = b""
    if suite.group:
        peer_public = chain.one(KEPayload).body
        pair = yield from key_pair(suite.group, ctx.world.random(group(suite.group).seed_octets))
        secret = yield from shared_secret(suite.group, pair.private, peer_public)
        public = pair.public
    spi = yield from reserve_spi(tunnel.connection.iface)
    nonce_r = ctx.world.random(NONCE_OCTETS)
    nonces = (nonce_i, nonce_r)
    made = partial(children.make, session, tunnel, suite, nonces=nonces, secret=secret)
    outbound = made(direction="out", spi=spi_out)
    esp.install(ctx, session, made(direction="in", spi=spi))
    session.sa.children.append(_child(ctx, session, suite, (spi, spi_out), ours=False))
    payloads: list[Payload] = [proposals.answer(choice, spi.to_bytes(4, "big")), NoncePayload(nonce_r)]
    if public:
        payloads.append(KEPayload(public))
    payloads += chain.all(IDPayload)
    offered = proposals.read2(choice.transform).lifetime
    if suite.lifetime < (offered or proposals.DEFAULT_PHASE2_LIFETIME):
        payloads.append(quick_offers.responder_lifetime(spi, suite.lifetime))
    hashed = hash_2(session.prf, session.keys.skeyid_a, message_id, nonce_i, encode_payloads(payloads))
    quick = QuickMode(AnswerSent(spi, nonce_i, nonce_r, outbound), opened.iv, Flight(), ctx.world.now + LIMIT)
    remember(ctx, session, message_id, quick)
    _send(
        ctx, session, quick, _sealed(ctx, session, message_id, quick, [HashPayload(hashed), *payloads]), opened.message
    )


def take_confirmation(ctx: Context, session: Session, tunnel: Tunnel, quick: QuickMode, message: Message) -> None:
    """Message 3: the peer receives on its new inbound SA, so ours goes out."""
    state, message_id = quick.state, message.header.message_id
    if not isinstance(state, AnswerSent):
        raise WireError("does not fit the exchange any more")
    chain, after = message.decrypt(session.cbc(session.keys, quick.iv))
    expected = hash_3(session.prf, session.keys.skeyid_a, message_id, state.nonce_i, state.nonce_r)
    _verify(chain, expected)
    session.heard = ctx.world.now
    quick.iv = after.iv
    received(quick.flight, message.data)
    confirm(ctx, session, tunnel, quick, state)


def confirm(
    ctx: Context, session: Session, tunnel: Tunnel, quick: QuickMode, state: AnswerSent | ConfirmationSent
) -> None:
    """The peer has the pair: send on it too.  One that waits to be used was made before, and is installed before."""
    if isinstance(state, AnswerSent):
        for each_session in ctx.of(tunnel.name):
            wait_no_longer(ctx, each_session)
    quick.state = Finished()
    quick.deadline = ctx.world.now + LINGER
    quick.flight.next = None
    child = next((each for each in session.sa.children if each.spi_in == state.spi), None)
    if child is None or child.gone_at is not None:
        return
    first = child.ours and ctx.newest_pair(tunnel.name) is None
    esp.install(ctx, session, esp.outbound_at(state.outbound, child), after_send=first)
    child.created = max(ctx.world.now, _after(ctx, tunnel))  # the data plane's order: what was installed last is used
    child.installed = True
    up(ctx, session, tunnel, child)
    if isinstance(state, ConfirmationSent):
        _retire_older(ctx, tunnel, state.begun)
        return
    for _, other in ctx.pairs(tunnel.name):
        if other is not child and other.usable:
            other.check_at = ctx.world.now + RETIRE


def _after(ctx: Context, tunnel: Tunnel) -> float:
    """A moment after the newest pair was made, however soon that is."""
    newest = ctx.newest_pair(tunnel.name)
    return 0.0 if newest is None else math.nextafter(newest[1].created, math.inf)


def confirmed_at(quick: QuickMode) -> float:
    """When message 3 was sent, of a quick mode that waits to be used."""
    return quick.deadline - LINGER


def wait_no_longer(ctx: Context, session: Session) -> None:
    """Use what waits for the peer to be seen to have it: there is nothing else to send on, or nobody to wait."""
    tunnel = ctx.tunnel(session)
    for quick in list(session.sa.quick.values()):
        if isinstance(quick.state, ConfirmationSent) and tunnel is not None:
            confirm(ctx, session, tunnel, quick, quick.state)


# -- both -------------------------------------------------------------------------------------------------


def up(ctx: Context, session: Session, tunnel: Tunnel, child: Child) -> None:
    """A pair can be used: say so, and see that there are not too many."""
    usable = [(holder, each) for holder, each in ctx.pairs(tunnel.name) if each.usable and each is not child]
    if usable:
        tunnel.last_rekey = ctx.world.now
    tunnel.retries = 0
    for what, line in explain.weak(child.suite, tunnel.connection.origin):
        ctx.world.log_once(tunnel, "warning", f"weak {what}", line)
    ctx.world.log(
        "info", tunnel.name, "phase2-rekeyed" if usable else "phase2-up",
        f"{tunnel.connection.iface}: {child.suite.encryption}{f' {child.suite.auth}' if child.suite.auth else ''} "
        f"{child.suite.group or 'without PFS'}, SPI 0x{child.spi_in:08x} in, 0x{child.spi_out:08x} out, "
        f"{child.suite.lifetime} s" + (", in UDP" if child.udp else ""),
    )  # fmt: skip
    usable.sort(key=lambda pair: pair[1].created)
    for holder, each in usable[: max(0, len(usable) + 1 - MAX_PAIRS)]:
        children.retire(ctx, holder, each)
    ctx.touch(session)


def remember(ctx: Context, session: Session, message_id: int, quick: QuickMode) -> None:
    """The exchange has begun: its message id is used up."""
    session.sa.quick[message_id] = quick
    use_up(ctx, session, message_id)


def use_up(ctx: Context, session: Session, message_id: int) -> None:
    """No other quick mode of this SA may have this message id."""
    session.sa.used.append(message_id)
    if len(session.sa.used) >= MAX_IN_ALL - MAX_AT_ONCE:
        session.sa.rekey_at = ctx.world.now
    ctx.touch(session)


def in_progress(session: Session, *, ours: bool | None = None) -> list[QuickMode]:
    """The unfinished quick modes: all, ours, or the peer's."""
    kinds: tuple[type, ...] = (ProposalSent, AnswerSent)
    if ours is not None:
        kinds = (ProposalSent,) if ours else (AnswerSent,)
    return [each for each in session.sa.quick.values() if isinstance(each.state, kinds)]


def give_up(ctx: Context, session: Session, message_id: int, reason: str) -> None:
    """An unfinished quick mode came to nothing: what it has installed goes, and what it was to replace waits."""
    quick = session.sa.quick.pop(message_id)
    tunnel = ctx.tunnel(session)
    ctx.touch(session)
    if isinstance(quick.state, AnswerSent):
        for child in [each for each in session.sa.children if each.spi_in == quick.state.spi]:
            children.remove(ctx, session, child)
    if isinstance(quick.state, ProposalSent) and tunnel is not None:
        tunnel.failed(reason, ctx.world.now, ctx.world.random)
        for holder, child in ctx.pairs(tunnel.name):
            if child.spi_in == quick.state.replaces:
                child.rekey_at = tunnel.attempt_at if tunnel.attempt_at is not None else ctx.world.now + LATER
                ctx.touch(holder)


def _or_refuse(ctx: Context, session: Session, opened: Opened, step: Step[None]) -> Step[None]:
    """Run `step`; a `WireError` in it is told to the peer, whose message is authenticated and counts only once."""
    try:
        yield from step
    except WireError as error:
        offer = opened.chain.all(SAPayload)
        use_up(ctx, session, opened.message.header.message_id)
        spi = offer[0].proposals[0].spi if offer else b""
        ctx.inform(session, [NotificationPayload(int(error.notify), ProtocolId.PROTO_IPSEC_ESP, spi)])
        raise


def _child(ctx: Context, session: Session, suite: EspSuite, spis: tuple[int, int], *, ours: bool) -> Child:
    now = ctx.world.now
    low, high = REKEY_INITIATOR if ours else REKEY_RESPONDER
    rekey = low + (high - low) * fraction(ctx.world.random)
    return Child(
        *spis,
        suite,
        session.sa.endpoint,
        suite.udp,
        now,
        ours,
        now + suite.lifetime,
        now + suite.lifetime * rekey,
    )


def _retire_older(ctx: Context, tunnel: Tunnel, begun: float) -> None:
    """We have rekeyed: the pairs that were there when it was begun are not needed any more."""
    for holder, other in ctx.pairs(tunnel.name):
        if other.installed and other.retire_at is None and other.created <= begun:
            other.rekey_at = None
            other.retire_at = ctx.world.now + RETIRE
            ctx.touch(holder)


def _verify(chain: Chain, expected: bytes) -> None:
    first = chain.payloads[0] if chain.payloads else None
    if not isinstance(first, HashPayload) or not hmac.compare_digest(first.data, expected):
        raise WireError("the hash does not agree", NotifyType.INVALID_HASH_INFORMATION)


def _sealed(ctx: Context, session: Session, message_id: int, quick: QuickMode, payloads: list[Payload]) -> bytes:
    """The exchange's next message; its IV moves on."""
    cbc = session.cbc(session.keys, quick.iv) if quick.iv else session.phase2_cbc(message_id)
    data, quick.iv = ctx.seal(session, ExchangeType.QUICK, message_id, payloads, cbc)
    return data


def _send(
    ctx: Context, session: Session, quick: QuickMode, data: bytes, cause: Message | None = None, *, awaits: bool = True
) -> None:
    cause_data = b"" if cause is None else cause.data
    sent(quick.flight, data, cause=cause_data, awaits=awaits, now=ctx.world.now, random=ctx.world.random)
    ctx.send(session.sa.endpoint, data)
    ctx.touch(session)


# -- the tables -------------------------------------------------------------------------------------------

Handler = Callable[[Context, Session, Tunnel, QuickMode, Message], Step[None] | None]

INITIATOR: Mapping[type, Handler] = {ProposalSent: take_answer}
RESPONDER: Mapping[type, Handler] = {AnswerSent: take_confirmation}
TRANSITIONS: Mapping[type, Handler] = {**INITIATOR, **RESPONDER}
