"""CREATE_CHILD_SA for the IKE SA itself (RFC 7296 §1.3.2, §2.18): new keys, and the pairs move to them.

    initiator                       responder
    ---------                       ---------
    SAi (new SPI), Ni, KEi    ->    make the new IKE SA; the old one goes on
                              <-    SAr (new SPI), Nr, KEr
      the new IKE SA has the pairs
    D(the old one)            ->    so it does here

If both sides do it at once there are two new ones; that of the exchange with the lowest of the four nonces is deleted
by the side that made it, and the other side deletes the old one (§2.8.2).  A side that learns of the other's
exchange too late refuses it with TEMPORARY_FAILURE, as it does while it makes or ends pairs (§2.25.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev2 import ike_keys, skeyseed_rekey
from secd.ike.crypto.ikev2_ciphers import message_cipher
from secd.ike.crypto.prfs import prf_named
from secd.ike.endpoint import Role
from secd.ike.retransmission import jitter
from secd.ike.steps import Step, key_pair, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import ending, established, exchange, explain, followup, suites
from secd.ike.v2.child import NONCE_OCTETS, OVERDUE, REFUSED, TEMPORARY, code_of
from secd.ike.v2.context import Context, Message, Session, settings
from secd.ike.v2.followup import Answer
from secd.ike.v2.pairs import Material
from secd.ike.v2.state import (
    CreateChild,
    DeleteChildren,
    DeleteIke,
    Established,
    Followup,
    IkeSA,
    Pending,
    RekeyIke,
)
from secd.ike.v2.suites import Choice, IkeSuite
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import SPI_OCTETS
from secd.ike.wire.ikev2.iana import ExchangeType, NotifyType, ProtocolId, TransformType
from secd.ike.wire.ikev2.message import NO_SPI, Chain
from secd.ike.wire.ikev2.notify import NotifyPayload, parse_group
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import KEPayload, NoncePayload
from secd.ike.wire.ikev2.sa import SAPayload


@dataclass(frozen=True, slots=True)
class Agreed:
    """What both sides have agreed on; `spi` is the peer's of the new IKE SA."""

    spi: bytes
    suite: IkeSuite
    material: Material

    @property
    def lowest(self) -> bytes:
        """The lowest nonce of the exchange."""
        return min(self.material.ni, self.material.nr)


def wanted_by(chain: Chain) -> bool:
    """Whether a CREATE_CHILD_SA request is for the IKE SA."""
    offer = chain.find(SAPayload)
    return offer is not None and any(each.protocol == ProtocolId.IKE for each in offer.proposals)


# -- initiator --------------------------------------------------------------------------------------------


def start(ctx: Context, session: Session, tunnel: Tunnel, group_name: str = "") -> Step[None]:
    """Ask for new keys; `group_name`: what the peer wants."""
    offered = suites.ike_alternatives(settings(tunnel).ikesa)
    name = group_name or suites.group_name(offered[0][TransformType.KE][0].id)
    pair = yield from key_pair(name, ctx.world.random(group(name).seed_octets))
    sa = session.sa
    if not sa.established or sa.request is not None or sa.successor or sa.delete_at is not None:
        return
    spi, nonce = ctx.new_spi(), ctx.world.random(NONCE_OCTETS)
    payloads = [
        suites.offer(ProtocolId.IKE, spi, offered),
        NoncePayload(nonce),
        KEPayload(group(name).number, pair.public),
    ]
    purpose = RekeyIke(spi, nonce, name, pair.private, pair.public)
    exchange.request(ctx, session, ExchangeType.CREATE_CHILD_SA, payloads, purpose)


def take_answer(ctx: Context, session: Session, tunnel: Tunnel, purpose: RekeyIke, chain: Chain) -> Step[None]:
    """The peer's choice, or its refusal; or its half of an additional key exchange."""
    if chain.errors and chain.find(KEPayload) is None and chain.find(SAPayload) is None:
        _refused(ctx, session, tunnel, purpose, chain)
        return
    if purpose.followup is not None:
        known = yield from followup.take_answer(purpose.followup, chain)
    else:
        known = yield from _take_choice(tunnel, purpose, chain)
    if not (yield from followup.go_on(ctx, session, purpose, known, chain)) or known.ike is None:
        return
    first, *additional = known.secrets
    material = Material(purpose.nonce, known.nonce, first, tuple(additional))
    finish(ctx, session, tunnel, purpose, Agreed(known.spi, known.ike, material))


def _take_choice(tunnel: Tunnel, purpose: RekeyIke, chain: Chain) -> Step[Followup]:
    """What the peer has chosen, with the secret of the first key exchange."""
    offered = suites.ike_alternatives(settings(tunnel).ikesa)
    choice = suites.chosen_by_peer(chain.one(SAPayload), ProtocolId.IKE, offered)
    suite, ke = suites.ike_suite(choice.transforms), chain.one(KEPayload)
    if suite.group != purpose.group or ke.group != group(suite.group).number:
        raise WireError(f"group {suite.group} was chosen, a public value was sent for {purpose.group}")
    nonce, spi_r = chain.one(NoncePayload).data, _spi(choice)
    secret = yield from shared_secret(suite.group, purpose.private, ke.data)
    return Followup(0, spi_r, nonce, [secret], ike=suite)


def finish(ctx: Context, session: Session, tunnel: Tunnel, purpose: RekeyIke, agreed: Agreed) -> None:
    """Our exchange is over: the new IKE SA takes over, unless the peer's new one is the one that stays."""
    if session.sa.request is None or session.sa.request.purpose is not purpose:
        return
    session.sa.request = None
    renewed = _renewed(ctx, session, tunnel, (purpose.spi, agreed.spi), agreed)
    rival = ctx.sessions.get(purpose.rival)
    if rival is not None and isinstance(rival.sa.phase, Established):
        if agreed.lowest < rival.sa.phase.rekeyed:
            renewed.sa.delete_at = ctx.world.now
            session.sa.successor = rival.id
            session.sa.delete_at = ctx.world.now + OVERDUE  # the peer does, or we
            ctx.log(renewed, "ike-redundant", "the peer has renewed the IKE SA at the same time, and its stays")
            ctx.touch(session)
            return
        rival.sa.delete_at = ctx.world.now + OVERDUE
        ctx.touch(rival)
    ending.adopt(ctx, session, renewed)
    session.sa.delete_at = ctx.world.now
    _tell(ctx, renewed)


def _refused(ctx: Context, session: Session, tunnel: Tunnel, purpose: RekeyIke, chain: Chain) -> None:
    sa, now = session.sa, ctx.world.now
    sa.request = None
    ctx.touch(session)
    if purpose.rival:  # the peer knew nothing of our exchange when it made its own (RFC 7296 §2.8.2)
        sa.successor = purpose.rival
        sa.delete_at = now + OVERDUE
        return
    error = chain.errors[0] if chain.errors else NotifyPayload(NotifyType.INVALID_SYNTAX)
    peer, origin, kind = sa.endpoint.remote, tunnel.connection.origin, error.notify_type
    offered = suites.ike_alternatives(settings(tunnel).ikesa)
    if kind == NotifyType.TEMPORARY_FAILURE:
        sa.rekey_at = now + jitter(ctx.world.random, TEMPORARY)
        return
    if kind == NotifyType.INVALID_KE_PAYLOAD:
        name, ours = suites.group_name(parse_group(error)), explain.groups_of(offered)
        if name in ours and name != purpose.group:
            session.ike_group = name
            sa.rekey_at = now
            return
        text = explain.group_refused(peer, name, ours, origin)
    elif kind == NotifyType.NO_PROPOSAL_CHOSEN:
        text = explain.offer_refused(peer, offered, origin, "ikesa")
    else:
        text = explain.refusal(peer, kind, "new keys for the IKE SA")
    ctx.world.log_once(tunnel, "error", code_of(kind), text)
    sa.rekey_at = now + jitter(ctx.world.random, REFUSED)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, session: Session, tunnel: Tunnel, message: Message, chain: Chain) -> Step[None]:
    """The peer asks for new keys.  What is not acceptable is a `WireError`, which becomes the answer."""
    _check(session)
    offer, ke, nonce_i = chain.one(SAPayload), chain.one(KEPayload), chain.one(NoncePayload).data
    accepted = suites.ike_alternatives(settings(tunnel).ikesa)
    choice = suites.choose(offer, ProtocolId.IKE, accepted, group=ke.group)
    if choice is None:
        peer, origin = session.sa.endpoint.remote, tunnel.connection.origin
        text = explain.no_proposal(peer, offer, accepted, origin, "ikesa")
        ctx.world.log_once(tunnel, "error", "proposal-mismatch", text)
        raise WireError("no proposal is acceptable", NotifyType.NO_PROPOSAL_CHOSEN)
    suite, spi_i = suites.ike_suite(choice.transforms), _spi(choice)
    answer, secret = yield from followup.key_exchange(ctx, suite.group, ke)
    _check(session)  # what was so before the question need not be so now
    spi_r, nonce_r = ctx.new_spi(), ctx.world.random(NONCE_OCTETS)
    body: list[Payload] = [choice.answer(spi_r), NoncePayload(nonce_r), answer]
    pending = Pending(Followup(0, spi_i, nonce_i, [secret], ike=suite), spi_r, nonce_r)
    if suites.rounds(suite):
        body.append(followup.keep(ctx, session, pending))
        exchange.answer(ctx, session, message, body)
    else:
        respond_last(ctx, session, tunnel, pending, Answer(message, body))


def respond_last(ctx: Context, session: Session, tunnel: Tunnel, pending: Pending, last: Answer) -> None:
    """Nothing is left to be exchanged: make the new IKE SA, and answer under the old one."""
    known = pending.agreed
    if known.ike is None:
        raise WireError("nothing was agreed on for an IKE SA", NotifyType.STATE_NOT_FOUND)
    _check(session)
    session.sa.pending = None
    first, *additional = known.secrets
    agreed = Agreed(known.spi, known.ike, Material(known.nonce, pending.own_nonce, first, tuple(additional)))
    exchange.answer(ctx, session, last.message, last.body)
    renewed = _renewed(ctx, session, tunnel, (known.spi, pending.own_spi), agreed)
    request = session.sa.request
    if request is not None and isinstance(request.purpose, RekeyIke):
        request.purpose.rival = renewed.id
    else:
        session.sa.successor = renewed.id
        session.sa.delete_at = ctx.world.now + OVERDUE  # the peer does, or we
    _tell(ctx, renewed)


def confirm(ctx: Context, session: Session) -> None:
    """The peer has said something under new keys, so it has our answer: they take over, if they have not yet."""
    phase = session.sa.phase
    if isinstance(phase, Established) and not phase.confirmed:
        for old in ctx.of(session.sa.tunnel):
            if old.sa.successor == session.id:
                ending.adopt(ctx, old, session)


def _check(session: Session) -> None:
    """Whether we can do now what the peer asks (RFC 7296 §2.25.2)."""
    sa = session.sa
    purpose = sa.request.purpose if sa.request is not None else None
    busy = isinstance(purpose, CreateChild | DeleteChildren | DeleteIke)
    rival = isinstance(purpose, RekeyIke) and bool(purpose.rival)
    if busy or rival or sa.successor or sa.delete_at is not None or not sa.established:
        raise WireError("pairs or the IKE SA are being made or deleted", NotifyType.TEMPORARY_FAILURE)


# -- both -------------------------------------------------------------------------------------------------


def _renewed(ctx: Context, old: Session, tunnel: Tunnel, spis: tuple[bytes, bytes], agreed: Agreed) -> Session:
    """The IKE SA with the new keys, established; the old one's PRF and SK_d make its SKEYSEED (RFC 7296 §2.18)."""
    now, sa, suite, material = ctx.world.now, old.sa, agreed.suite, agreed.material
    role: Role = "responder" if agreed.spi == spis[0] else "initiator"
    prf, cipher = prf_named(suite.prf), message_cipher(suite.cipher, suite.bits, suite.auth)
    ni, nr = material.ni, material.nr
    seed = skeyseed_rekey(old.prf, old.keys.sk_d, ni=ni, nr=nr, g_ir=material.secret, additional=material.additional)
    renewed = ctx.add(
        IkeSA(
            spi_i=spis[0],
            spi_r=spis[1],
            role=role,
            tunnel=sa.tunnel,
            fingerprint=sa.fingerprint,
            endpoint=sa.endpoint,
            created=now,
            expires=float("inf"),
            phase=Established(now, confirmed=role == "initiator", rekeyed=agreed.lowest),
            suite=suite,
            keys=ike_keys(prf, cipher, seed, ni=ni, nr=nr, spi_i=spis[0], spi_r=spis[1]),
            nat=sa.nat,
            peer=sa.peer,
            local_id=sa.local_id,
            remote_id=sa.remote_id,
            assigned=sa.assigned,
            provided=sa.provided,
            began=sa.began,
        )
    )
    established.set_lifetime(ctx, renewed, tunnel)
    return renewed


def _tell(ctx: Context, session: Session) -> None:
    tunnel = ctx.tunnel(session)
    if tunnel is not None:
        tunnel.last_rekey = ctx.world.now
    suite = session.suite
    auth_words = f" {suite.auth}" if suite.auth else ""
    ctx.log(
        session, "ike-rekeyed", f"new keys for the IKE SA: {suite.encryption}{auth_words} prf {suite.prf} {suite.group}"
    )


def _spi(choice: Choice) -> bytes:
    if len(choice.spi) != SPI_OCTETS or choice.spi == NO_SPI:
        raise WireError(f"SPI 0x{choice.spi.hex()} of an IKE SA", NotifyType.INVALID_SYNTAX)
    return choice.spi
