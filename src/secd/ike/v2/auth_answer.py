"""IKE_AUTH as responder: who is it, has it proved that, and what pair does it ask for?  `auth` has the drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from secd.ike import explain as explain_both
from secd.ike import identities
from secd.ike.connection import PreSharedKey
from secd.ike.crypto.ikev2 import IkeKeys
from secd.ike.steps import Step, Unanswered, reserve_spi
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import (
    child,
    config,
    ending,
    established,
    exchange,
    explain,
    ids,
    mobike,
    pairs,
    ppk,
    proof,
    signing,
)
from secd.ike.v2.context import Context, Message, Session, settings
from secd.ike.v2.pairs import Material, Pair
from secd.ike.v2.proof import Claim, Covered
from secd.ike.v2.signing import CannotSign, Unproven
from secd.ike.v2.state import InitAnswered
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import AuthPayload, IDiPayload, IDrPayload
from secd.ike.wire.ikev2.sa import SAPayload
from secd.sadb.messages import Identity

#: Keys, or sets of authorities, that are tried on one AUTH payload.
MAX_KEYS = 16


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
        code, text = established.why_unproven(message.datagram.remote, who, fitting, error)
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
    established.enter(ctx, session, tunnel, who, chain)
    mobike.note(session, tunnel, chain)
    extra = [*(given or ()), *body, *mobike.supported(tunnel, chain)]
    exchange.answer(ctx, session, message, [own_identity, *own_proofs, *extra])
    if given is None:
        sa.delete_at = ctx.world.now  # or the peer would ask in it for a pair, which then had no address
    if pair is not None:
        _use(ctx, session, tunnel, pair, beside=older)


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
    tried: set[object] = set()
    unproven = Unproven("nobody here could tell")
    for tunnel in tunnels:
        judge = _judge(tunnel)
        if judge in tried:
            continue
        tried.add(judge)
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


def _judge(tunnel: Tunnel) -> object:
    """By what a peer's proof is judged: where it is equal, so is the judgement, which may have its price."""
    auth = tunnel.connection.auth
    by = auth.key if isinstance(auth, PreSharedKey) else (auth.authorities, auth.crls, auth.peer_keys, auth.method)
    return by, settings(tunnel).ppk


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


def _use(ctx: Context, session: Session, tunnel: Tunnel, pair: Pair, *, beside: bool) -> None:
    """Put the first pair in; `beside` an older one, if that has stayed, it is not sent on at once."""
    if beside and ctx.newest_pair(tunnel.name) is not None:
        pairs.hold(ctx, session, pair)
    else:
        pairs.use(ctx, session, pair, after_send=True)
    child.up(ctx, session, tunnel, pair.child)


def _reject(
    ctx: Context, session: Session, message: Message, tunnels: Sequence[Tunnel], *, code: str, text: str
) -> None:
    ctx.complain(tunnels, code, text)
    reject(ctx, session, message)


def reject(ctx: Context, session: Session, message: Message) -> None:
    """Tell a peer that is not authenticated no more than that it is not; the answer is kept for its repeats."""
    exchange.answer(ctx, session, message, [NotifyPayload(NotifyType.AUTHENTICATION_FAILED)])
    ending.close(ctx, session, refused=True)
