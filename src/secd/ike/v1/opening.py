"""Phase 1 in the mode that the rule says: how it begins, and what it most likely means when it is not answered."""

from __future__ import annotations

from secd.ike import explain
from secd.ike.endpoint import Endpoint
from secd.ike.retransmission import due
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import aggressive_mode, main_mode, proofs
from secd.ike.v1.context import Context, Runner, Session
from secd.ike.v1.state import AggressiveAnswered, AggressiveSent, IdentitySent, KeySent, KeyWanted, OfferSent

#: Our first message goes out so often, so many seconds apart at most, and then again under another cookie.  So a peer
#: that comes back after a long time hears of us soon.
FIRST_TRIES, FIRST_LONGEST = 8, 10.0
#: Once the peer has answered it is given up sooner.
LATER_TRIES, LATER_LONGEST = 5, 8.0
#: A responder of aggressive mode, whom anybody can cause to send, repeats message 2 by itself twice.
ANSWER_TRIES = 3


def start(ctx: Context, runner: Runner, tunnel: Tunnel, endpoint: Endpoint, *, rekeying: bool = False) -> None:
    """Begin phase 1 with the peer at `endpoint`."""
    if tunnel.connection.exchange == "aggressive":
        aggressive_mode.start(ctx, runner, tunnel, endpoint, rekeying=rekeying)
    else:
        main_mode.start(ctx, tunnel, endpoint, rekeying=rekeying)


def repeat(ctx: Context, session: Session) -> bytes | None:
    """The message of phase 1 that is to be sent again; None: it was sent often enough."""
    state, flight, world = session.sa.phase1, session.sa.flight, ctx.world
    if isinstance(state, OfferSent | AggressiveSent):
        return due(flight, world.now, world.random, tries=FIRST_TRIES, longest=FIRST_LONGEST)
    if isinstance(state, AggressiveAnswered):
        return due(flight, world.now, world.random, tries=ANSWER_TRIES)
    return due(flight, world.now, world.random, tries=LATER_TRIES, longest=LATER_LONGEST)


def gave_up(ctx: Context, session: Session) -> None:
    """Our phase 1 was not answered to its end: say what that most likely means."""
    tunnel, sa = ctx.tunnel(session), session.sa
    if tunnel is None or sa.role != "initiator":
        return
    state = sa.phase1
    where = f"{sa.endpoint.remote} port {sa.endpoint.remote_port}"
    explained = session.refusal
    if not explained and isinstance(state, AggressiveSent | IdentitySent) and state.bad:
        explained = tunnel.reason
    if explained:
        reason = explained
    elif isinstance(state, IdentitySent):
        reason = _refused(tunnel, where, "it was not answered")
        code = "psk-mismatch" if proofs.method_of(tunnel.connection) == proofs.PSK else "signature-refused"
        ctx.world.log_once(tunnel, "error", code, reason)
    else:
        number = 3 if isinstance(state, KeySent) else 1
        reason = explain.no_answer(where, number, sa.exchange, sa.endpoint.remote_port)
        ctx.world.log_once(tunnel, "warning", "no-answer", reason)
    if sa.initial_contact:
        ctx.contacted.discard(sa.endpoint.remote)
    silent = not explained and isinstance(state, OfferSent | AggressiveSent | KeySent | KeyWanted)
    tunnel.failed(reason, ctx.world.now, ctx.world.random, silent=silent)


def _refused(tunnel: Tunnel, where: str, why: str) -> str:
    if proofs.method_of(tunnel.connection) == proofs.PSK:
        return explain.wrong_key_as_initiator(where, tunnel.connection.origin, why)
    return explain.our_proof_refused(where, tunnel.connection.origin, why)


def suspect(ctx: Context, session: Session, why: str) -> None:
    """Message 5, or its like, was answered with something that cannot be proved: say what that most likely means."""
    tunnel = ctx.tunnel(session)
    if tunnel is not None:
        code = "psk-mismatch" if proofs.method_of(tunnel.connection) == proofs.PSK else "signature-refused"
        discouraged(ctx, session, tunnel, code, _refused(tunnel, session.sa.endpoint.remote, why))


def discouraged(ctx: Context, session: Session, tunnel: Tunnel, code: str, text: str) -> None:
    """Somebody, who may be anybody, says that this attempt comes to nothing: it goes on, and this is why it failed."""
    ctx.complain([tunnel], code, text)
    session.refusal = text
