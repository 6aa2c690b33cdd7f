"""IKE_AUTH (RFC 7296 §1.2): both sides prove who they are, and make the first pair of ESP SAs.

    initiator                                                  responder
    ---------                                                  ---------
    IDi, [IDr], AUTH, SAi2, TSi, TSr, N(INITIAL_CONTACT)  ->   who is this?  does AUTH agree?
      AuthSent                                            <-   IDr, AUTH, SAr2, TSi, TSr             Established
      does AUTH agree?  Established

With a NAT between, this and all that follows goes from port 4500 to port 4500 (§2.23).  The responder chooses by the
initiator's identity among the rules that were possible by address: each of their keys (16 at most) is tried.  The
pair may fail while the authentication does not: then the IKE SA stands without it, and it is asked for later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from secd.ike import explain as explain_both
from secd.ike import identities, nat
from secd.ike.connection import PreSharedKey
from secd.ike.crypto.ikev2 import IkeKeys
from secd.ike.endpoint import Endpoint
from secd.ike.retransmission import fraction
from secd.ike.steps import Step, Unanswered, reserve_spi
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import (
    child,
    config,
    ending,
    exchange,
    explain,
    ids,
    mobike,
    pairs,
    ppk,
    proof,
    selectors,
    signing,
    suites,
)
from secd.ike.v2.context import Context, Message, Session, settings
from secd.ike.v2.pairs import REKEY_INITIATOR, REKEY_RESPONDER, Material, Pair
from secd.ike.v2.proof import Claim, Covered
from secd.ike.v2.signing import CannotSign, Unproven, WithoutPpk
from secd.ike.v2.state import AuthSent, Established, InitAnswered, Opening, Transcript
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import ExchangeType, NotifyType, ProtocolId
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import AuthPayload, EAPPayload, IDiPayload, IDrPayload
from secd.ike.wire.ikev2.sa import SAPayload
from secd.sadb.messages import Identity

#: Keys that are tried on one AUTH payload.
MAX_KEYS = 16


# -- initiator --------------------------------------------------------------------------------------------


def begin(ctx: Context, session: Session, tunnel: Tunnel, transcript: Transcript) -> Step[None]:
    """Send IKE_AUTH; the keys stand."""
    connection, wanted, sa = tunnel.connection, settings(tunnel), session.sa
    before = sa.phase
    if wanted.ppk is not None and wanted.ppk.required and not sa.peer.ppk:
        text = explain.no_ppk(sa.endpoint.remote, connection.origin)
        _over(ctx, session, tunnel, "ppk-mismatch", text)
        return
    spi = yield from reserve_spi(connection.iface)
    where = floated(session, tunnel)
    local_id = identities.ours(connection, where.local)
    identity = IDiPayload(*ids.encode(local_id))
    keys = (yield from ppk.mixed(session, tunnel)) if sa.peer.ppk else session.keys
    covered = Covered(transcript, keys, sa.next_out)
    signed = proof.octets(session, covered, identity, initiator=True)
    pss = tunnel.retries % 2 == 1
    try:
        proofs = yield from proof.own(session, tunnel, signed, pss=pss)
    except CannotSign as error:
        _over(ctx, session, tunnel, "cannot-sign", str(error))
        return
    ppk_payloads: list[Payload] = []
    named = ppk.identity(tunnel) if sa.peer.ppk else None
    if named is not None and wanted.ppk is not None:
        ppk_payloads.append(named)
        if not wanted.ppk.required:
            plain = proof.octets(session, Covered(transcript, session.keys, sa.next_out), identity, initiator=True)
            without = yield from proof.own(session, tunnel, plain, pss=pss)
            data = next(each.data for each in without if isinstance(each, AuthPayload))
            ppk_payloads.append(NotifyPayload(NotifyType.NO_PPK_AUTH, data))
    if sa.phase is not before:
        return
    payloads: list[Payload] = [identity]
    if sa.initial_contact:
        payloads.append(NotifyPayload(NotifyType.INITIAL_CONTACT))
    if connection.dstid is not None:
        payloads.append(IDrPayload(*ids.encode(connection.dstid)))
    offered = child.alternatives(tunnel, key_exchange=False)
    payloads += signing.requests([tunnel])
    payloads += [*proofs, *config.request(ctx, tunnel), suites.offer(ProtocolId.ESP, spi.to_bytes(4, "big"), offered)]
    payloads += [*selectors.offer(wanted.families), *ppk_payloads, *mobike.supported(tunnel, None)]
    sa.endpoint, sa.local_id = where, local_id
    sa.phase = AuthSent(transcript, spi, keys if named is not None else None)
    sa.request = None
    exchange.request(ctx, session, ExchangeType.IKE_AUTH, payloads, Opening())


def take_answer(ctx: Context, session: Session, message: Message, chain: Chain) -> Step[None]:
    """The responder's identity and proof, and the first pair."""
    state, tunnel = session.sa.phase, ctx.tunnel(session)
    if not isinstance(state, AuthSent) or tunnel is None:
        raise WireError("does not fit the exchange any more")
    proofs = chain.find(AuthPayload)
    if proofs is None:
        _refused(ctx, session, tunnel, chain)
        return
    identity = chain.one(IDrPayload)
    who, peer = ids.decode(identity), session.sa.endpoint.remote
    if not proof.fits(tunnel, proofs.method):
        text = explain.wrong_method(peer, proofs.method, signing.method_word(proofs.method), tunnel.connection)
        _refuse_answer(ctx, session, tunnel, "authentication-method", text)
        return
    used = state.mixed is not None and chain.notification(NotifyType.PPK_IDENTITY) is not None
    wanted_ppk = settings(tunnel).ppk
    if wanted_ppk is not None and wanted_ppk.required and not used:
        _refuse_answer(ctx, session, tunnel, "ppk-mismatch", explain.no_ppk(peer, tunnel.connection.origin))
        return
    keys = state.mixed if used and state.mixed is not None else session.keys
    covered = Covered(state.transcript, keys, message.header.message_id)
    signed = proof.octets(session, covered, identity, initiator=False)
    try:
        warnings = yield from proof.check(session, tunnel, chain, Claim(identity, proofs, signed))
    except Unproven as error:
        if session.sa.phase is state:
            _refuse_answer(ctx, session, tunnel, *_why_unproven(peer, who, [tunnel], error))
        return
    if session.sa.phase is not state:
        return
    expected = identities.expected(tunnel.connection)
    if not ids.is_expected(tunnel.connection, who):
        text = explain_both.wrong_identity(peer, who, [expected] if expected else [], tunnel.connection.origin)
        _refuse_answer(ctx, session, tunnel, "identity-mismatch", text)
        return
    session.sa.request = None
    session.sa.keys = keys
    for each in warnings:
        ctx.world.log_once(tunnel, "warning", "certificate", f"{peer}: {each}")
    establish(ctx, session, tunnel, who, chain)
    mobike.note(session, tunnel, chain)
    config.take(ctx, session, tunnel, chain)
    _take_pair(ctx, session, tunnel, state, chain)


def _take_pair(ctx: Context, session: Session, tunnel: Tunnel, state: AuthSent, chain: Chain) -> None:
    """The first pair, or why there is none."""
    if chain.find(SAPayload) is None:
        kind = chain.errors[0].notify_type if chain.errors else NotifyType.NO_ADDITIONAL_SAS
        text = child.why_refused(session, tunnel, kind, key_exchange=False)
        ctx.world.log_once(tunnel, "error", child.code_of(kind), text)
        tunnel.failed(text, ctx.world.now, ctx.world.random)
        if kind in config.REFUSALS:
            session.sa.delete_at = ctx.world.now
        return
    try:
        suite, spi_out = child.accept(ctx, session, tunnel, chain, key_exchange=False)
    except WireError as error:
        text = f"{session.sa.endpoint.remote} answers IKE_AUTH with a pair that cannot be used: {error}"
        ctx.world.log_once(tunnel, "error", "pair-unusable", text)
        tunnel.failed(text, ctx.world.now, ctx.world.random)
        session.sa.delete_at = ctx.world.now
        return
    transcript = state.transcript
    material = Material(transcript.nonce_i, transcript.nonce_r)
    pair = pairs.make(ctx, session, tunnel, suite, spis=(state.spi, spi_out), material=material, ours=True)
    pairs.use(ctx, session, pair)
    child.up(ctx, session, tunnel, pair.child)


def _refused(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain) -> None:
    """The responder does not authenticate itself: it refuses us, or wants something else."""
    peer = session.sa.endpoint.remote
    if chain.all(EAPPayload):
        _over(ctx, session, tunnel, "eap", explain.wants_eap(peer, tunnel.connection.origin))
        return
    kind = chain.errors[0].notify_type if chain.errors else NotifyType.INVALID_SYNTAX
    if kind == NotifyType.AUTHENTICATION_FAILED and session.sa.local_id is not None:
        text = explain.authentication_refused(peer, session.sa.local_id, tunnel.connection)
        _over(ctx, session, tunnel, "authentication-failed", text)
    else:
        _over(ctx, session, tunnel, "auth-refused", explain.refusal(peer, kind, "IKE_AUTH"))


def _refuse_answer(ctx: Context, session: Session, tunnel: Tunnel, code: str, text: str) -> None:
    """The responder holds us for established, and we do not trust it: tell it, and end (RFC 7296 §2.21.2)."""
    exchange.last_words(ctx, session, [NotifyPayload(NotifyType.AUTHENTICATION_FAILED)])
    _over(ctx, session, tunnel, code, text)


def _over(ctx: Context, session: Session, tunnel: Tunnel, code: str, text: str) -> None:
    ctx.world.log_once(tunnel, "error", code, text)
    tunnel.failed(text, ctx.world.now, ctx.world.random)
    ctx.remove(session)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, session: Session, message: Message, chain: Chain) -> Step[None]:
    """Who is it, and has it proved that?  Then so do we, and make the pair that it asks for."""
    state, sa = session.sa.phase, session.sa
    if not isinstance(state, InitAnswered):
        raise WireError("does not fit the exchange any more")
    candidates = [tunnel for name in state.candidates if (tunnel := ctx.world.tunnels.get(name)) is not None]
    identity, proofs = chain.one(IDiPayload), chain.find(AuthPayload)
    who = ids.decode(identity)
    if proofs is None:
        origins = ", ".join(each.connection.origin for each in candidates)
        text = explain.wants_eap(message.datagram.remote, origins)
        _reject(ctx, session, message, candidates, code="eap", text=text)
        return
    fitting = _fitting(ctx, session, message, candidates, who=who, method=proofs.method)
    if not fitting:
        return
    covered = Covered(state.transcript, session.keys, message.header.message_id)
    try:
        tunnel, keys = yield from _proved(ctx, session, _meant(fitting, chain, message.datagram.local), chain, covered)
    except Unproven as error:
        code, text = _why_unproven(message.datagram.remote, who, fitting, error)
        _reject(ctx, session, message, fitting, code=code, text=text)
        return
    local_id = identities.ours(tunnel.connection, message.datagram.local)
    own_identity = IDrPayload(*ids.encode(local_id))
    signed = proof.octets(session, replace(covered, keys=keys), own_identity, initiator=False)
    try:
        own_proofs = yield from proof.own(session, tunnel, signed, pss=signing.pads_as_pss(proofs))
    except CannotSign as error:
        _reject(ctx, session, message, [tunnel], code="cannot-sign", text=str(error))
        return
    if keys is not session.keys:
        own_proofs.append(NotifyPayload(NotifyType.PPK_IDENTITY))
    sa.endpoint, sa.local_id, sa.remote_id = message.endpoint, local_id, who
    material = Material(state.transcript.nonce_i, state.transcript.nonce_r, sk_d=keys.sk_d)
    given = config.answer(ctx, session, tunnel, chain)
    body: list[Payload] = [NotifyPayload(NotifyType.INTERNAL_ADDRESS_FAILURE)]
    pair: Pair | None = None
    if given is not None:
        body, pair = yield from _first_pair(ctx, session, tunnel, material, chain)
    if sa.phase is not state:
        return
    sa.keys = keys
    ctx.claim(session, tunnel.name)
    sa.fingerprint = tunnel.fingerprint
    older = ctx.newest_pair(tunnel.name) is not None
    establish(ctx, session, tunnel, who, chain)
    mobike.note(session, tunnel, chain)
    extra = [*(given or ()), *body, *mobike.supported(tunnel, chain)]
    exchange.answer(ctx, session, message, [own_identity, *own_proofs, *extra])
    if given is None:
        sa.delete_at = ctx.world.now  # or the peer would ask in it for a pair, which then had no address
    if pair is not None and older and ctx.newest_pair(tunnel.name) is not None:
        pairs.hold(ctx, session, pair)
    elif pair is not None:
        pairs.use(ctx, session, pair, after_send=True)
    if pair is not None:
        child.up(ctx, session, tunnel, pair.child)


def _fitting(
    ctx: Context, session: Session, message: Message, candidates: Sequence[Tunnel], *, who: Identity, method: int
) -> list[Tunnel]:
    """The candidates that expect this peer, and in this way; when there is none, the peer is refused."""
    peer = message.datagram.remote
    welcome = [each for each in candidates if ids.is_expected(each.connection, who)]
    if not welcome:
        expected = [each for tunnel in candidates if (each := identities.expected(tunnel.connection)) is not None]
        origins = ", ".join(each.connection.origin for each in candidates)
        text = explain_both.wrong_identity(peer, who, expected, origins)
        _reject(ctx, session, message, candidates, code="identity-mismatch", text=text)
        return []
    fitting = [each for each in welcome if proof.fits(each, method)]
    if not fitting:
        text = explain.wrong_method(peer, method, signing.method_word(method), welcome[0].connection)
        _reject(ctx, session, message, welcome, code="authentication-method", text=text)
    return fitting


def _meant(tunnels: Sequence[Tunnel], chain: Chain, local: str) -> list[Tunnel]:
    """Those first that are called as the peer calls us (RFC 7296 §2.15), and those that expect it by name."""
    asked = chain.find(IDrPayload)
    name = ids.decode(asked) if asked is not None else None

    def rank(tunnel: Tunnel) -> tuple[bool, bool]:
        ours = identities.ours(tunnel.connection, local)
        return name is not None and not identities.same(ours, name), identities.expected(tunnel.connection) is None

    return sorted(tunnels, key=rank)


def _proved(
    ctx: Context, session: Session, tunnels: Sequence[Tunnel], chain: Chain, covered: Covered
) -> Step[tuple[Tunnel, IkeKeys]]:
    """The first of `tunnels` by whose key, or authorities, the peer has proved who it is; else raises `Unproven`.

    Also the keys that both sides use from now on, with a PPK in them if there is one.
    """
    identity = chain.one(IDiPayload)
    tried: set[str] = set()
    unproven = Unproven("nobody here could tell")
    for tunnel in tunnels:
        auth = tunnel.connection.auth
        wanted = settings(tunnel).ppk
        keys_tried = f"{auth.key} {wanted.key if wanted is not None else ''}"
        if isinstance(auth, PreSharedKey) and keys_tried in tried:
            continue
        tried.add(keys_tried)
        if len(tried) > MAX_KEYS:
            break
        try:
            keys, own_proof = yield from ppk.chosen(session, tunnel, chain)
            signed = proof.octets(session, replace(covered, keys=keys), identity, initiator=True)
            warnings = yield from proof.check(session, tunnel, chain, Claim(identity, own_proof, signed))
        except Unproven as error:
            unproven = error
            continue
        for each in warnings:
            ctx.world.log_once(tunnel, "warning", "certificate", f"{session.sa.endpoint.remote}: {each}")
        return tunnel, keys
    raise unproven


def _why_unproven(peer: str, who: Identity, tunnels: Sequence[Tunnel], error: Unproven) -> tuple[str, str]:
    """Code and text for a peer that has not proved who it is."""
    origins = [each.connection.origin for each in tunnels]
    if isinstance(error, WithoutPpk):
        return "ppk-mismatch", explain.wrong_ppk(peer, str(error), origins)
    if isinstance(tunnels[0].connection.auth, PreSharedKey):
        ppk_used = any(settings(each).ppk is not None for each in tunnels)
        return "psk-mismatch", explain.wrong_key(peer, who, origins, ppk=ppk_used)
    return "signature-mismatch", explain.wrong_signature(peer, who, str(error), origins)


def _first_pair(
    ctx: Context, session: Session, tunnel: Tunnel, material: Material, chain: Chain
) -> Step[tuple[list[Payload], Pair | None]]:
    """What the answer says of the first pair, and the pair; none was asked for by a childless IKE_AUTH (RFC 6023)."""
    if chain.find(SAPayload) is None:
        return [], None
    try:
        choice, suite, spi_out = child.choose(ctx, session, tunnel, chain, key_exchange=False)
        agreed = child.agree(ctx, session, tunnel, chain)
        spi = yield from reserve_spi(tunnel.connection.iface)
    except WireError as error:
        return [NotifyPayload(int(error.notify), error.data)], None
    except Unanswered as error:
        ctx.world.log("error", tunnel.name, "computation", str(error))
        return [NotifyPayload(NotifyType.NO_ADDITIONAL_SAS)], None
    pair = pairs.make(ctx, session, tunnel, suite, spis=(spi, spi_out), material=material, ours=False)
    return [choice.answer(spi.to_bytes(4, "big")), *agreed], pair


def _reject(
    ctx: Context, session: Session, message: Message, tunnels: Sequence[Tunnel], *, code: str, text: str
) -> None:
    ctx.complain(tunnels, code, text)
    reject(ctx, session, message)


def reject(ctx: Context, session: Session, message: Message) -> None:
    """Tell a peer that is not authenticated no more than that it is not; the answer is kept for its repeats."""
    exchange.answer(ctx, session, message, [NotifyPayload(NotifyType.AUTHENTICATION_FAILED)])
    ending.close(ctx, session, refused=True)


# -- both -------------------------------------------------------------------------------------------------


def establish(ctx: Context, session: Session, tunnel: Tunnel, who: Identity, chain: Chain) -> None:
    """The peer has shown who it is: enter `Established`, and obey what it says beside."""
    now, sa = ctx.world.now, session.sa
    sa.phase = Established(now)
    sa.began = sa.role
    sa.remote_id = who
    session.heard = now
    ctx.contacted.add(sa.endpoint.remote)
    set_lifetime(ctx, session, tunnel)
    if chain.notification(NotifyType.INITIAL_CONTACT) is not None:
        ending.forget_earlier(ctx, session)
    for what, line in explain.weak(session.suite, tunnel.connection.origin):
        ctx.world.log_once(tunnel, "warning", f"weak {what}", line)
    behind = " and ".join([*(["us"] if sa.nat.here else []), *(["the peer"] if sa.nat.there else [])])
    suite = session.suite
    ctx.log(
        session, "ike-up",
        f"IKE SA with {sa.endpoint.remote} ({identities.words(who)}) established as {sa.role}: {suite.encryption} "
        + f"{suite.auth} ".lstrip() + f"prf {suite.prf} {' '.join((suite.group, *suites.rounds(suite)))}"
        + (f", a NAT before {behind}" if behind else ""),
    )  # fmt: skip


def set_lifetime(ctx: Context, session: Session, tunnel: Tunnel) -> None:
    """From now on, as long as the connection says; 0 means for ever."""
    lifetime, sa, now = settings(tunnel).ike_lifetime, session.sa, ctx.world.now
    low, high = REKEY_INITIATOR if session.initiator else REKEY_RESPONDER
    sa.expires = now + lifetime if lifetime else float("inf")
    sa.rekey_at = now + lifetime * (low + (high - low) * fraction(ctx.world.random)) if lifetime else None


def floated(session: Session, tunnel: Tunnel) -> Endpoint:
    """Where what follows IKE_SA_INIT goes: on port 4500 if there is a NAT, or may be one after a move (RFC 4555 §3.3).

    A port of the peer's that a NAT has chosen already stays.
    """
    endpoint, found = session.sa.endpoint, session.sa.nat
    if not found.found and not (settings(tunnel).mobike and found.known):
        return endpoint
    local_port = nat.NAT_T_PORT if endpoint.local_port == nat.IKE_PORT else endpoint.local_port
    remote_port = nat.NAT_T_PORT if endpoint.remote_port == nat.IKE_PORT else endpoint.remote_port
    return Endpoint(endpoint.local, local_port, endpoint.remote, remote_port)
