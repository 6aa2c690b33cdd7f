"""CREATE_CHILD_SA for a pair of ESP SAs (RFC 7296 §1.3.1, §1.3.3): another one, or one in place of an older.

    initiator                                        responder
    ---------                                        ---------
    [N(REKEY_SA)], SAi, Ni, [KEi], TSi, TSr   ->     choose, reserve an SPI, install inbound
                                              <-   SAr, Nr, [KEr], TSi, TSr
      install both; D(the older)              ->     install outbound, D(the older)

If both sides renew the same pair at once, each answers the other and learns so of both new pairs.  That of the exchange
with the lowest of the four nonces is one too many, and is deleted by the side that made it; the other
side deletes the older pair (§2.8.1).  A side that learns of the other's exchange too late refuses it (§2.25.1):
CHILD_SA_NOT_FOUND if it has no such pair any more, TEMPORARY_FAILURE if it is about to delete it.
"""

from __future__ import annotations

from secd.ike.crypto.groups import group
from secd.ike.retransmission import jitter
from secd.ike.steps import Step, key_pair, reserve_spi, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import exchange, explain, followup, pairs, selectors, suites
from secd.ike.v2.context import Context, Message, Session, settings
from secd.ike.v2.followup import Answer
from secd.ike.v2.pairs import Material, Pair
from secd.ike.v2.state import Child, CreateChild, Followup, Pending, RekeyIke
from secd.ike.v2.suites import Alternatives, Choice, EspSuite
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import name_of
from secd.ike.wire.ikev2.iana import ExchangeType, NotifyType, ProtocolId, TransformType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload, parse_group
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.payloads import KEPayload, NoncePayload
from secd.ike.wire.ikev2.sa import SAPayload
from secd.ike.wire.ikev2.ts import TSiPayload, TSrPayload

NONCE_OCTETS = 32
#: Seconds after which something is tried again that the peer could not do just now, or refused.
TEMPORARY = 5.0
REFUSED = 60.0
#: Seconds after which we end a pair ourselves that the peer should have ended.
OVERDUE = 30.0


# -- initiator --------------------------------------------------------------------------------------------


def start(
    ctx: Context, session: Session, tunnel: Tunnel, replaces: int = 0, group_name: str | None = None
) -> Step[None]:
    """Ask for a pair; `replaces`: our inbound SPI of the one to be renewed.  `group_name`: what the peer wants."""
    offered = alternatives(tunnel, key_exchange=True)
    if not offered:
        tunnel.failed(f"no `childsa` at {tunnel.connection.origin} can be used", ctx.world.now, ctx.world.random)
        return
    name = _first_group(offered) if group_name is None else group_name
    spi = yield from reserve_spi(tunnel.connection.iface)
    private = public = b""
    if name:
        pair = yield from key_pair(name, ctx.world.random(group(name).seed_octets))
        private, public = pair.private, pair.public
    old = pairs.find(ctx, tunnel.name, spi_in=replaces)
    if not _may_ask(session) or (replaces and (old is None or not _renewable(old[1]))):
        return
    nonce = ctx.world.random(NONCE_OCTETS)
    payloads: list[Payload] = []
    if replaces:
        spi_octets = replaces.to_bytes(4, "big")
        payloads.append(NotifyPayload(NotifyType.REKEY_SA, protocol=ProtocolId.ESP, spi=spi_octets))
    payloads += [suites.offer(ProtocolId.ESP, spi.to_bytes(4, "big"), offered), NoncePayload(nonce)]
    if public:
        payloads.append(KEPayload(group(name).number, public))
    payloads += selectors.offer(settings(tunnel).families)
    purpose = CreateChild(spi, nonce, name, private, public, replaces)
    exchange.request(ctx, session, ExchangeType.CREATE_CHILD_SA, payloads, purpose)


def take_answer(ctx: Context, session: Session, tunnel: Tunnel, purpose: CreateChild, chain: Chain) -> Step[None]:
    """The peer's choice, or its refusal; or its half of an additional key exchange."""
    if chain.errors and chain.find(KEPayload) is None and chain.find(SAPayload) is None:
        _refused(ctx, session, tunnel, purpose, chain)
        return
    if purpose.followup is not None:
        agreed = yield from followup.take_answer(purpose.followup, chain)
    else:
        agreed = yield from _take_choice(ctx, session, tunnel, purpose, chain)
    if not (yield from followup.go_on(ctx, session, purpose, agreed, chain)) or agreed.esp is None:
        return
    first, *additional = agreed.secrets
    material = Material(purpose.nonce, agreed.nonce, first, tuple(additional))
    spis = (purpose.spi, int.from_bytes(agreed.spi, "big"))
    made = pairs.make(ctx, session, tunnel, agreed.esp, spis=spis, material=material, ours=True)
    finish(ctx, session, tunnel, purpose, made)


def _take_choice(ctx: Context, session: Session, tunnel: Tunnel, purpose: CreateChild, chain: Chain) -> Step[Followup]:
    """What the peer has chosen, with the secret of the key exchange, if there is one."""
    suite, spi_out = accept(ctx, session, tunnel, chain, key_exchange=True)
    nonce = chain.one(NoncePayload).data
    secret = b""
    if suite.group:
        ke = chain.one(KEPayload)
        if suite.group != purpose.group or ke.group != group(suite.group).number:
            raise WireError(f"group {suite.group} was chosen, a public value was sent for {purpose.group or 'none'}")
        secret = yield from shared_secret(suite.group, purpose.private, ke.data)
    return Followup(0, spi_out.to_bytes(4, "big"), nonce, [secret], suite)


def finish(ctx: Context, session: Session, tunnel: Tunnel, purpose: CreateChild, made: Pair) -> None:
    """Our exchange is over: use the new pair and end the older one, unless the peer's new pair is what stays."""
    if session.sa.request is None or session.sa.request.purpose is not purpose:
        return
    session.sa.request = None
    old = pairs.find(ctx, tunnel.name, spi_in=purpose.replaces)
    rival = pairs.find(ctx, tunnel.name, spi_in=purpose.rival)
    if rival is not None and rival[1].gone_at is None and made.child.lowest < rival[1].lowest:
        pairs.hold(ctx, session, made, redundant=True)
        ctx.log(
            session, "child-redundant", f"{_words(made.child)}: the peer has renewed at the same time, and its stays"
        )
        made.child.delete_at = ctx.world.now
        if old is not None:
            old[1].replaced = True
        return
    pairs.use(ctx, session, made)
    if old is not None:
        pairs.end(ctx, *old)
    if rival is not None and rival[1].gone_at is None:
        rival[1].replaced = True  # the peer ends it; if not, we do
        rival[1].outbound = rival[1].activate_at = rival[1].rekey_at = None
        rival[1].check_at = ctx.world.now + OVERDUE
        ctx.touch(rival[0])
    up(ctx, session, tunnel, made.child)


def _may_ask(session: Session) -> bool:
    sa = session.sa
    return sa.established and sa.request is None and not sa.successor and sa.delete_at is None


def _renewable(child: Child) -> bool:
    return not child.replaced and child.delete_at is None and child.gone_at is None


def _first_group(offered: list[Alternatives]) -> str:
    methods = offered[0].get(TransformType.KE, ())
    return suites.group_name(methods[0].id) if methods and methods[0].id else ""


def _refused(ctx: Context, session: Session, tunnel: Tunnel, purpose: CreateChild, chain: Chain) -> None:
    session.sa.request = None
    ctx.touch(session)
    error = chain.errors[0] if chain.errors else NotifyPayload(NotifyType.INVALID_SYNTAX)
    kind, old = error.notify_type, pairs.find(ctx, tunnel.name, spi_in=purpose.replaces)
    if old is not None and pairs.find(ctx, tunnel.name, spi_in=purpose.rival) is not None:
        old[1].replaced = True  # the peer has renewed it itself, and knew nothing of our request (RFC 7296 §2.8.1)
        return
    if kind == NotifyType.CHILD_SA_NOT_FOUND:
        if old is not None:  # without a word: the peer has none (RFC 7296 §2.25.1)
            ctx.log(session, "child-not-found", f"the peer has forgotten SPI 0x{purpose.replaces:08x}")
            pairs.remove(ctx, *old)
        return
    if kind == NotifyType.INVALID_KE_PAYLOAD:
        name = suites.group_name(parse_group(error))
        ours = explain.groups_of(alternatives(tunnel, key_exchange=True))
        if name in ours and name != purpose.group:
            session.group = name
            _again(ctx, session, tunnel, old, 0.0)
            return
        text = explain.group_refused(session.sa.endpoint.remote, name, ours, tunnel.connection.origin)
    elif kind == NotifyType.TEMPORARY_FAILURE:
        _again(ctx, session, tunnel, old, jitter(ctx.world.random, TEMPORARY))
        return
    elif kind == NotifyType.NO_ADDITIONAL_SAS:
        session.exhausted = True
        text = explain.refusal(session.sa.endpoint.remote, kind, "another pair of SAs")
    else:
        text = why_refused(session, tunnel, kind, key_exchange=True)
    ctx.world.log_once(tunnel, "error", code_of(kind), text)
    if tunnel.up_since is None:
        tunnel.failed(text, ctx.world.now, ctx.world.random)
    _again(ctx, session, tunnel, old, jitter(ctx.world.random, REFUSED))


def _again(ctx: Context, session: Session, tunnel: Tunnel, old: tuple[Session, Child] | None, pause: float) -> None:
    """Renew `old` after a pause; if there is none, and nothing is planned, the tunnel's next attempt is due then."""
    if old is not None and _renewable(old[1]):
        old[1].rekey_at = ctx.world.now + pause
        ctx.touch(old[0])
    elif old is None and tunnel.attempt_at is None:
        tunnel.attempt_at = ctx.world.now + pause


# -- responder --------------------------------------------------------------------------------------------


def respond(ctx: Context, session: Session, tunnel: Tunnel, message: Message, chain: Chain) -> Step[None]:
    """The peer asks for a pair.  What is not acceptable is a `WireError`, which becomes the answer."""
    rekey = chain.notification(NotifyType.REKEY_SA)
    spi_old = int.from_bytes(rekey.spi, "big") if rekey is not None else 0
    _check(ctx, session, tunnel, spi_old)
    choice, suite, spi_out = choose(ctx, session, tunnel, chain, key_exchange=True)
    agreed = agree(ctx, session, tunnel, chain)
    payloads: list[Payload] = []
    nonce_i, nonce_r, secret = chain.one(NoncePayload).data, ctx.world.random(NONCE_OCTETS), b""
    if suite.group:
        answer, secret = yield from followup.key_exchange(ctx, suite.group, chain.find(KEPayload))
        payloads.append(answer)
    spi = yield from reserve_spi(tunnel.connection.iface)
    _check(ctx, session, tunnel, spi_old)  # what was so before the questions need not be so now
    body = [choice.answer(spi.to_bytes(4, "big")), NoncePayload(nonce_r), *payloads, *agreed]
    known = Followup(0, spi_out.to_bytes(4, "big"), nonce_i, [secret], suite)
    pending = Pending(known, spi.to_bytes(4, "big"), nonce_r, spi_old)
    if suites.rounds(suite):
        body.append(followup.keep(ctx, session, pending))
        exchange.answer(ctx, session, message, body)
    else:
        respond_last(ctx, session, tunnel, pending, Answer(message, body))


def respond_last(ctx: Context, session: Session, tunnel: Tunnel, pending: Pending, last: Answer) -> None:
    """Nothing is left to be exchanged: make the pair, and answer."""
    agreed = pending.agreed
    if agreed.esp is None:
        raise WireError("nothing was agreed on for a pair", NotifyType.STATE_NOT_FOUND)
    old = _check(ctx, session, tunnel, pending.replaces)
    session.sa.pending = None
    first, *additional = agreed.secrets
    material = Material(agreed.nonce, pending.own_nonce, first, tuple(additional))
    spis = (int.from_bytes(pending.own_spi, "big"), int.from_bytes(agreed.spi, "big"))
    pair = pairs.make(ctx, session, tunnel, agreed.esp, spis=spis, material=material, ours=False)
    older = ctx.newest_pair(tunnel.name) is not None
    exchange.answer(ctx, session, last.message, last.body)
    if older:
        pairs.hold(ctx, session, pair)
    else:
        pairs.use(ctx, session, pair, after_send=True)
    if old is not None:
        _replaced_by_peer(ctx, session, old, pair.child)
    up(ctx, session, tunnel, pair.child)


def _check(ctx: Context, session: Session, tunnel: Tunnel, spi_old: int) -> tuple[Session, Child] | None:
    """Whether we can do now what the peer asks (RFC 7296 §2.25); gives the pair that it wants to renew."""
    sa = session.sa
    renewing = sa.request is not None and isinstance(sa.request.purpose, RekeyIke)
    if renewing or sa.successor or sa.delete_at is not None or not sa.established:
        raise WireError("this IKE SA is being replaced or deleted", NotifyType.TEMPORARY_FAILURE)
    if len(sa.children) >= pairs.MAX_PAIRS:
        text = f"there are {len(sa.children)} pairs, those about to end included"
        raise WireError(text, NotifyType.NO_ADDITIONAL_SAS)
    if not spi_old:
        return None
    old = pairs.find(ctx, tunnel.name, spi_out=spi_old)
    if old is None or old[1].gone_at is not None:
        octets = spi_old.to_bytes(4, "big")
        raise WireError(f"there is no SPI 0x{spi_old:08x} to renew", NotifyType.CHILD_SA_NOT_FOUND, octets)
    if old[1].replaced or old[1].delete_at is not None:
        raise WireError(f"SPI 0x{spi_old:08x} has been renewed already", NotifyType.TEMPORARY_FAILURE)
    return old


def _replaced_by_peer(ctx: Context, session: Session, old: tuple[Session, Child], new: Child) -> None:
    """The peer has renewed a pair, and will delete the older one; if we are renewing it too, there are two new ones."""
    holder, child = old
    child.rekey_at = None
    child.check_at = ctx.world.now + OVERDUE
    request = session.sa.request
    if request is not None and isinstance(request.purpose, CreateChild) and request.purpose.replaces == child.spi_in:
        request.purpose.rival = new.spi_in
    else:
        child.replaced = True
    ctx.touch(holder)


# -- what IKE_AUTH shares ---------------------------------------------------------------------------------


def alternatives(tunnel: Tunnel, *, key_exchange: bool) -> list[Alternatives]:
    """What the connection allows for ESP."""
    return suites.esp_alternatives(settings(tunnel).childsa, key_exchange=key_exchange)


def choose(
    ctx: Context, session: Session, tunnel: Tunnel, chain: Chain, *, key_exchange: bool
) -> tuple[Choice, EspSuite, int]:
    """What of the peer's offer it is to be, and its SPI; a mismatch is told, and a `WireError`."""
    offer, allowed = chain.one(SAPayload), alternatives(tunnel, key_exchange=key_exchange)
    ke = chain.find(KEPayload)
    number = ke.group if ke is not None else 0
    choice = suites.choose(offer, ProtocolId.ESP, allowed, group=number, ignore_ke=not key_exchange)
    if choice is None:
        origin = tunnel.connection.origin
        text = explain.no_proposal(session.sa.endpoint.remote, offer, allowed, origin, "childsa")
        tell(ctx, tunnel, "error", "proposal-mismatch", text)
        raise WireError("no proposal is acceptable", NotifyType.NO_PROPOSAL_CHOSEN)
    return choice, suites.esp_suite(choice.transforms), _spi(choice)


def agree(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain) -> tuple[TSiPayload, TSrPayload]:
    """The traffic selectors of our answer; what the peer carries not, is told."""
    families = settings(tunnel).families
    try:
        agreed = selectors.agree(chain, families)
    except WireError as error:
        if error.notify == NotifyType.TS_UNACCEPTABLE:
            asked = selectors.pair_words((chain.one(TSiPayload), chain.one(TSrPayload)))
            text = explain.selectors_unusable(session.sa.endpoint.remote, asked, families, tunnel.connection.origin)
            tell(ctx, tunnel, "error", "selector-mismatch", text)
        raise
    _tell_narrowed(ctx, session, tunnel, agreed)
    return agreed


def accept(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain, *, key_exchange: bool) -> tuple[EspSuite, int]:
    """What the peer has chosen of our offer, and its SPI; narrowed traffic selectors are told."""
    offered = alternatives(tunnel, key_exchange=key_exchange)
    answer = chain.one(SAPayload)
    choice = suites.chosen_by_peer(answer, ProtocolId.ESP, offered, ignore_ke=not key_exchange)
    _tell_narrowed(ctx, session, tunnel, (chain.one(TSiPayload), chain.one(TSrPayload)))
    return suites.esp_suite(choice.transforms), _spi(choice)


def up(ctx: Context, session: Session, tunnel: Tunnel, child: Child) -> None:
    """A pair was agreed on: say so."""
    renewed = any(each.usable and each is not child for _, each in ctx.pairs(tunnel.name))
    if renewed:
        tunnel.last_rekey = ctx.world.now
    tunnel.retries = 0
    for what, line in explain.weak(child.suite, tunnel.connection.origin):
        ctx.world.log_once(tunnel, "warning", f"weak {what}", line)
    lifetime = settings(tunnel).lifetime
    ctx.log(session, "child-rekeyed" if renewed else "child-up", f"{_words(child)}, {lifetime} s")


def why_refused(session: Session, tunnel: Tunnel, kind: int, *, key_exchange: bool) -> str:
    """What a peer's refusal of a pair means."""
    peer, origin = session.sa.endpoint.remote, tunnel.connection.origin
    if kind == NotifyType.NO_PROPOSAL_CHOSEN:
        return explain.offer_refused(peer, alternatives(tunnel, key_exchange=key_exchange), origin, "childsa")
    if kind == NotifyType.TS_UNACCEPTABLE:
        return explain.selectors_refused(peer)
    if kind in (NotifyType.INTERNAL_ADDRESS_FAILURE, NotifyType.FAILED_CP_REQUIRED):
        return explain.address_refused(peer, kind, origin)
    return explain.refusal(peer, kind, "a pair of ESP SAs")


def code_of(kind: int) -> str:
    """Under which code a refusal is told."""
    codes = {
        NotifyType.NO_PROPOSAL_CHOSEN: "proposal-mismatch",
        NotifyType.INVALID_KE_PAYLOAD: "proposal-mismatch",
        NotifyType.TS_UNACCEPTABLE: "selector-mismatch",
        NotifyType.INTERNAL_ADDRESS_FAILURE: "no-address",
        NotifyType.FAILED_CP_REQUIRED: "no-address",
    }
    return next((code for known, code in codes.items() if known == kind), f"refused {name_of(NotifyType, kind)}")


def tell(ctx: Context, tunnel: Tunnel, level: str, code: str, text: str) -> None:
    """Say once what keeps a pair from being made."""
    ctx.world.log_once(tunnel, "error" if level == "error" else "warning", code, text)
    if tunnel.up_since is None:
        tunnel.reason = text


def _tell_narrowed(ctx: Context, session: Session, tunnel: Tunnel, pair: tuple[TSiPayload, TSrPayload]) -> None:
    carried, peer = selectors.carried(pair), session.sa.endpoint.remote
    words = selectors.pair_words(pair)
    inner = [each.partition("/")[0] for each in ctx.inner.given(tunnel.name).get("address", ())]
    if not carried and selectors.is_one_of(pair, inner):
        ctx.world.log_once(tunnel, "info", "one-address", explain.one_address(peer, ", ".join(inner)))
    elif not carried:
        ctx.world.log_once(tunnel, "warning", "selectors-narrowed", explain.selectors_narrowed(peer, words))
    elif set(carried) != set(settings(tunnel).families):
        missing = next(family for family in settings(tunnel).families if family not in carried)
        text = f"{peer} carries {words}, and no IPv{missing}"
        ctx.world.log_once(tunnel, "info", "one-family", text)


def _spi(choice: Choice) -> int:
    spi = int.from_bytes(choice.spi, "big")
    if len(choice.spi) != 4 or spi < 256:
        raise WireError(f"SPI 0x{choice.spi.hex()} cannot be used", NotifyType.INVALID_SYNTAX)
    return spi


def _words(child: Child) -> str:
    auth = f" {child.suite.auth}" if child.suite.auth else ""
    esn = " esn" if child.suite.esn else ""
    return (
        f"{child.suite.encryption}{auth} {child.suite.group or 'without PFS'}{esn}, SPI 0x{child.spi_in:08x} in, "
        f"0x{child.spi_out:08x} out" + (", in UDP" if child.udp else "")
    )
