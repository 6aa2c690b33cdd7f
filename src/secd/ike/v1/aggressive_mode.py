"""Aggressive mode with RSA signatures, or with a pre-shared key where that was asked for (RFC 2409 §5.1, §5.4).

    initiator                                          responder
    ---------                                          ---------
      KeyWanted                                          KeyWanted (while it computes)
    1 SA, KE, Ni, IDii, CERTREQ, VID ..          ->      who is this?  choose a transform, g^xy
      AggressiveSent                             <-    2 SA, KE, Nr, IDir, HASH_R, CERTREQ, NAT-D, VID ..
      does HASH_R agree?                                 AggressiveAnswered
    3 {HASH_I, NAT-D, INITIAL-CONTACT}           ->      does HASH_I agree?
      Established                                        Established

With signatures CERT .. and SIG stand in the place of HASH.  The identities go in clear, which is why the rule can be
chosen by them, and a hash of the pre-shared key goes to whoever asks, which is why that has to be asked for.

Message 2 is the first to be proved, so until it is, nothing of it is believed: a forged one is passed over.  Message 3
comes encrypted, or from some peers in clear; what is beside the proof in a clear one is not obeyed.  It is the
last, so the responder repeats message 2 until it has it: a few times by itself, and when anything encrypted comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from secd.ike import explain, identities, proposals
from secd.ike.crypto.groups import group
from secd.ike.endpoint import Endpoint
from secd.ike.proposals import Choice
from secd.ike.retransmission import again, received
from secd.ike.steps import Step, Unanswered, key_pair, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import exchange, half_open, offers, phase1, proofs
from secd.ike.v1.context import Context, Message, Runner, Session, Terms, Told
from secd.ike.v1.exchange import MAX_BAD, NONCE_OCTETS
from secd.ike.v1.state import AggressiveAnswered, AggressiveSent, KeyWanted, Phase1
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import ExchangeType, NotifyType
from secd.ike.wire.isakmp import NO_COOKIE, Chain
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import IDPayload, KEPayload, NoncePayload
from secd.ike.wire.sa import SAPayload


@dataclass(frozen=True, slots=True)
class Asked:
    """A message 1 that is to be answered: by which tunnel, and with which transform."""

    message: Message
    chain: Chain
    tunnel: Tunnel
    chosen: Choice


# -- initiator --------------------------------------------------------------------------------------------


def start(ctx: Context, runner: Runner, tunnel: Tunnel, endpoint: Endpoint, *, rekeying: bool = False) -> Session:
    """Send message 1 to `endpoint`, when there is a key pair for it."""
    session = exchange.begin(ctx, tunnel, endpoint, KeyWanted(), rekeying=rekeying)
    runner.begin(session, exchange.KEY, _offer(ctx, session, tunnel))
    return session


def _offer(ctx: Context, session: Session, tunnel: Tunnel) -> Step[None]:
    connection, sa = tunnel.connection, session.sa
    wanted = offers.offered(connection)[0].group
    try:
        pair = yield from key_pair(wanted, ctx.world.random(group(wanted).seed_octets))
    except Unanswered as error:
        tunnel.failed(str(error), ctx.world.now, ctx.world.random)
        ctx.remove(session)
        raise
    offer, nonce = offers.offer(connection), ctx.world.random(NONCE_OCTETS)
    sa.local_id = identities.ours(connection, sa.endpoint.local)
    payloads: list[Payload] = [
        offer, KEPayload(pair.public), NoncePayload(nonce), identities.to_payload(sa.local_id),
        *proofs.requests([connection]), *offers.vendor_ids(connection),
    ]  # fmt: skip
    sa.phase1 = AggressiveSent(offer.body, wanted, pair.private, pair.public, nonce)
    exchange.send(ctx, session, ctx.plain(session, payloads), awaits=True)


def take_answer(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 2 chooses a transform, says who the peer is and proves it; message 3 goes out: established."""
    state, tunnel, sa = exchange.expect(session, AggressiveSent), exchange.tunnel_of(ctx, session), session.sa
    connection, cookie = tunnel.connection, message.header.responder_cookie
    if state.bad >= MAX_BAD:
        raise WireError(f"{MAX_BAD} messages before it proved nothing")
    if cookie == NO_COOKIE or sa.local_id is None:
        raise WireError("message 2 without a responder cookie", NotifyType.INVALID_COOKIE)
    chain = message.clear()
    terms = Terms(offers.chosen(connection, chain.one(SAPayload)), sa.icookie, cookie)
    identity, own = chain.one(IDPayload), identities.to_payload(sa.local_id)
    publics = (state.public, chain.one(KEPayload).body)
    nonces = (state.nonce, chain.one(NoncePayload).body)
    secret = yield from shared_secret(state.group, state.private, publics[1])
    skeyid = yield from proofs.skeyid(connection, terms, nonces, secret)
    hashed = phase1.proof(terms, skeyid, state.offer, identity, publics=publics, role="responder")
    distrusted, warnings = "", tuple[str, ...]()
    try:
        warnings = yield from proofs.check(connection, chain, identity, hashed)
    except proofs.Distrusted as error:
        distrusted = str(error)
    except proofs.Unproven as error:
        _unproven(ctx, session, state, tunnel, error)
    who = identities.of_peer(identity)
    proof: list[Payload] = []
    if not distrusted and phase1.is_expected(connection, who):
        hashed = phase1.proof(terms, skeyid, state.offer, own, publics=publics, role="initiator")
        proof = yield from proofs.own(connection, hashed)
    exchange.still(ctx, session, state, tunnel)
    sa.rcookie, sa.suite = cookie, terms.suite
    sa.endpoint = Endpoint(message.datagram.local, sa.endpoint.local_port, sa.endpoint.remote, sa.endpoint.remote_port)
    offers.note_vendor(session, chain, connection)
    offers.note_nat(session, chain)
    exchange.float_ports(session)
    keys = phase1.keys_of(terms, skeyid, secret, *publics)
    if distrusted:
        phase1.refuse_certificate(ctx, session, keys, distrusted, [tunnel])
    elif not proof:
        phase1.refuse_identity(ctx, session, keys, who, [tunnel])
    else:
        payloads = [*proof, *offers.nat_payloads(session)]
        if sa.initial_contact:
            payloads.append(phase1.notification(session, NotifyType.INITIAL_CONTACT))
        data, keys.iv = ctx.seal(session, ExchangeType.AGGRESSIVE, 0, payloads, terms.cbc(keys))
        exchange.send(ctx, session, data, message)
        phase1.establish(ctx, session, tunnel, keys, who, warnings=warnings)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, runner: Runner, message: Message) -> None:
    """Message 1 of a stranger: whose rule is it, and which transform?"""
    chain = message.clear()
    where, offer, identity = message.endpoint, chain.one(SAPayload), chain.one(IDPayload)
    for kind in (KEPayload, NoncePayload):
        chain.one(kind)
    candidates = offers.candidates_for(ctx, where, "aggressive")
    if not candidates:
        return
    who = identities.of_peer(identity)
    welcome = phase1.all_by_identity(candidates, who)
    if not welcome:
        ctx.complain(candidates, "identity-mismatch", phase1.wrong_identity(where.remote, who, candidates))
        offers.refuse(ctx, message, NotifyType.INVALID_ID_INFORMATION)
        return
    choice = offers.first_acceptable(offer, welcome)
    if choice is None:
        offers.explain_offer(ctx, where, offer, welcome)
        offers.refuse(ctx, message, NotifyType.NO_PROPOSAL_CHOSEN)
        return
    if not half_open.may_begin(ctx, where.remote):
        return
    chosen, suite = choice
    tunnel = next(each for each in welcome if offers.allows(each.connection, suite))
    session = exchange.begun_by_peer(ctx, message, suite, KeyWanted())
    step = _answer(ctx, session, Asked(message, chain, tunnel, chosen))
    runner.begin(session, exchange.KEY, _or_forget(ctx, session, step))


def _or_forget(ctx: Context, session: Session, step: Step[None]) -> Step[None]:
    """Run `step`; what cannot be answered is not kept."""
    try:
        yield from step
    except (WireError, Unanswered):
        ctx.remove(session)
        raise


def _answer(ctx: Context, session: Session, asked: Asked) -> Step[None]:
    """Message 2 goes out."""
    state, sa, tunnel, chain = exchange.expect(session, KeyWanted), session.sa, asked.tunnel, asked.chain
    connection, terms = tunnel.connection, session.terms
    offer, peer_identity = chain.one(SAPayload).body, chain.one(IDPayload)
    pair = yield from key_pair(terms.suite.group, ctx.world.random(group(terms.suite.group).seed_octets))
    publics = (chain.one(KEPayload).body, pair.public)
    secret = yield from shared_secret(terms.suite.group, pair.private, publics[0])
    nonce = ctx.world.random(NONCE_OCTETS)
    skeyid = yield from proofs.skeyid(connection, terms, (chain.one(NoncePayload).body, nonce), secret)
    local_id = identities.ours(connection, sa.endpoint.local)
    identity = identities.to_payload(local_id)
    hashed = phase1.proof(terms, skeyid, offer, identity, publics=publics, role="responder")
    proof = yield from proofs.own(connection, hashed)
    exchange.still(ctx, session, state, tunnel)
    sa.local_id = local_id
    offers.note_vendor(session, chain, connection)
    keys = phase1.keys_of(terms, skeyid, secret, *publics)
    claimed = (peer_identity.id_type, peer_identity.data, peer_identity.protocol, peer_identity.port)
    sa.phase1 = AggressiveAnswered(offer, tunnel.name, skeyid, pair.public, publics[0], keys, claimed)
    payloads: list[Payload] = [
        proposals.answer(asked.chosen, asked.chosen.spi), KEPayload(pair.public), NoncePayload(nonce), identity, *proof,
        *proofs.requests([connection]), *offers.vendor_ids(connection, sa.nat.dialect), *offers.nat_payloads(session),
    ]  # fmt: skip
    exchange.send(ctx, session, ctx.plain(session, payloads), asked.message, awaits=True)


def take_proof(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 3 proves that the peer is who it has said: established."""
    state, sa, terms = exchange.expect(session, AggressiveAnswered), session.sa, session.terms
    tunnel = ctx.world.tunnels.get(state.candidate)
    if tunnel is None:
        raise WireError("the tunnel is no longer configured")
    if message.header.encrypted:
        chain, after = message.decrypt(terms.cbc(state.keys))
        iv = after.iv
    else:
        chain, iv = message.clear(), state.keys.iv
    identity, publics = IDPayload(*state.identity), (state.peer_public, state.public)
    hashed = phase1.proof(terms, state.skeyid, state.offer, identity, publics=publics, role="initiator")
    distrusted, warnings = "", tuple[str, ...]()
    try:
        warnings = yield from proofs.check(tunnel.connection, chain, identity, hashed)
    except proofs.Distrusted as error:
        distrusted = str(error)
    except proofs.Unproven as error:
        _unproven(ctx, session, state, tunnel, error)
    exchange.still(ctx, session, state, tunnel)
    state.keys.iv = iv
    sa.endpoint = message.endpoint
    offers.note_nat(session, chain)
    received(sa.flight, message.data)
    if distrusted:
        phase1.refuse_certificate(ctx, session, state.keys, distrusted, [tunnel])
        return
    ctx.claim(session, tunnel.name)
    sa.fingerprint = tunnel.fingerprint
    phase1.establish(ctx, session, tunnel, state.keys, identities.of_peer(identity), warnings=warnings)
    if message.header.encrypted:
        phase1.obey(ctx, session, chain)


def ask_again(ctx: Context, session: Session) -> None:
    """The peer goes on, so it has sent message 3, which was lost: message 2 makes it send that again."""
    data = again(session.sa.flight)
    if data is not None:
        ctx.send(session.sa.endpoint, data)
        ctx.touch(session)


# -- both -------------------------------------------------------------------------------------------------


def _unproven(
    ctx: Context, session: Session, state: AggressiveSent | AggressiveAnswered, tunnel: Tunnel, error: WireError
) -> NoReturn:
    """A message that proves nothing: say so, and pass it over; the true one may come."""
    state.bad += 1
    ctx.touch(session)
    peer, origins = session.sa.endpoint.remote, [tunnel.connection.origin]
    if proofs.method_of(tunnel.connection) == proofs.PSK:
        ctx.complain([tunnel], "psk-mismatch", explain.wrong_key_in_aggressive_mode(peer, origins))
    else:
        ctx.complain([tunnel], "signature-mismatch", explain.unproven_signature(peer, str(error), origins))
    if session.sa.role == "responder" and state.bad >= MAX_BAD:
        ctx.remove(session)
    raise Told(str(error), error.notify)


# -- the tables -------------------------------------------------------------------------------------------

Handler = Callable[[Context, Session, Message], Step[None] | None]

INITIATOR: Mapping[type[Phase1], Handler] = {AggressiveSent: take_answer}
RESPONDER: Mapping[type[Phase1], Handler] = {AggressiveAnswered: take_proof}
