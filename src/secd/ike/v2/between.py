"""IKE_INTERMEDIATE (RFC 9242): additional key exchanges between IKE_SA_INIT and IKE_AUTH (RFC 9370 §2.2.2).

    initiator                        responder
    ---------                        ---------
    SK {KEi(n)}               ->     the keys of round n
      Between                 <-     SK {KEr(n)}
      the keys of round n; after the last round IKE_AUTH

Each message is protected by the keys of the round before it, and what was in it is covered by AUTH (`Transcript`).
"""

from __future__ import annotations

from secd.ike.crypto.groups import group
from secd.ike.crypto.ikev2 import IkeKeys, ike_keys, int_auth_step, skeyseed_additional
from secd.ike.crypto.ikev2_messages import Opened, int_auth_octets
from secd.ike.steps import Step, encapsulate, key_pair, shared_secret
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import auth, established, exchange, suites
from secd.ike.v2.context import Context, Message, Session
from secd.ike.v2.state import Between, InitAnswered, Opening, Transcript
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import ExchangeType, NotifyType
from secd.ike.wire.ikev2.payloads import KEPayload


def begin(ctx: Context, session: Session, tunnel: Tunnel, transcript: Transcript, number: int = 0) -> Step[None]:
    """Go on after IKE_SA_INIT, or after round `number` - 1: with the next round, or with IKE_AUTH."""
    rounds, before = suites.rounds(session.suite), session.sa.phase
    if number >= len(rounds):
        yield from auth.begin(ctx, session, tunnel, transcript)
        return
    method = group(rounds[number])
    pair = yield from key_pair(method.name, ctx.world.random(method.seed_octets))
    sa = session.sa
    if sa.phase is not before:
        return
    payloads = [KEPayload(method.number, pair.public)]
    head = exchange.header(session, ExchangeType.IKE_INTERMEDIATE, sa.next_out)
    octets = int_auth_octets(head, payloads)
    said = int_auth_step(session.prf, session.keys.sk_pi, transcript.between_i, octets)
    covered = Transcript(
        transcript.request, transcript.response, transcript.nonce_i, transcript.nonce_r, said, transcript.between_r
    )
    sa.endpoint = established.floated(session, tunnel)
    sa.phase = Between(covered, number, pair.private, session.keys)
    sa.request = None
    exchange.request(ctx, session, ExchangeType.IKE_INTERMEDIATE, payloads, Opening())


def take_answer(ctx: Context, session: Session, tunnel: Tunnel, opened: Opened) -> Step[None]:
    """The responder's half of the round."""
    state = session.sa.phase
    if not isinstance(state, Between):
        raise WireError("does not fit the exchange any more")
    if opened.chain.errors:
        raise WireError(f"the peer refuses IKE_INTERMEDIATE: {opened.chain.errors[0].notify_type}")
    method = suites.rounds(session.suite)[state.round]
    ke = opened.chain.one(KEPayload)
    if ke.group != group(method).number:
        raise WireError(f"a public value for group {ke.group}, expected {method}", NotifyType.INVALID_SYNTAX)
    secret = yield from shared_secret(method, state.private, ke.data)
    if session.sa.phase is not state:
        return
    known = state.transcript
    said = int_auth_step(session.prf, state.keys.sk_pr, known.between_r, opened.int_auth_octets)
    transcript = Transcript(known.request, known.response, known.nonce_i, known.nonce_r, known.between_i, said)
    _derive(session, state.keys, transcript, secret)
    yield from begin(ctx, session, tunnel, transcript, state.round + 1)


def respond(ctx: Context, session: Session, message: Message, opened: Opened) -> Step[None]:
    """The initiator's half of a round; ours goes back under the keys that its came with."""
    state = session.sa.phase
    if not isinstance(state, InitAnswered):
        raise WireError("does not fit the exchange any more")
    rounds = suites.rounds(session.suite)
    if state.round >= len(rounds):
        raise WireError("no round of key exchanges is left", NotifyType.INVALID_SYNTAX)
    method = group(rounds[state.round])
    ke = opened.chain.one(KEPayload)
    if ke.group != method.number:
        raise WireError(f"a public value for group {ke.group}, expected {method.name}", NotifyType.INVALID_SYNTAX)
    made = yield from encapsulate(method.name, ctx.world.random(method.seed_octets), ke.data)
    if session.sa.phase is not state:
        return
    known, keys, prf = state.transcript, session.keys, session.prf
    payloads = [KEPayload(method.number, made.public)]
    head = exchange.header(session, ExchangeType.IKE_INTERMEDIATE, message.header.message_id, response=True)
    theirs = int_auth_step(prf, keys.sk_pi, known.between_i, opened.int_auth_octets)
    ours = int_auth_step(prf, keys.sk_pr, known.between_r, int_auth_octets(head, payloads))
    exchange.answer(ctx, session, message, payloads)
    transcript = Transcript(known.request, known.response, known.nonce_i, known.nonce_r, theirs, ours)
    _derive(session, keys, transcript, made.secret)
    session.sa.phase = InitAnswered(transcript, state.candidates, state.round + 1)
    ctx.touch(session)


def all_done(session: Session) -> bool:
    """Whether every round that was agreed on is over, so that IKE_AUTH may come."""
    state = session.sa.phase
    return isinstance(state, InitAnswered) and state.round >= len(suites.rounds(session.suite))


def _derive(session: Session, before: IkeKeys, transcript: Transcript, secret: bytes) -> None:
    """The keys of the next round out of those `before` it; done again, they are the same."""
    sa, ni, nr = session.sa, transcript.nonce_i, transcript.nonce_r
    seed = skeyseed_additional(session.prf, before.sk_d, ni, nr, secret)
    sa.keys = ike_keys(session.prf, session.cipher, seed, ni=ni, nr=nr, spi_i=sa.spi_i, spi_r=sa.spi_r)
