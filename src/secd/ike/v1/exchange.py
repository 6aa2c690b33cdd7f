"""What main and aggressive mode do alike: begin, send, keep to the state that the table promised, float."""

from __future__ import annotations

from typing import TypeVar

from secd.ike import nat
from secd.ike.endpoint import Endpoint
from secd.ike.proposals import Suite
from secd.ike.retransmission import Flight, sent
from secd.ike.tunnel import Tunnel
from secd.ike.v1.context import Context, Message, Session
from secd.ike.v1.state import IsakmpSA, Phase1
from secd.ike.wire.cursor import WireError
from secd.ike.wire.isakmp import NO_COOKIE

#: What a step of phase 1 is known by; there is one at a time for an SA.
KEY = "phase1"
#: Seconds until an unfinished phase 1 is given up, as initiator (the last repeat included) and as responder.
INITIATOR_LIMIT = 100.0
RESPONDER_LIMIT = 40.0
#: Messages of one exchange that may prove nothing.
MAX_BAD = 5
NONCE_OCTETS = 32

S = TypeVar("S", bound=Phase1)


def begin(ctx: Context, tunnel: Tunnel, endpoint: Endpoint, phase1: Phase1, *, rekeying: bool) -> Session:
    """A new SA of ours to the peer of `tunnel`, in its first state."""
    now = ctx.world.now
    first_contact = not rekeying and endpoint.remote not in ctx.contacted
    ctx.contacted.add(endpoint.remote)
    return ctx.add(
        IsakmpSA(
            icookie=cookie(ctx),
            rcookie=NO_COOKIE,
            role="initiator",
            tunnel=tunnel.name,
            fingerprint=tunnel.fingerprint,
            endpoint=endpoint,
            created=now,
            expires=now + INITIATOR_LIMIT,
            phase1=phase1,
            flight=Flight(),
            exchange=tunnel.connection.exchange,
            initial_contact=first_contact,
            rekeying=rekeying,
        )
    )


def begun_by_peer(ctx: Context, message: Message, suite: Suite, phase1: Phase1) -> Session:
    """A new SA that `message` has begun, of a tunnel that is not known yet."""
    now = ctx.world.now
    return ctx.add(
        IsakmpSA(
            icookie=message.header.initiator_cookie,
            rcookie=cookie(ctx),
            role="responder",
            tunnel="",
            fingerprint=b"",
            endpoint=message.endpoint,
            created=now,
            expires=now + RESPONDER_LIMIT,
            phase1=phase1,
            flight=Flight(),
            exchange=suite.exchange,
            suite=suite,
        )
    )


def send(ctx: Context, session: Session, data: bytes, cause: Message | None = None, *, awaits: bool = False) -> None:
    """Send a message of phase 1 in answer to `cause`; `awaits`: repeat it until an answer comes."""
    world = ctx.world
    cause_data = b"" if cause is None else cause.data
    sent(session.sa.flight, data, cause=cause_data, awaits=awaits, now=world.now, random=world.random)
    ctx.send(session.sa.endpoint, data)
    ctx.touch(session)


def cookie(ctx: Context) -> bytes:
    """Eight octets that no session has and that are not zero."""
    while True:
        made = ctx.world.random(8)
        if made != NO_COOKIE and ctx.by_cookie(made) is None and f"v1-{made.hex()}" not in ctx.sessions:
            return made


def expect(session: Session, state: type[S]) -> S:
    """The state that the table promised; a message that outran it is nobody's fault."""
    if isinstance(session.sa.phase1, state):
        return session.sa.phase1
    raise WireError("does not fit the exchange any more")


def tunnel_of(ctx: Context, session: Session) -> Tunnel:
    """The tunnel of an SA of ours."""
    tunnel = ctx.tunnel(session)
    if tunnel is None:
        raise WireError("the tunnel is no longer configured")
    return tunnel


def still(ctx: Context, session: Session, state: Phase1, tunnel: Tunnel | None = None) -> None:
    """After a question: nothing has changed meanwhile that the step relies on, or it ends."""
    gone = tunnel is not None and ctx.world.tunnels.get(tunnel.name) is not tunnel
    if session.sa.phase1 is not state or gone:
        raise WireError("does not fit the exchange any more")


def float_ports(session: Session) -> None:
    """With a NAT between, go on from port 4500 to port 4500 (RFC 3947 §4); a port that a NAT has chosen stays."""
    sa = session.sa
    if sa.nat.found:
        where = sa.endpoint
        remote_port = nat.NAT_T_PORT if where.remote_port == nat.IKE_PORT else where.remote_port
        sa.endpoint = Endpoint(where.local, nat.NAT_T_PORT, where.remote, remote_port)
