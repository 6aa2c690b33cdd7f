"""Main mode with a pre-shared key or RSA signatures (RFC 2409 §5.4, §5.1), and its way into an established SA.

    initiator                                responder
    ---------                                ---------
    1 SA, VID ..                      ->     choose a transform
      OfferSent                       <-   2 SA, VID ..                                     OfferTaken
    3 KE, Ni, CERTREQ, NAT-D ..       ->     g^xy
      KeySent                         <-   4 KE, Nr, CERTREQ, NAT-D ..                      KeyAnswered
    5 {IDii, HASH_I, INITIAL-CONTACT} ->     which key decrypts this?  does HASH_I agree?
      IdentitySent                    <-   6 {IDir, HASH_R}                                 Established
      Established

With signatures messages 5 and 6 have CERT .. and SIG in the place of HASH, which is what is signed (`proofs.py`).

A state is a struct of `state.py`; the tables at the end say which function takes the next message in which state.
A message that fits no row is passed over.  Only the initiator repeats its messages; the responder answers a message
that comes again with what it sent before.  Nothing that is not authenticated ends an exchange: a forged message is
passed over and the true one, or the exchange's time limit, decides.  With a NAT between, message 5 and all that
follow go from port 4500 to port 4500 (RFC 3947 §4).

Since the pre-shared key is needed to decrypt message 5, which says who the peer is, the responder chooses by address:
the rules that name this peer, then those with `peer any`.  Each of their keys (16 at most) is tried until HASH_I
agrees; then the identity decides between the rules that have this key.  With signatures the identity decides at once.

Aggressive mode is `aggressive_mode.py`; both share `phase1.py` (keys, hashes, identities, establishing), `offers.py`
and `exchange.py`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from secd.ike import explain, identities, proposals
from secd.ike.connection import PreSharedKey
from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev1 import skeyid_psk_data, skeyid_signatures
from secd.ike.endpoint import Endpoint
from secd.ike.steps import Step, key_pair, keyed_prf, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import exchange, half_open, offers, phase1, proofs
from secd.ike.v1.context import Context, Message, Session, Told
from secd.ike.v1.exchange import MAX_BAD, NONCE_OCTETS
from secd.ike.v1.state import IdentitySent, KeyAnswered, Keys, KeySent, OfferSent, OfferTaken, Phase1
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import ExchangeType, NotifyType
from secd.ike.wire.isakmp import NO_COOKIE, Chain, encode_message
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import HashPayload, IDPayload, KEPayload, NoncePayload
from secd.ike.wire.sa import SAPayload

#: Pre-shared keys, or rules' authorities and keys, that are tried on one message 5.
MAX_KEYS = 16


@dataclass(frozen=True, slots=True)
class Proven:
    """A message 5 that proves who the peer is: `tunnel`'s."""

    tunnel: Tunnel
    chain: Chain
    skeyid: bytes
    keys: Keys
    warnings: tuple[str, ...] = ()


# -- initiator --------------------------------------------------------------------------------------------


def start(ctx: Context, tunnel: Tunnel, endpoint: Endpoint, *, rekeying: bool = False) -> Session:
    """Send message 1 to `endpoint`."""
    offer = offers.offer(tunnel.connection)
    session = exchange.begin(ctx, tunnel, endpoint, OfferSent(offer.body), rekeying=rekeying)
    payloads = [offer, *offers.vendor_ids(tunnel.connection)]
    exchange.send(ctx, session, ctx.plain(session, payloads), awaits=True)
    return session


def take_choice(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 2 says which of our transforms it is to be; message 3 goes out."""
    state, tunnel = exchange.expect(session, OfferSent), exchange.tunnel_of(ctx, session)
    if message.header.responder_cookie == NO_COOKIE:
        raise WireError("message 2 without a responder cookie", NotifyType.INVALID_COOKIE)
    chain = message.clear()
    suite = offers.chosen(tunnel.connection, chain.one(SAPayload))
    pair = yield from key_pair(suite.group, ctx.world.random(group(suite.group).seed_octets))
    sa = session.sa
    sa.rcookie = message.header.responder_cookie
    sa.suite = suite
    sa.endpoint = Endpoint(message.datagram.local, sa.endpoint.local_port, sa.endpoint.remote, sa.endpoint.remote_port)
    offers.note_vendor(session, chain, tunnel.connection)
    nonce = ctx.world.random(NONCE_OCTETS)
    sa.phase1 = KeySent(state.offer, pair.private, pair.public, nonce)
    payloads = [*offers.key_payloads(session, pair.public, nonce), *proofs.requests([tunnel.connection])]
    exchange.send(ctx, session, ctx.plain(session, payloads), message, awaits=True)


def take_key(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 4 brings the peer's public value and nonce; message 5 goes out, encrypted."""
    state, tunnel, sa = exchange.expect(session, KeySent), exchange.tunnel_of(ctx, session), session.sa
    connection, terms = tunnel.connection, session.terms
    chain = message.clear()
    peer_public, nonce_r = chain.one(KEPayload).body, chain.one(NoncePayload).body
    secret = yield from shared_secret(terms.suite.group, state.private, peer_public)
    skeyid = yield from proofs.skeyid(connection, terms, (state.nonce, nonce_r), secret)
    keys = phase1.keys_of(terms, skeyid, secret, state.public, peer_public)
    local_id = identities.ours(connection, sa.endpoint.local)
    identity = identities.to_payload(local_id)
    publics = (state.public, peer_public)
    hashed = phase1.proof(terms, skeyid, state.offer, identity, publics=publics, role="initiator")
    proof = yield from proofs.own(connection, hashed)
    exchange.still(ctx, session, state, tunnel)
    offers.note_nat(session, chain)
    exchange.float_ports(session)
    sa.local_id = local_id
    payloads: list[Payload] = [identity, *proof]
    if sa.initial_contact:
        payloads.append(phase1.notification(session, NotifyType.INITIAL_CONTACT))
    data, keys.iv = ctx.seal(session, ExchangeType.IDENTITY_PROTECTION, 0, payloads, session.cbc(keys))
    sa.phase1 = IdentitySent(state.offer, skeyid, state.public, peer_public, keys)
    exchange.send(ctx, session, data, message, awaits=True)


def take_identity(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 6 says who the peer is and proves it: established."""
    state, tunnel, sa = exchange.expect(session, IdentitySent), exchange.tunnel_of(ctx, session), session.sa
    if state.bad >= MAX_BAD:
        raise WireError(f"{MAX_BAD} messages before it proved nothing")
    chain, after = message.decrypt(session.cbc(state.keys))
    identity = chain.one(IDPayload)
    publics = (state.public, state.peer_public)
    hashed = phase1.proof(session.terms, state.skeyid, state.offer, identity, publics=publics, role="responder")
    distrusted, warnings = "", tuple[str, ...]()
    try:
        warnings = yield from proofs.check(tunnel.connection, chain, identity, hashed)
    except proofs.Distrusted as error:
        distrusted = str(error)
    except proofs.Unproven as error:
        _unproven(ctx, session, state, [tunnel], error)
    exchange.still(ctx, session, state, tunnel)
    state.keys.iv = after.iv
    sa.flight.received, sa.flight.next, sa.flight.sent = b"", None, b""
    who = identities.of_peer(identity)
    if distrusted:
        phase1.refuse_certificate(ctx, session, state.keys, distrusted, [tunnel])
    elif not phase1.is_expected(tunnel.connection, who):
        phase1.refuse_identity(ctx, session, state.keys, who, [tunnel])
    else:
        phase1.establish(ctx, session, tunnel, state.keys, who, warnings=warnings)
        phase1.obey(ctx, session, chain)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, message: Message) -> None:
    """Message 1 of a stranger: choose a transform and send message 2."""
    chain = message.clear()
    where = message.endpoint
    offer = chain.one(SAPayload)
    candidates = offers.candidates_for(ctx, where, "main")
    if not candidates:
        return
    choice = offers.first_acceptable(offer, candidates)
    if choice is None:
        offers.explain_offer(ctx, where, offer, candidates)
        offers.refuse(ctx, message, NotifyType.NO_PROPOSAL_CHOSEN)
        return
    if not half_open.make_room(ctx, where.remote):
        return
    chosen, suite = choice
    willing = [each for each in candidates if offers.allows(each.connection, suite)]
    session = exchange.begun_by_peer(ctx, message, suite, OfferTaken(offer.body, [each.name for each in willing]))
    offers.note_vendor(session, chain, willing[0].connection)
    vendor_ids = offers.vendor_ids(willing[0].connection, session.sa.nat.dialect)
    exchange.send(ctx, session, ctx.plain(session, [proposals.answer(chosen, chosen.spi), *vendor_ids]), message)


def answer_key(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 3 brings the peer's public value and nonce; message 4 goes out."""
    state, sa = exchange.expect(session, OfferTaken), session.sa
    chain = message.clear()
    peer_public, nonce_i = chain.one(KEPayload).body, chain.one(NoncePayload).body
    if not half_open.may_go_on(ctx, session):
        return
    suite = session.suite
    pair = yield from key_pair(suite.group, ctx.world.random(group(suite.group).seed_octets))
    secret = yield from shared_secret(suite.group, pair.private, peer_public)
    sa.endpoint = message.endpoint
    offers.note_nat(session, chain)
    nonce = ctx.world.random(NONCE_OCTETS)
    sa.phase1 = KeyAnswered(state.offer, state.candidates, secret, pair.public, peer_public, nonce_i, nonce)
    requests = proofs.requests(each.connection for each in _candidates(ctx, state))
    payloads = [*offers.key_payloads(session, pair.public, nonce), *requests]
    exchange.send(ctx, session, ctx.plain(session, payloads), message)


def answer_identity(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 5 says who the peer is and proves it; message 6 goes out."""
    if session.suite.method == proofs.PSK:
        yield from _answer_with_key(ctx, session, message)
    else:
        yield from _answer_with_signature(ctx, session, message)


def _answer_with_key(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 5 decrypts with one of the candidates' keys."""
    state = exchange.expect(session, KeyAnswered)
    candidates = _candidates(ctx, state)
    found: tuple[Chain, bytes, Keys, list[Tunnel]] | None = None
    for key in list(dict.fromkeys(_key(each) for each in candidates))[:MAX_KEYS]:
        skeyid = yield from keyed_prf(key, session.suite.hash, skeyid_psk_data(state.nonce_i, state.nonce_r))
        opened = _open_identity(session, state, skeyid, message)
        if opened is not None:
            found = (*opened, [each for each in candidates if _key(each) == key])
            break
    if found is None:
        _wrong_key(ctx, session, state, message, candidates)
        return
    chain, skeyid, keys, holders = found
    who = identities.of_peer(chain.one(IDPayload))
    tunnel = phase1.by_identity(holders, who)
    if tunnel is None:
        session.sa.endpoint = message.endpoint
        phase1.refuse_identity(ctx, session, keys, who, holders)
        return
    yield from _answer(ctx, session, message, Proven(tunnel, chain, skeyid, keys))


def _answer_with_signature(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 5 decrypts in any case: its identity says which candidate it is, if its signature proves that."""
    state = exchange.expect(session, KeyAnswered)
    candidates, terms = _candidates(ctx, state), session.terms
    publics = (state.peer_public, state.public)
    skeyid = skeyid_signatures(terms.prf, state.nonce_i, state.nonce_r, state.secret)
    keys = phase1.keys_of(terms, skeyid, state.secret, *publics)
    chain, after = message.decrypt(terms.cbc(keys))
    identity = chain.one(IDPayload)
    who = identities.of_peer(identity)
    hashed = phase1.proof(terms, skeyid, state.offer, identity, publics=publics, role="initiator")
    welcome = phase1.all_by_identity(candidates, who)
    distrusted, unproven = "", proofs.Unproven("nobody here knows the peer")
    for tunnel in (welcome or candidates)[:MAX_KEYS]:
        try:
            warnings = yield from proofs.check(tunnel.connection, chain, identity, hashed)
        except proofs.Distrusted as error:
            distrusted = distrusted or str(error)
        except proofs.Unproven as error:
            unproven = error
        else:
            keys.iv = after.iv
            if welcome:
                yield from _answer(ctx, session, message, Proven(tunnel, chain, skeyid, keys, warnings))
            else:
                session.sa.endpoint = message.endpoint
                phase1.refuse_identity(ctx, session, keys, who, candidates)
            return
    exchange.still(ctx, session, state)
    if not distrusted:
        _unproven(ctx, session, state, welcome or candidates, unproven)
    keys.iv = after.iv
    session.sa.endpoint = message.endpoint
    phase1.refuse_certificate(ctx, session, keys, distrusted, welcome or candidates)


def _answer(ctx: Context, session: Session, message: Message, proven: Proven) -> Step[None]:
    """Message 6 goes out; established."""
    state, sa, tunnel, keys = exchange.expect(session, KeyAnswered), session.sa, proven.tunnel, proven.keys
    local_id = identities.ours(tunnel.connection, message.endpoint.local)
    identity = identities.to_payload(local_id)
    publics = (state.peer_public, state.public)
    hashed = phase1.proof(session.terms, proven.skeyid, state.offer, identity, publics=publics, role="responder")
    proof = yield from proofs.own(tunnel.connection, hashed)
    exchange.still(ctx, session, state, tunnel)
    ctx.claim(session, tunnel.name)
    sa.endpoint, sa.fingerprint, sa.local_id = message.endpoint, tunnel.fingerprint, local_id
    payloads = [identity, *proof]
    data, keys.iv = ctx.seal(session, ExchangeType.IDENTITY_PROTECTION, 0, payloads, session.cbc(keys))
    who = identities.of_peer(proven.chain.one(IDPayload))
    phase1.establish(ctx, session, tunnel, keys, who, warnings=proven.warnings)
    phase1.obey(ctx, session, proven.chain)
    exchange.send(ctx, session, data, message)


def _candidates(ctx: Context, state: OfferTaken | KeyAnswered) -> list[Tunnel]:
    return [tunnel for name in state.candidates if (tunnel := ctx.world.tunnels.get(name)) is not None]


def _key(tunnel: Tunnel) -> str:
    """The handle of the tunnel's pre-shared key."""
    auth = tunnel.connection.auth
    return auth.key if isinstance(auth, PreSharedKey) else ""


def _open_identity(
    session: Session, state: KeyAnswered, skeyid: bytes, message: Message
) -> tuple[Chain, bytes, Keys] | None:
    """Message 5 under the key that made `skeyid`: its payloads, SKEYID and the keys; None if it is another key."""
    terms, publics = session.terms, (state.peer_public, state.public)
    keys = phase1.keys_of(terms, skeyid, state.secret, *publics)
    try:
        chain, after = message.decrypt(terms.cbc(keys))
        identity, proof = chain.one(IDPayload), chain.one(HashPayload).data
    except WireError:
        return None
    expected = phase1.proof(terms, skeyid, state.offer, identity, publics=publics, role="initiator")
    keys.iv = after.iv
    return (chain, skeyid, keys) if hmac.compare_digest(proof, expected) else None


def _wrong_key(
    ctx: Context, session: Session, state: KeyAnswered, message: Message, candidates: Sequence[Tunnel]
) -> None:
    """None of the keys opens message 5: say so, tell the peer in clear, and let it try a few times more."""
    text = explain.wrong_key_as_responder(message.datagram.remote, (each.connection.origin for each in candidates))
    ctx.complain(candidates, "psk-mismatch", text)
    state.bad += 1
    if state.bad == 1:
        header = ctx.header(session, ExchangeType.INFORMATIONAL, phase1.message_id(ctx))
        notification = phase1.notification(session, NotifyType.PAYLOAD_MALFORMED)
        ctx.send(message.endpoint, encode_message(header, [notification]))
    elif state.bad >= MAX_BAD:
        ctx.remove(session)


def _unproven(
    ctx: Context, session: Session, state: IdentitySent | KeyAnswered, tunnels: Sequence[Tunnel], error: WireError
) -> NoReturn:
    """A message that proves nothing: say so, and pass it over; the true one may come."""
    if session.suite.method == proofs.PSK:
        raise error
    origins = (each.connection.origin for each in tunnels)
    text = explain.unproven_signature(session.sa.endpoint.remote, str(error), origins)
    ctx.complain(tunnels, "signature-mismatch", text)
    state.bad += 1
    ctx.touch(session)
    if session.sa.role == "responder" and state.bad >= MAX_BAD:
        ctx.remove(session)
    raise Told(str(error), error.notify)


# -- the tables -------------------------------------------------------------------------------------------

Handler = Callable[[Context, Session, Message], Step[None] | None]

INITIATOR: Mapping[type[Phase1], Handler] = {
    OfferSent: take_choice,
    KeySent: take_key,
    IdentitySent: take_identity,
}
RESPONDER: Mapping[type[Phase1], Handler] = {
    OfferTaken: answer_key,
    KeyAnswered: answer_identity,
}
