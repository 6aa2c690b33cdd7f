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

Signatures would differ in `keys_of` (SKEYID) and in what messages 5 and 6 carry beside the identity; aggressive mode
has states and rows of its own and shares `offer`, `keys_of` and `establish`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from secd.ike import explain, identities, nat, proposals
from secd.ike.connection import Connection, PreSharedKey
from secd.ike.crypto.ciphers import cipher_named
from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev1 import (
    CbcState,
    encryption_key,
    hash_i,
    hash_r,
    phase1_keys,
    skeyid_psk_data,
)
from secd.ike.proposals import Suite
from secd.ike.retransmission import Flight, fraction, sent
from secd.ike.steps import Step, key_pair, keyed_prf, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children
from secd.ike.v1.context import Context, Message, Session
from secd.ike.v1.state import (
    Endpoint,
    Established,
    IdentitySent,
    IsakmpSA,
    KeyAnswered,
    Keys,
    KeySent,
    Nat,
    OfferSent,
    OfferTaken,
    Phase1,
    Role,
)
from secd.ike.wire import vendorids
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import AuthenticationMethod, ExchangeType, NotifyType, ProtocolId
from secd.ike.wire.isakmp import NO_COOKIE, Chain, Header, encode_message
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import (
    HashPayload,
    IDPayload,
    KEPayload,
    NatDPayload,
    NoncePayload,
    NotificationPayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import SAPayload
from secd.sadb.messages import Identity

#: Seconds until an unfinished main mode is given up, as initiator (the last repeat included) and as responder.
INITIATOR_LIMIT = 75.0
RESPONDER_LIMIT = 40.0
#: Pre-shared keys that are tried on one message 5, and messages 5 that may fail to decrypt.
MAX_KEYS = 16
MAX_BAD = 5
#: Unfinished main modes that others may have begun here: in all, and from one address.
MAX_HALF_OPEN = 128
MAX_HALF_OPEN_EACH = 8
#: Seconds for which an ISAKMP SA that was replaced by us stays, so that what is under way still decrypts.
RETIRE = 10.0
#: What the initiator and the responder rekey at, as parts of the lifetime: apart, so that they rarely collide.
REKEY_INITIATOR = (0.85, 0.90)
REKEY_RESPONDER = (0.90, 0.95)

NONCE_OCTETS = 32
S = TypeVar("S", bound=Phase1)
PSK = AuthenticationMethod.PRE_SHARED_KEY


# -- initiator --------------------------------------------------------------------------------------------


def start(ctx: Context, tunnel: Tunnel, endpoint: Endpoint, *, rekeying: bool = False) -> Session:
    """Send message 1 to `endpoint`."""
    connection, now = tunnel.connection, ctx.world.now
    first_contact = not rekeying and endpoint.remote not in ctx.contacted
    ctx.contacted.add(endpoint.remote)
    offer = proposals.offer1(connection.phase1, connection.phase1_lifetime, PSK)
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
    _send(ctx, session, ctx.plain(session, [offer, *_vendor_ids(connection)]), awaits=True)
    return session


def take_choice(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 2 says which of our transforms it is to be; message 3 goes out."""
    state, tunnel = _expect(session, OfferSent), _tunnel(ctx, session)
    if message.header.responder_cookie == NO_COOKIE:
        raise WireError("message 2 without a responder cookie", NotifyType.INVALID_COOKIE)
    chain = message.clear()
    suite = _chosen(tunnel.connection, chain.one(SAPayload))
    pair = yield from key_pair(suite.group, ctx.world.random(group(suite.group).seed_octets))
    sa = session.sa
    sa.rcookie = message.header.responder_cookie
    sa.suite = suite
    sa.endpoint = Endpoint(message.datagram.local, sa.endpoint.local_port, sa.endpoint.remote, sa.endpoint.remote_port)
    _note_vendor(session, chain, tunnel.connection)
    nonce = ctx.world.random(NONCE_OCTETS)
    sa.phase1 = KeySent(state.offer, pair.private, pair.public, nonce)
    _send(ctx, session, ctx.plain(session, _key_payloads(session, pair.public, nonce)), message, awaits=True)


def take_key(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 4 brings the peer's public value and nonce; message 5 goes out, encrypted."""
    state, tunnel, sa = _expect(session, KeySent), _tunnel(ctx, session), session.sa
    chain = message.clear()
    peer_public, nonce_r = chain.one(KEPayload).body, chain.one(NoncePayload).body
    secret = yield from shared_secret(session.suite.group, state.private, peer_public)
    skeyid = yield from keyed_prf(_key(tunnel), session.suite.hash, skeyid_psk_data(state.nonce, nonce_r))
    _note_nat(session, chain)
    if sa.nat.found:
        sa.endpoint = Endpoint(sa.endpoint.local, nat.NAT_T_PORT, sa.endpoint.remote, _floated(sa.endpoint))
    keys = keys_of(session, skeyid, secret, state.public, peer_public)
    sa.local_id = identities.ours(tunnel.connection, sa.endpoint.local)
    identity = identities.to_payload(sa.local_id)
    hashed = _proof(session, skeyid, state.offer, identity, publics=(state.public, peer_public), role="initiator")
    payloads: list[Payload] = [identity, HashPayload(hashed)]
    if sa.initial_contact:
        payloads.append(_notification(session, NotifyType.INITIAL_CONTACT))
    data, keys.iv = ctx.seal(session, ExchangeType.IDENTITY_PROTECTION, 0, payloads, session.cbc(keys))
    sa.phase1 = IdentitySent(state.offer, skeyid, state.public, peer_public, keys)
    _send(ctx, session, data, message, awaits=True)


def take_identity(ctx: Context, session: Session, message: Message) -> None:
    """Message 6 says who the peer is and proves it: established."""
    state, tunnel, sa = _expect(session, IdentitySent), _tunnel(ctx, session), session.sa
    chain, after = message.decrypt(session.cbc(state.keys))
    identity = chain.one(IDPayload)
    expected = _proof(
        session, state.skeyid, state.offer, identity, publics=(state.public, state.peer_public), role="responder"
    )
    if not hmac.compare_digest(chain.one(HashPayload).data, expected):
        raise WireError("HASH_R does not agree", NotifyType.AUTHENTICATION_FAILED)
    state.keys.iv = after.iv
    sa.flight.received, sa.flight.next, sa.flight.sent = b"", None, b""
    who = identities.from_payload(identity)
    if not _is_expected(tunnel.connection, who):
        _refuse_identity(ctx, session, state.keys, who, [tunnel])
        return
    establish(ctx, session, tunnel, state.keys, who)
    obey(ctx, session, chain)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, message: Message) -> None:
    """Message 1 of a stranger: choose a transform and send message 2."""
    chain = message.clear()
    where = message.endpoint
    offer = chain.one(SAPayload)
    candidates = candidates_for(ctx, where)
    if not candidates:
        ctx.world.log_stranger("warning", "no-connection", explain.no_connection(where.local, where.remote))
        return
    choice = _first_acceptable(offer, candidates)
    if choice is None:
        _explain_offer(ctx, where, offer, candidates)
        _refuse_offer(ctx, message)
        return
    if not _has_room(ctx, where):
        return
    chosen, suite = choice
    now = ctx.world.now
    willing = [each for each in candidates if _allows(each.connection, suite)]
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
    _note_vendor(session, chain, willing[0].connection)
    vendor_ids = _vendor_ids(willing[0].connection, session.sa.nat.dialect)
    _send(ctx, session, ctx.plain(session, [proposals.answer(chosen, chosen.spi), *vendor_ids]), message)


def answer_key(ctx: Context, session: Session, message: Message) -> Step[None]:
    """Message 3 brings the peer's public value and nonce; message 4 goes out."""
    state, sa = _expect(session, OfferTaken), session.sa
    chain = message.clear()
    peer_public, nonce_i = chain.one(KEPayload).body, chain.one(NoncePayload).body
    suite = session.suite
    pair = yield from key_pair(suite.group, ctx.world.random(group(suite.group).seed_octets))
    secret = yield from shared_secret(suite.group, pair.private, peer_public)
    sa.endpoint = message.endpoint
    _note_nat(session, chain)
    nonce = ctx.world.random(NONCE_OCTETS)
    sa.phase1 = KeyAnswered(state.offer, state.candidates, secret, pair.public, peer_public, nonce_i, nonce)
    _send(ctx, session, ctx.plain(session, _key_payloads(session, pair.public, nonce)), message)


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
    who = identities.from_payload(chain.one(IDPayload))
    tunnel = _by_identity(holders, who)
    if tunnel is None:
        _refuse_identity(ctx, session, keys, who, holders)
        return
    ctx.claim(session, tunnel.name)
    sa.fingerprint = tunnel.fingerprint
    sa.local_id = identities.ours(tunnel.connection, sa.endpoint.local)
    identity = identities.to_payload(sa.local_id)
    hashed = _proof(session, skeyid, state.offer, identity, publics=(state.peer_public, state.public), role="responder")
    payloads: list[Payload] = [identity, HashPayload(hashed)]
    data, keys.iv = ctx.seal(session, ExchangeType.IDENTITY_PROTECTION, 0, payloads, session.cbc(keys))
    establish(ctx, session, tunnel, keys, who)
    obey(ctx, session, chain)
    _send(ctx, session, data, message)


def candidates_for(ctx: Context, where: Endpoint) -> list[Tunnel]:
    """The tunnels that a main mode with a pre-shared key from there may be meant for, those that name it first."""
    fitting = [
        each
        for each in ctx.world.tunnels.values()
        if each.connection.version == 1
        and each.connection.exchange == "main"
        and isinstance(each.connection.auth, PreSharedKey)
        and each.connection.local in (None, where.local)
        and each.connection.peer in (None, where.remote)
    ]
    return sorted(fitting, key=lambda tunnel: (tunnel.connection.peer is None, tunnel.connection.local is None))


# -- both -------------------------------------------------------------------------------------------------


def keys_of(session: Session, skeyid: bytes, secret: bytes, public_i: bytes, public_r: bytes) -> Keys:
    """Phase 1's keys out of SKEYID; the IV is that of the first encrypted message."""
    sa, prf = session.sa, session.prf
    derived = phase1_keys(prf, skeyid, secret, sa.icookie, sa.rcookie)
    cipher = cipher_named(session.suite.cipher)
    octets = (session.suite.bits or cipher.key_lengths[0]) // 8
    key = encryption_key(prf, derived.skeyid_e, octets)
    iv = CbcState.phase1(prf, cipher, key, public_i, public_r).iv
    return Keys(derived.skeyid_d, derived.skeyid_a, key, iv)


def establish(ctx: Context, session: Session, tunnel: Tunnel, keys: Keys, who: Identity) -> None:
    """The peer has shown who it is: enter `Established`; if this replaces others, they end soon."""
    now, sa = ctx.world.now, session.sa
    sa.phase1 = Established(keys, now)
    sa.remote_id = who
    lifetime = _set_lifetime(ctx, session, tunnel.connection.phase1_lifetime)
    session.heard = now
    ctx.contacted.add(sa.endpoint.remote)
    if sa.role == "initiator":
        for other in ctx.of(tunnel.name):
            if other.sa.established and other.since < sa.created:
                other.sa.retire_at = now + RETIRE
                ctx.touch(other)
    for what, line in explain.weak(session.suite, tunnel.connection.origin):
        ctx.world.log_once(tunnel, "warning", f"weak {what}", line)
    behind = " and ".join([*(["us"] if sa.nat.here else []), *(["the peer"] if sa.nat.there else [])])
    ctx.world.log(
        "info", tunnel.name, "phase1-up",
        f"main mode with {sa.endpoint.remote} ({identities.words(who)}) finished as {sa.role}: "
        f"{session.suite.encryption} hmac-{session.suite.hash} {session.suite.group}, {lifetime} s"
        + (f", a NAT before {behind}" if behind else ""),
    )  # fmt: skip


def _proof(
    session: Session,
    skeyid: bytes,
    offer: bytes,
    identity: IDPayload,
    *,
    publics: tuple[bytes, bytes],
    role: Role,
) -> bytes:
    """HASH_I or HASH_R, by which `role` proves its `identity`; `publics` are g^xi and g^xr."""
    sa, prf = session.sa, session.prf
    g_xi, g_xr = publics
    cookies = {"cky_i": sa.icookie, "cky_r": sa.rcookie}
    if role == "initiator":
        return hash_i(prf, skeyid, g_xi=g_xi, g_xr=g_xr, **cookies, sai_b=offer, idii_b=identity.body)
    return hash_r(prf, skeyid, g_xi=g_xi, g_xr=g_xr, **cookies, sai_b=offer, idir_b=identity.body)


def obey(ctx: Context, session: Session, chain: Chain) -> None:
    """What an authenticated message of phase 1, or an informational one, tells us beside its purpose."""
    for each in chain.all(NotificationPayload):
        if each.notify_type == NotifyType.INITIAL_CONTACT:
            children.forget_earlier(ctx, session)
        elif each.notify_type == NotifyType.RESPONDER_LIFETIME and each.protocol == ProtocolId.PROTO_ISAKMP:
            seconds = proposals.notified_lifetime(each.data)
            if seconds and session.sa.established:
                _set_lifetime(ctx, session, seconds)


def offered(connection: Connection) -> list[Suite]:
    """What message 1 of this connection offers."""
    return list(proposals.suites1(connection.phase1, connection.phase1_lifetime, PSK))


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


def _set_lifetime(ctx: Context, session: Session, seconds: int) -> int:
    """An established SA lives for `seconds` from its beginning, or less if it was less already."""
    sa = session.sa
    suite = session.suite
    lifetime = proposals.smaller(suite.lifetime, seconds) or 3600
    sa.suite = Suite(suite.cipher, suite.bits, suite.hash, suite.group, lifetime, suite.method)
    low, high = REKEY_INITIATOR if sa.role == "initiator" else REKEY_RESPONDER
    sa.expires = session.since + lifetime
    sa.rekey_at = session.since + lifetime * (low + (high - low) * fraction(ctx.world.random))
    return lifetime


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


def _vendor_ids(connection: Connection, dialect: str | None = None) -> list[VendorIDPayload]:
    """What we can do: dead peer detection, and NAT traversal in every dialect, or as responder in the chosen one."""
    dialects = list(nat.DIALECTS.values()) if dialect is None else [nat.DIALECTS[dialect]] if dialect else []
    return [VendorIDPayload(each) for each in [*(dialects if connection.natt else []), vendorids.DPD]]


def _note_vendor(session: Session, chain: Chain, connection: Connection) -> None:
    """What the peer says that it can do."""
    announced = [each.data for each in chain.all(VendorIDPayload)]
    session.sa.nat = Nat(nat.best(announced) if connection.natt else "")
    session.sa.dpd = any(each.startswith(vendorids.DPD[:14]) for each in announced)
    session.sa.vendor = vendorids.product(announced)


def _note_nat(session: Session, chain: Chain) -> None:
    """Where the peer's NAT-D payloads say that there is a NAT."""
    sa = session.sa
    if sa.nat.dialect:
        where = sa.endpoint
        here, there = nat.detect(
            session.prf,
            (sa.icookie, sa.rcookie),
            chain.all(NatDPayload),
            (where.remote, where.remote_port),
            (where.local, where.local_port),
        )
        sa.nat = Nat(sa.nat.dialect, here, there)


def _key_payloads(session: Session, public: bytes, nonce: bytes) -> list[Payload]:
    """Messages 3 and 4."""
    sa, where = session.sa, session.sa.endpoint
    payloads: list[Payload] = [KEPayload(public), NoncePayload(nonce)]
    if sa.nat.dialect:
        remote, local = (where.remote, where.remote_port), (where.local, where.local_port)
        payloads += nat.payloads(session.prf, (sa.icookie, sa.rcookie), sa.nat.dialect, remote, local)
    return payloads


def _notification(session: Session, kind: NotifyType) -> NotificationPayload:
    return NotificationPayload(kind, ProtocolId.PROTO_ISAKMP, session.sa.icookie + session.sa.rcookie)


def _allows(connection: Connection, suite: Suite) -> bool:
    return proposals.allows1(connection.phase1, suite, PSK)


def _chosen(connection: Connection, payload: SAPayload) -> Suite:
    """The one transform that the responder has chosen; it must be one of those we offered."""
    choices = list(proposals.offered1(payload))
    if len(choices) != 1:
        raise WireError(f"{len(choices)} transforms were chosen, expected one", NotifyType.BAD_PROPOSAL_SYNTAX)
    suite = proposals.read1(choices[0].transform)
    if not _allows(connection, suite):
        raise WireError(f"`{suite.words()}` was chosen, which was not offered", NotifyType.NO_PROPOSAL_CHOSEN)
    return suite


def _first_acceptable(offer: SAPayload, candidates: Sequence[Tunnel]) -> tuple[proposals.Choice, Suite] | None:
    for choice in proposals.offered1(offer):
        suite = proposals.read1(choice.transform)
        if any(_allows(each.connection, suite) for each in candidates):
            return choice, suite
    return None


def _explain_offer(ctx: Context, where: Endpoint, offer: SAPayload, candidates: Sequence[Tunnel]) -> None:
    theirs = [proposals.read1(each.transform) for each in proposals.offered1(offer)]
    accepted = [suite for each in candidates for suite in offered(each.connection)]
    origins = ", ".join(each.connection.origin for each in candidates)
    text = explain.no_proposal(where.remote, theirs, accepted, origins)
    ctx.complain(candidates, "proposal-mismatch", text)


def _refuse_offer(ctx: Context, message: Message) -> None:
    """NO-PROPOSAL-CHOSEN, in clear since there are no keys, and without keeping anything."""
    header = Header(message.header.initiator_cookie, NO_COOKIE, ExchangeType.INFORMATIONAL, 0, _message_id(ctx))
    notification = NotificationPayload(NotifyType.NO_PROPOSAL_CHOSEN, ProtocolId.PROTO_ISAKMP)
    ctx.send(message.endpoint, encode_message(header, [notification]))


def _message_id(ctx: Context) -> int:
    return int.from_bytes(ctx.world.random(4), "big") or 1


def _has_room(ctx: Context, where: Endpoint) -> bool:
    """Whether one more unfinished main mode from there may be taken on."""
    unfinished = [each.sa.endpoint.remote for each in ctx.half_open()]
    if len(unfinished) < MAX_HALF_OPEN and unfinished.count(where.remote) < MAX_HALF_OPEN_EACH:
        return True
    ctx.world.log_stranger(
        "warning", "half-open",
        f"main mode from {where.remote} is not answered: {unfinished.count(where.remote)} unfinished ones are from "
        f"there (limit {MAX_HALF_OPEN_EACH}), {len(unfinished)} in all (limit {MAX_HALF_OPEN})",
    )  # fmt: skip
    return False


def _open_identity(
    session: Session, state: KeyAnswered, skeyid: bytes, message: Message
) -> tuple[Chain, bytes, Keys] | None:
    """Message 5 under the key that made `skeyid`: its payloads, SKEYID and the keys; None if it is another key."""
    keys = keys_of(session, skeyid, state.secret, state.peer_public, state.public)
    try:
        chain, after = message.decrypt(session.cbc(keys))
        identity, proof = chain.one(IDPayload), chain.one(HashPayload).data
    except WireError:
        return None
    expected = _proof(
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
        header = ctx.header(session, ExchangeType.INFORMATIONAL, _message_id(ctx))
        notification = _notification(session, NotifyType.PAYLOAD_MALFORMED)
        ctx.send(message.endpoint, encode_message(header, [notification]))
    elif state.bad >= MAX_BAD:
        ctx.remove(session)


def _is_expected(connection: Connection, who: Identity) -> bool:
    expected = identities.expected(connection)
    return expected is None or identities.same(expected, who)


def _by_identity(holders: Sequence[Tunnel], who: Identity) -> Tunnel | None:
    """The tunnel of this peer among those with its key: one that expects it by name before one that takes anybody."""
    welcome = [each for each in holders if _is_expected(each.connection, who)]
    return min(welcome, key=lambda tunnel: identities.expected(tunnel.connection) is None, default=None)


def _refuse_identity(ctx: Context, session: Session, keys: Keys, who: Identity, tunnels: Sequence[Tunnel]) -> None:
    """The key is right, the name is not: tell both sides, and end."""
    expected = [each for tunnel in tunnels if (each := identities.expected(tunnel.connection)) is not None]
    origins = ", ".join(each.connection.origin for each in tunnels)
    text = explain.wrong_identity(session.sa.endpoint.remote, who, expected, origins)
    for tunnel in tunnels:
        ctx.world.log_once(tunnel, "error", "identity-mismatch", text)
        if session.sa.role == "initiator":
            tunnel.failed(text, ctx.world.now, ctx.world.random)
        elif tunnel.up_since is None:
            tunnel.reason = text
    session.sa.phase1 = Established(keys, ctx.world.now)
    ctx.inform(session, [_notification(session, NotifyType.INVALID_ID_INFORMATION)])
    if session.sa.role == "initiator":
        ctx.inform(session, [children.delete_payload(session)])
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
