"""IKE_AUTH (RFC 7296 §1.2): both sides prove who they are, and make the first pair of ESP SAs.

    initiator                                                  responder
    ---------                                                  ---------
    IDi, [IDr], AUTH, SAi2, TSi, TSr, N(INITIAL_CONTACT)  ->   who is this?  does AUTH agree?
      AuthSent                                            <-   IDr, AUTH, SAr2, TSi, TSr             Established
      does AUTH agree?  Established

With a NAT between, this and all that follows goes from port 4500 to port 4500 (§2.23).  The responder chooses by the
initiator's identity among the rules that were possible by address: each of their keys (16 at most) is tried.  The
pair may fail while the authentication does not: then the IKE SA stands without it, and it is asked for later.

Here is the initiator; the responder is in `auth_answer`, and `established` is what both come to.
"""

from __future__ import annotations

from secd.ike import explain as explain_both
from secd.ike import identities
from secd.ike.steps import Step, reserve_spi
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import (
    child,
    config,
    established,
    exchange,
    explain,
    ids,
    mobike,
    pairs,
    ppk,
    proof,
    redirect,
    selectors,
    signing,
    suites,
)
from secd.ike.v2.context import Context, Message, Session, settings
from secd.ike.v2.pairs import Material
from secd.ike.v2.proof import Claim, Covered
from secd.ike.v2.signing import CannotSign, Unproven
from secd.ike.v2.state import AuthSent, Opening, Transcript
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import ExchangeType, NotifyType, ProtocolId
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import AuthPayload, EAPPayload, IDiPayload, IDrPayload
from secd.ike.wire.ikev2.sa import SAPayload


def begin(ctx: Context, session: Session, tunnel: Tunnel, transcript: Transcript) -> Step[None]:
    """Send IKE_AUTH; the keys stand."""
    connection, wanted, sa = tunnel.connection, settings(tunnel), session.sa
    before = sa.phase
    if wanted.ppk is not None and wanted.ppk.required and not sa.peer.ppk:
        text = explain.no_ppk(sa.endpoint.remote, connection.origin)
        _over(ctx, session, tunnel, "ppk-mismatch", text)
        return
    spi = yield from reserve_spi(connection.iface)
    where = established.floated(session, tunnel)
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
            _refuse_answer(ctx, session, tunnel, *established.why_unproven(peer, who, [tunnel], error))
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
    elsewhere = redirect.followed(ctx, session, tunnel, chain)
    established.enter(ctx, session, tunnel, who, chain)
    if elsewhere:
        session.sa.delete_at = ctx.world.now
        return
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
