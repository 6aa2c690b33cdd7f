"""IKE_SA_INIT (RFC 7296 §1.2): algorithms, key exchange, NAT detection; and the ways out of it into IKE_AUTH.

    initiator                                        responder
    ---------                                        ---------
    SAi1, KEi, Ni, N(NAT_DETECTION..)         ->     choose; is the KE payload for the chosen group?
      InitSent                                <-   SAr1, KEr, Nr, N(NAT_DETECTION..)          InitAnswered
      g^ir, and on to IKE_AUTH

The responder may ask for another group (INVALID_KE_PAYLOAD) or, under load, for proof of the initiator's address
(COOKIE); it keeps nothing then, and the initiator begins again.  All of this is in clear and nobody has shown who
it is: errors are told to people, and at most end the attempt sooner.  What both sides have said is signed later.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from secd.ike.connection import Connection
from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev2 import ike_keys, skeyseed
from secd.ike.endpoint import Endpoint
from secd.ike.steps import Step, encapsulate, key_pair, shared_secret
from secd.ike.tunnel import Tunnel, origin_for
from secd.ike.v2 import between, exchange, explain, natd, redirect, signing, suites
from secd.ike.v2.context import Context, Message, Runner, Session, settings
from secd.ike.v2.cookies import ASK, ASK_EACH, MOST, MOST_EACH, Cookies, load
from secd.ike.v2.state import IkeSA, InitAnswered, InitSent, Nat, Opening, Peer, Starting, Transcript
from secd.ike.v2.suites import Choice
from secd.ike.wire import vendorids
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, NotifyType, ProtocolId, TransformType
from secd.ike.wire.ikev2.message import NO_SPI, Chain, Header, encode_message
from secd.ike.wire.ikev2.notify import NotifyPayload, group_data, parse_cookie, parse_group, parse_hashes
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import KEPayload, NoncePayload, VendorIDPayload
from secd.ike.wire.ikev2.sa import SAPayload

#: Seconds until an unfinished IKE SA is given up, as initiator (the last repeat included) and as responder, and
#: after somebody, who need not be the peer, has said that it will come to nothing.
INITIATOR_LIMIT = 75.0
RESPONDER_LIMIT = 40.0
REFUSED_LIMIT = 10.0
#: How often one attempt may begin again, with another group or a cookie.
MAX_STARTS = 6
NONCE_OCTETS = 32
VENDOR = b"secd"


# -- initiator --------------------------------------------------------------------------------------------


def start(ctx: Context, runner: Runner, tunnel: Tunnel, endpoint: Endpoint, *, replaces: bool = False) -> None:
    """Begin an IKE SA with the peer at `endpoint`; `replaces`: another one of the tunnel still carries it."""
    now = ctx.world.now
    endpoint, sent_by = redirect.taken(ctx, tunnel, endpoint)
    first_contact = not replaces and endpoint.remote not in ctx.contacted
    ctx.contacted.add(endpoint.remote)
    local = endpoint.local or ctx.locals.get(endpoint.remote, "")
    session = ctx.add(
        IkeSA(
            spi_i=ctx.new_spi(),
            spi_r=NO_SPI,
            role="initiator",
            tunnel=tunnel.name,
            fingerprint=tunnel.fingerprint,
            endpoint=Endpoint(local, endpoint.local_port, endpoint.remote, endpoint.remote_port),
            created=now,
            expires=now + INITIATOR_LIMIT,
            phase=Starting(),
            initial_contact=first_contact,
            replaces=replaces,
        )
    )
    offered = suites.ike_alternatives(settings(tunnel).ikesa)
    first = suites.group_name(offered[0][TransformType.KE][0].id)
    runner.begin(session, "request", _open(ctx, session, tunnel, InitSent(b"", first, b"", b"", sent_by=sent_by)))


def _open(ctx: Context, session: Session, tunnel: Tunnel, state: InitSent) -> Step[None]:
    """Make a key pair for `state.group` and send the first message."""
    pair = yield from key_pair(state.group, ctx.world.random(group(state.group).seed_octets))
    state.private, state.public = pair.private, pair.public
    state.nonce = ctx.world.random(NONCE_OCTETS)
    if isinstance(session.sa.phase, Starting | InitSent):
        _send(ctx, session, tunnel, state)


def _send(ctx: Context, session: Session, tunnel: Tunnel, state: InitSent) -> None:
    wanted, sa = settings(tunnel), session.sa
    payloads: list[Payload] = [NotifyPayload(NotifyType.COOKIE, state.cookie)] if state.cookie else []
    payloads += [
        suites.offer(ProtocolId.IKE, b"", suites.ike_alternatives(wanted.ikesa)),
        KEPayload(group(state.group).number, state.public),
        NoncePayload(state.nonce),
    ]
    if tunnel.connection.natt or wanted.force_natt:
        payloads += natd.payloads(ctx, sa, sa.endpoint, force=wanted.force_natt)
    payloads += [*redirect.supported(tunnel, state.sent_by), *_abilities([tunnel], None)]
    sa.phase = state
    sa.request = None
    exchange.request_plain(ctx, session, payloads, Opening())


def take_answer(ctx: Context, session: Session, message: Message) -> Step[None]:
    """The responder's choice, or what it wants otherwise."""
    state, tunnel = session.sa.phase, _tunnel(ctx, session)
    if not isinstance(state, InitSent):
        raise WireError("does not fit the exchange any more")
    chain = message.clear()
    if chain.find(SAPayload) is None:
        if redirect.followed(ctx, session, tunnel, chain, state.nonce):
            ctx.remove(session)
            return
        yield from _begin_again(ctx, session, tunnel, state, chain)
        return
    choice = suites.chosen_by_peer(
        chain.one(SAPayload), ProtocolId.IKE, suites.ike_alternatives(settings(tunnel).ikesa)
    )
    suite, ke = suites.ike_suite(choice.transforms), chain.one(KEPayload)
    if message.header.responder_spi == NO_SPI:
        raise WireError("an answer without the responder's SPI", NotifyType.INVALID_SYNTAX)
    if suite.group != state.group or ke.group != group(state.group).number:
        raise WireError(f"group {suite.group} was chosen, a public value was sent for {state.group}")
    sa = session.sa
    found = _detect(sa, chain, message.endpoint, tunnel.connection, spi_r=message.header.responder_spi)
    if not sa.endpoint.local and found.known and not found.found:
        _with_address(ctx, session, tunnel, state, message)
        return
    nonce = chain.one(NoncePayload).data
    secret = yield from shared_secret(suite.group, state.private, ke.data)
    request = session.sa.request
    if request is None or session.sa.phase is not state:
        return
    sa.spi_r, sa.suite = message.header.responder_spi, suite
    _derive(session, secret, state.nonce, nonce)
    sa.nat = found
    sa.endpoint = replace(sa.endpoint, local=message.datagram.local)
    sa.peer = _peer(chain, settings(tunnel).fragmentation)
    ctx.remember_local(message.datagram.remote, message.datagram.local)
    transcript = Transcript(request.sent[0], message.data, state.nonce, nonce)
    if suites.rounds(suite) and not sa.peer.intermediate:
        raise WireError("additional key exchanges were chosen, without IKE_INTERMEDIATE", NotifyType.INVALID_SYNTAX)
    yield from between.begin(ctx, session, tunnel, transcript)


def _with_address(ctx: Context, session: Session, tunnel: Tunnel, state: InitSent, message: Message) -> None:
    """Only now do we know our own address, so the peer has seen a NAT where there is none: begin again."""
    ctx.remember_local(message.datagram.remote, message.datagram.local)
    where = session.sa.endpoint
    session.sa.endpoint = Endpoint(message.datagram.local, where.local_port, where.remote, where.remote_port)
    ctx.remove(session)
    renewed = ctx.add(replace(session.sa, spi_i=ctx.new_spi()))
    state.starts += 1
    _send(ctx, renewed, tunnel, state)


def _begin_again(ctx: Context, session: Session, tunnel: Tunnel, state: InitSent, chain: Chain) -> Step[None]:
    """Another group, a cookie, or a refusal, which anybody may have sent."""
    cookie = chain.notification(NotifyType.COOKIE)
    wanted = chain.notification(NotifyType.INVALID_KE_PAYLOAD)
    if state.starts >= MAX_STARTS:
        return
    if cookie is not None:
        state.cookie = parse_cookie(cookie)
        state.starts += 1
        _send(ctx, session, tunnel, state)
    elif wanted is not None:
        name = suites.group_name(parse_group(wanted))
        ours = explain.groups_of(suites.ike_alternatives(settings(tunnel).ikesa))
        if name in ours and name != state.group:
            yield from _open(ctx, session, tunnel, replace(state, group=name, starts=state.starts + 1, refusal=""))
        elif name not in ours:
            text = explain.group_refused(session.sa.endpoint.remote, name, ours, tunnel.connection.origin)
            _discouraged(ctx, session, tunnel, "proposal-mismatch", text)
    elif chain.errors:
        _explain_refusal(ctx, session, tunnel, chain.errors[0])


def _explain_refusal(ctx: Context, session: Session, tunnel: Tunnel, error: NotifyPayload) -> None:
    peer, origin = session.sa.endpoint.remote, tunnel.connection.origin
    if error.notify_type == NotifyType.NO_PROPOSAL_CHOSEN:
        offered = suites.ike_alternatives(settings(tunnel).ikesa)
        text = explain.offer_refused(peer, offered, origin, "ikesa")
        _discouraged(ctx, session, tunnel, "proposal-mismatch", text)
    else:
        text = explain.refusal(peer, error.notify_type, "IKE_SA_INIT")
        _discouraged(ctx, session, tunnel, "init-refused", text)


def _discouraged(ctx: Context, session: Session, tunnel: Tunnel, code: str, text: str) -> None:
    """Somebody says that this attempt comes to nothing; it may be wrong, but not for long."""
    ctx.complain([tunnel], code, text)
    if isinstance(session.sa.phase, InitSent):
        session.sa.phase.refusal = text
    session.sa.expires = min(session.sa.expires, ctx.world.now + REFUSED_LIMIT)
    ctx.touch(session)


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, runner: Runner, cookies: Cookies, message: Message) -> None:
    """The first message of a stranger: see whether there is anything in it for us, and begin to answer."""
    where = message.endpoint
    chain = message.clear()
    offer, ke, nonce = chain.one(SAPayload), chain.one(KEPayload), chain.one(NoncePayload).data
    in_all, from_there = load(ctx, where.remote)
    if in_all >= ASK or from_there >= ASK_EACH:
        cookie = chain.notification(NotifyType.COOKIE)
        if cookie is None or not cookies.accepts(message, nonce, cookie.data):
            _refuse(ctx, message, NotifyPayload(NotifyType.COOKIE, cookies.make(message, nonce)))
            return
    candidates = candidates_for(ctx, where)
    choice = _acceptable(offer, ke, candidates)
    intermediate = chain.notification(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is not None
    if choice is None or (suites.rounds(suites.ike_suite(choice.transforms)) and not intermediate):
        _explain_offer(ctx, where, offer, candidates)
        _refuse(ctx, message, NotifyPayload(NotifyType.NO_PROPOSAL_CHOSEN))
        return
    chosen = next((each.id for each in choice.transforms if each.type == TransformType.KE), 0)
    if ke.group != chosen:
        _refuse(ctx, message, NotifyPayload(NotifyType.INVALID_KE_PAYLOAD, group_data(chosen)))
        return
    if in_all >= MOST or from_there >= MOST_EACH:
        ctx.world.log_stranger(
            "warning", "half-open",
            f"IKE_SA_INIT from {where.remote} is not answered: {from_there} unfinished ones are from there (limit "
            f"{MOST_EACH}), {in_all} in all (limit {MOST})",
        )  # fmt: skip
        return
    now = ctx.world.now
    session = ctx.add(
        IkeSA(
            spi_i=message.header.initiator_spi,
            spi_r=ctx.new_spi(),
            role="responder",
            tunnel="",
            fingerprint=b"",
            endpoint=where,
            created=now,
            expires=now + RESPONDER_LIMIT,
            phase=Starting(),
        )
    )
    willing = [each for each in candidates if _acceptable(offer, ke, [each]) is not None]
    runner.begin(session, "answer", _answer(ctx, session, message, chain, choice=choice, candidates=willing))


def _answer(
    ctx: Context, session: Session, message: Message, chain: Chain, *, choice: Choice, candidates: Sequence[Tunnel]
) -> Step[None]:
    suite, sa = suites.ike_suite(choice.transforms), session.sa
    nonce_i, nonce_r = chain.one(NoncePayload).data, ctx.world.random(NONCE_OCTETS)
    seed = ctx.world.random(group(suite.group).seed_octets)
    made = yield from encapsulate(suite.group, seed, chain.one(KEPayload).data)
    if not isinstance(sa.phase, Starting):
        return
    first = candidates[0].connection
    wanted = settings(candidates[0])
    sa.suite = suite
    _derive(session, made.secret, nonce_i, nonce_r)
    sa.nat = _detect(sa, chain, message.endpoint, first, spi_r=NO_SPI)
    sa.peer = _peer(chain, wanted.fragmentation)
    payloads: list[Payload] = [
        choice.answer(b""),
        KEPayload(group(suite.group).number, made.public),
        NoncePayload(nonce_r),
    ]
    if sa.nat.known:
        payloads += natd.payloads(ctx, sa, message.endpoint, force=wanted.force_natt)
    payloads += _abilities(candidates, chain)
    response = exchange.answer_plain(ctx, session, message, payloads)
    sa.phase = InitAnswered(Transcript(message.data, response, nonce_i, nonce_r), [each.name for each in candidates])


def candidates_for(ctx: Context, where: Endpoint) -> list[Tunnel]:
    """The tunnels that a message from there may be meant for, the last one first (iked.conf: last match wins)."""
    fitting = [
        each
        for each in ctx.world.tunnels.values()
        if each.connection.version == 2
        and each.connection.local in (None, where.local)
        and each.connection.peer in (None, where.remote)
        and suites.ike_alternatives(settings(each).ikesa)
    ]
    return fitting[::-1]


def _acceptable(offer: SAPayload, ke: KEPayload, candidates: Sequence[Tunnel]) -> Choice | None:
    alternatives = [allowed for each in candidates for allowed in suites.ike_alternatives(settings(each).ikesa)]
    return suites.choose(offer, ProtocolId.IKE, alternatives, group=ke.group)


def _explain_offer(ctx: Context, where: Endpoint, offer: SAPayload, candidates: Sequence[Tunnel]) -> None:
    if not candidates:
        tunnels = ctx.world.tunnels
        rule = origin_for(tunnels.values(), where.remote, version=1)
        text = explain.no_connection(where.local, where.remote, loaded=bool(tunnels), rule=rule)
        ctx.world.log_stranger("warning", "no-connection", text)
        return
    accepted = [allowed for each in candidates for allowed in suites.ike_alternatives(settings(each).ikesa)]
    origins = ", ".join(dict.fromkeys(each.connection.origin for each in candidates))
    text = explain.no_proposal(where.remote, offer, accepted, origins, "ikesa")
    ctx.complain(candidates, "proposal-mismatch", text)


def _refuse(ctx: Context, message: Message, notification: NotifyPayload) -> None:
    """Answer without keeping anything."""
    header = Header(message.header.initiator_spi, NO_SPI, ExchangeType.IKE_SA_INIT, Flag.RESPONSE, 0)
    ctx.send(message.endpoint, encode_message(header, [notification]))


# -- both -------------------------------------------------------------------------------------------------


def _derive(session: Session, secret: bytes, nonce_i: bytes, nonce_r: bytes) -> None:
    seed = skeyseed(session.prf, nonce_i, nonce_r, secret)
    sa = session.sa
    sa.keys = ike_keys(session.prf, session.cipher, seed, ni=nonce_i, nr=nonce_r, spi_i=sa.spi_i, spi_r=sa.spi_r)


def _detect(sa: IkeSA, chain: Chain, where: Endpoint, connection: Connection, spi_r: bytes | None = None) -> Nat:
    forced = connection.ikev2 is not None and connection.ikev2.force_natt
    if not connection.natt and not forced:
        return Nat()
    return natd.detect(sa, chain, where, force=forced, spi_r=spi_r)


def _abilities(tunnels: Sequence[Tunnel], asked: Chain | None) -> list[Payload]:
    """What we can do; in an answer, only where the initiator has said that it can."""

    def both(kind: NotifyType) -> bool:
        return asked is None or asked.notification(kind) is not None

    payloads: list[Payload] = []
    wanted = settings(tunnels[0])
    if wanted.fragmentation and both(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED):
        payloads.append(NotifyPayload(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED))
    if _additional(tunnels) and both(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED):
        payloads.append(NotifyPayload(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED))
    if any(settings(each).ppk is not None for each in tunnels) and both(NotifyType.USE_PPK):
        payloads.append(NotifyPayload(NotifyType.USE_PPK))
    if both(NotifyType.SIGNATURE_HASH_ALGORITHMS):
        payloads += signing.hashes(tunnels)
    if asked is not None:
        payloads.append(NotifyPayload(NotifyType.CHILDLESS_IKEV2_SUPPORTED))
        payloads += signing.requests(tunnels)
    if wanted.vendorid:
        payloads.append(VendorIDPayload(VENDOR))
    return payloads


def _additional(tunnels: Sequence[Tunnel]) -> bool:
    """Whether any of them has additional key exchanges."""
    return any(proposal.additional for each in tunnels for proposal in settings(each).ikesa)


def _peer(chain: Chain, fragmentation: bool) -> Peer:
    """What the peer can do."""
    hashes = chain.notification(NotifyType.SIGNATURE_HASH_ALGORITHMS)
    announced = [each.data for each in chain.all(VendorIDPayload)]
    return Peer(
        vendor="secd" if VENDOR in announced else vendorids.product(announced),
        fragmentation=fragmentation and chain.notification(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) is not None,
        intermediate=chain.notification(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is not None,
        ppk=chain.notification(NotifyType.USE_PPK) is not None,
        hashes=list(parse_hashes(hashes)) if hashes is not None else [],
    )


def _tunnel(ctx: Context, session: Session) -> Tunnel:
    tunnel = ctx.tunnel(session)
    if tunnel is None:
        raise WireError("the tunnel is no longer configured")
    return tunnel
