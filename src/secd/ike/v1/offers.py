"""Phase 1's offers: who may be meant by one, what is chosen out of it, and what both sides say that they can do."""

from __future__ import annotations

from collections.abc import Sequence

from secd.ike import explain, nat, proposals
from secd.ike.connection import Connection, PreSharedKey
from secd.ike.proposals import Suite
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import phase1
from secd.ike.v1.context import Context, Message, Session
from secd.ike.v1.state import (
    Endpoint,
    Nat,
)
from secd.ike.wire import vendorids
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import AuthenticationMethod, ExchangeType, NotifyType, ProtocolId
from secd.ike.wire.isakmp import NO_COOKIE, Chain, Header, encode_message
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import (
    KEPayload,
    NatDPayload,
    NoncePayload,
    NotificationPayload,
    VendorIDPayload,
)
from secd.ike.wire.sa import SAPayload

PSK = AuthenticationMethod.PRE_SHARED_KEY


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


def offered(connection: Connection) -> list[Suite]:
    """What message 1 of this connection offers."""
    return list(proposals.suites1(connection.phase1, connection.phase1_lifetime, PSK))


def allows(connection: Connection, suite: Suite) -> bool:
    """Whether a connection takes `suite`."""
    return proposals.allows1(connection.phase1, suite, PSK)


def chosen(connection: Connection, payload: SAPayload) -> Suite:
    """The one transform that the responder has chosen; it must be one of those we offered."""
    choices = list(proposals.offered1(payload))
    if len(choices) != 1:
        raise WireError(f"{len(choices)} transforms were chosen, expected one", NotifyType.BAD_PROPOSAL_SYNTAX)
    suite = proposals.read1(choices[0].transform)
    if not allows(connection, suite):
        raise WireError(f"`{suite.words()}` was chosen, which was not offered", NotifyType.NO_PROPOSAL_CHOSEN)
    return suite


def first_acceptable(offer: SAPayload, candidates: Sequence[Tunnel]) -> tuple[proposals.Choice, Suite] | None:
    """The first transform of the peer's that one of the candidates takes."""
    for choice in proposals.offered1(offer):
        suite = proposals.read1(choice.transform)
        if any(allows(each.connection, suite) for each in candidates):
            return choice, suite
    return None


def explain_offer(ctx: Context, where: Endpoint, offer: SAPayload, candidates: Sequence[Tunnel]) -> None:
    """Say once why nothing of the offer was chosen."""
    theirs = [proposals.read1(each.transform) for each in proposals.offered1(offer)]
    accepted = [suite for each in candidates for suite in offered(each.connection)]
    origins = ", ".join(each.connection.origin for each in candidates)
    text = explain.no_proposal(where.remote, theirs, accepted, origins)
    ctx.complain(candidates, "proposal-mismatch", text)


def refuse_offer(ctx: Context, message: Message) -> None:
    """NO-PROPOSAL-CHOSEN, in clear since there are no keys, and without keeping anything."""
    header = Header(message.header.initiator_cookie, NO_COOKIE, ExchangeType.INFORMATIONAL, 0, phase1.message_id(ctx))
    notification = NotificationPayload(NotifyType.NO_PROPOSAL_CHOSEN, ProtocolId.PROTO_ISAKMP)
    ctx.send(message.endpoint, encode_message(header, [notification]))


def vendor_ids(connection: Connection, dialect: str | None = None) -> list[VendorIDPayload]:
    """What we can do: dead peer detection, and NAT traversal in every dialect, or as responder in the chosen one."""
    dialects = list(nat.DIALECTS.values()) if dialect is None else [nat.DIALECTS[dialect]] if dialect else []
    return [VendorIDPayload(each) for each in [*(dialects if connection.natt else []), vendorids.DPD]]


def note_vendor(session: Session, chain: Chain, connection: Connection) -> None:
    """What the peer says that it can do."""
    announced = [each.data for each in chain.all(VendorIDPayload)]
    session.sa.nat = Nat(nat.best(announced) if connection.natt else "")
    session.sa.dpd = any(each.startswith(vendorids.DPD[:14]) for each in announced)
    session.sa.vendor = vendorids.product(announced)


def note_nat(session: Session, chain: Chain) -> None:
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


def key_payloads(session: Session, public: bytes, nonce: bytes) -> list[Payload]:
    """Messages 3 and 4."""
    sa, where = session.sa, session.sa.endpoint
    payloads: list[Payload] = [KEPayload(public), NoncePayload(nonce)]
    if sa.nat.dialect:
        remote, local = (where.remote, where.remote_port), (where.local, where.local_port)
        payloads += nat.payloads(session.prf, (sa.icookie, sa.rcookie), sa.nat.dialect, remote, local)
    return payloads
