"""Main mode with a pre-shared key (RFC 2409 §5.4), and the way out of it into an established ISAKMP SA.

    initiator                                responder
    ---------                                ---------
    1 SA, VID ..                      ->     choose a transform
      OfferSent                       <-   2 SA, VID ..                                     OfferTaken
    3 KE, Ni, NAT-D ..                ->     g^xy
      KeySent                         <-   4 KE, Nr, NAT-D ..                               KeyAnswered
    5 {IDii, HASH_I, INITIAL-CONTACT} ->     which key decrypts this?  does HASH_I agree?
      IdentitySent                    <-   6 {IDir, HASH_R}                                 Established
      Established

A state is a struct of `state.py`; the tables at the end say which function takes the next message in which state.
A message that fits no row is passed over.  Only the initiator repeats its messages; the responder answers a message
that comes again with what it sent before.  Nothing that is not authenticated ends an exchange: a forged message is
passed over and the true one, or the exchange's time limit, decides.  With a NAT between, message 5 and all that
follow go from port 4500 to port 4500 (RFC 3947 §4).

Since the pre-shared key is needed to decrypt message 5, which says who the peer is, the responder chooses by address:
the rules that name this peer, then those with `peer any`.  Each of their keys (16 at most) is tried until HASH_I
agrees; then the identity decides between the rules that have this key.

Signatures would differ in SKEYID and in what messages 5 and 6 carry beside the identity; aggressive mode would have
states and rows of its own.  Both share `phase1.py` (keys, proofs, identities, establishing) and `offers.py`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from secd.ike import explain, identities, nat, proposals
from secd.ike.connection import PreSharedKey
from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev1 import skeyid_psk_data
from secd.ike.retransmission import Flight, sent
from secd.ike.steps import Step, key_pair, keyed_prf, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import half_open, offers, phase1
from secd.ike.v1.context import Context, Message, Session
from secd.ike.v1.state import (
    Endpoint,
    IdentitySent,
    IsakmpSA,
    KeyAnswered,
    Keys,
    KeySent,
    OfferSent,
    OfferTaken,
    Phase1,
)
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import ExchangeType, NotifyType
from secd.ike.wire.isakmp import NO_COOKIE, Chain, encode_message
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import HashPayload, IDPayload, KEPayload, NoncePayload
from secd.ike.wire.sa import SAPayload

#: Seconds until an unfinished main mode is given up, as initiator (the last repeat included) and as responder.
INITIATOR_LIMIT = 75.0
RESPONDER_LIMIT = 40.0
#: Pre-shared keys that are tried on one message 5, and messages 5 that may fail to decrypt.
MAX_KEYS = 16
MAX_BAD = 5

NONCE_OCTETS = 32
S = TypeVar("S", bound=Phase1)


# -- initiator --------------------------------------------------------------------------------------------


def start(ctx: Context, tunnel: Tunnel, endpoint: Endpoint, *, rekeying: bool = False) -> Session:
    """Send message 1 to `endpoint`."""
    connection, now = tunnel.connection, ctx.world.now
    first_contact = not rekeying and endpoint.remote not in ctx.contacted
    ctx.contacted.add(endpoint.remote)
    offer = proposals.offer1(connection.phase1, connection.phase1_lifetime, offers.PSK)
    session = ctx.add(
        IsakmpSA(
            icookie=_cookie(ctx),
            rcookie=NO_COOKIE,
            role="initiator",
            tunnel=tunnel.name,
            fingerprint=tunnel.fingerprint,
            endpoint=endpoint,
            created=now,
            expires=now + INITIATOR_LIMIT,
            phase1=OfferSent(offer.body),
            flight=Flight(),
            initial_contact=first_contact,
            rekeying=rekeying,
        )
    )
    _send(ctx, session, ctx.plain(session, [offer, *offers.vendor_ids(connection)]), awaits=True)
    return session


def take_choice(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 2 says which of our transforms it is to be; message 3 goes out."""
    state, tunnel = _expect(session, OfferSent), _tunnel(ctx, session)
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
    _send(ctx, session, ctx.plain(session, offers.key_payloads(session, pair.public, nonce)), message, awaits=True)


def take_key(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 4 brings the peer's public value and nonce; message 5 goes out, encrypted."""
    state, tunnel, sa = _expect(session, KeySent), _tunnel(ctx, session), session.sa
    chain = message.clear()
    peer_public, nonce_r = chain.one(KEPayload).body, chain.one(NoncePayload).body
    secret = yield from shared_secret(session.suite.group, state.private, peer_public)
    skeyid = yield from keyed_prf(_key(tunnel), session.suite.hash, skeyid_psk_data(state.nonce, nonce_r))
    offers.note_nat(session, chain)
    if sa.nat.found:
        sa.endpoint = Endpoint(sa.endpoint.local, nat.NAT_T_PORT, sa.endpoint.remote, _floated(sa.endpoint))
    keys = phase1.keys_of(session, skeyid, secret, state.public, peer_public)
    sa.local_id = identities.ours(tunnel.connection, sa.endpoint.local)
    identity = identities.to_payload(sa.local_id)
    hashed = phase1.proof(session, skeyid, state.offer, identity, publics=(state.public, peer_public), role="initiator")
    payloads: list[Payload] = [identity, HashPayload(hashed)]
    if sa.initial_contact:
        payloads.append(phase1.notification(session, NotifyType.INITIAL_CONTACT))
    data, keys.iv = ctx.seal(session, ExchangeType.IDENTITY_PROTECTION, 0, payloads, session.cbc(keys))
    sa.phase1 = IdentitySent(state.offer, skeyid, state.public, peer_public, keys)
    _send(ctx, session, data, message, awaits=True)


def take_identity(ctx: Context, session: Session, message: Message) -> None:
    """Message 6 says who the peer is and proves it: established."""
    state, tunnel, sa = _expect(session, IdentitySent), _tunnel(ctx, session), session.sa
    chain, after = message.decrypt(session.cbc(state.keys))
    identity = chain.one(IDPayload)
    expected = phase1.proof(
        session, state.skeyid, state.offer, identity, publics=(state.public, state.peer_public), role="responder"
    )
    if not hmac.compare_digest(chain.one(HashPayload).data, expected):
        raise WireError("HASH_R does not agree", NotifyType.AUTHENTICATION_FAILED)
    state.keys.iv = after.iv
    sa.flight.received, sa.flight.next, sa.flight.sent = b"", None, b""
    who = identities.of_peer(identity)
    if not phase1.is_expected(tunnel.connection, who):
        phase1.refuse_identity(ctx, session, state.keys, who, [tunnel])
        return
    phase1.establish(ctx, session, tunnel, state.keys, who)
    phase1.obey(ctx, session, chain)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, message: Message) -> None:
    """Message 1 of a stranger: choose a transform and send message 2."""
    chain = message.clear()
    where = message.endpoint
    offer = chain.one(SAPayload)
    candidates = offers.candidates_for(ctx, where)
    if not candidates:
        ctx.world.log_stranger("warning", "no-connection", explain.no_connection(where.local, where.remote))
        return
    choice = offers.first_acceptable(offer, candidates)
    if choice is None:
        offers.explain_offer(ctx, where, offer, candidates)
        offers.refuse_offer(ctx, message)
        return
    if not half_open.make_room(ctx, where.remote):
        return
    chosen, suite = choice
    now = ctx.world.now
    willing = [each for each in candidates if offers.allows(each.connection, suite)]
    session = ctx.add(
        IsakmpSA(
            icookie=message.header.initiator_cookie,
            rcookie=_cookie(ctx),
            role="responder",
            tunnel="",
            fingerprint=b"",
            endpoint=where,
            created=now,
            expires=now + RESPONDER_LIMIT,
            phase1=OfferTaken(offer.body, [each.name for each in willing]),
            flight=Flight(),
            suite=suite,
        )
    )
    offers.note_vendor(session, chain, willing[0].connection)
    vendor_ids = offers.vendor_ids(willing[0].connection, session.sa.nat.dialect)
    _send(ctx, session, ctx.plain(session, [proposals.answer(chosen, chosen.spi), *vendor_ids]), message)


def answer_key(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 3 brings the peer's public value and nonce; message 4 goes out."""
    state, sa = _expect(session, OfferTaken), session.sa
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
    _send(ctx, session, ctx.plain(session, offers.key_payloads(session, pair.public, nonce)), message)


def answer_identity(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 5 decrypts with one of the candidates' keys and says who the peer is; message 6 goes out."""
    state, sa = _expect(session, KeyAnswered), session.sa
    candidates = [tunnel for name in state.candidates if (tunnel := ctx.world.tunnels.get(name)) is not None]
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
    sa.endpoint = message.endpoint
    who = identities.of_peer(chain.one(IDPayload))
    tunnel = phase1.by_identity(holders, who)
    if tunnel is None:
        phase1.refuse_identity(ctx, session, keys, who, holders)
        return
    ctx.claim(session, tunnel.name)
    sa.fingerprint = tunnel.fingerprint
    sa.local_id = identities.ours(tunnel.connection, sa.endpoint.local)
    identity = identities.to_payload(sa.local_id)
    publics = (state.peer_public, state.public)
    hashed = phase1.proof(session, skeyid, state.offer, identity, publics=publics, role="responder")
    payloads: list[Payload] = [identity, HashPayload(hashed)]
    data, keys.iv = ctx.seal(session, ExchangeType.IDENTITY_PROTECTION, 0, payloads, session.cbc(keys))
    phase1.establish(ctx, session, tunnel, keys, who)
    phase1.obey(ctx, session, chain)
    _send(ctx, session, data, message)


# -- both -------------------------------------------------------------------------------------------------


def gave_up(ctx: Context, session: Session) -> None:
    """Our main mode was not answered to its end: say what that most likely means."""
    tunnel, state = ctx.tunnel(session), session.sa.phase1
    if tunnel is None or session.sa.role != "initiator":
        return
    where = f"{session.sa.endpoint.remote} port {session.sa.endpoint.remote_port}"
    if isinstance(state, IdentitySent):
        reason = explain.wrong_key_as_initiator(where, tunnel.connection.origin, "it was not answered")
        ctx.world.log_once(tunnel, "error", "psk-mismatch", reason)
    else:
        number = 1 if isinstance(state, OfferSent) else 3
        reason = f"no answer from {where} to message {number} of main mode"
        ctx.world.log_once(tunnel, "warning", "no-answer", reason)
    if session.sa.initial_contact:
        ctx.contacted.discard(session.sa.endpoint.remote)
    tunnel.failed(reason, ctx.world.now, ctx.world.random)


def _send(ctx: Context, session: Session, data: bytes, cause: Message | None = None, *, awaits: bool = False) -> None:
    world = ctx.world
    cause_data = b"" if cause is None else cause.data
    sent(session.sa.flight, data, cause=cause_data, awaits=awaits, now=world.now, random=world.random)
    ctx.send(session.sa.endpoint, data)
    ctx.touch(session)


def _cookie(ctx: Context) -> bytes:
    """Eight octets that no session has and that are not zero."""
    while True:
        cookie = ctx.world.random(8)
        if cookie != NO_COOKIE and ctx.by_cookie(cookie) is None and f"v1-{cookie.hex()}" not in ctx.sessions:
            return cookie


def _expect(session: Session, state: type[S]) -> S:
    """The state that the table promised; a message that outran it is nobody's fault."""
    if isinstance(session.sa.phase1, state):
        return session.sa.phase1
    raise WireError("does not fit the exchange any more")


def _tunnel(ctx: Context, session: Session) -> Tunnel:
    tunnel = ctx.tunnel(session)
    if tunnel is None:
        raise WireError("the tunnel is no longer configured")
    return tunnel


def _key(tunnel: Tunnel) -> str:
    """The handle of the tunnel's pre-shared key."""
    auth = tunnel.connection.auth
    return auth.key if isinstance(auth, PreSharedKey) else ""


def _floated(endpoint: Endpoint) -> int:
    """The peer's port after the float; one that a NAT has chosen already stays."""
    return nat.NAT_T_PORT if endpoint.remote_port == nat.IKE_PORT else endpoint.remote_port


def _open_identity(
    session: Session, state: KeyAnswered, skeyid: bytes, message: Message
) -> tuple[Chain, bytes, Keys] | None:
    """Message 5 under the key that made `skeyid`: its payloads, SKEYID and the keys; None if it is another key."""
    keys = phase1.keys_of(session, skeyid, state.secret, state.peer_public, state.public)
    try:
        chain, after = message.decrypt(session.cbc(keys))
        identity, proof = chain.one(IDPayload), chain.one(HashPayload).data
    except WireError:
        return None
    expected = phase1.proof(
        session, skeyid, state.offer, identity, publics=(state.peer_public, state.public), role="initiator"
    )
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
