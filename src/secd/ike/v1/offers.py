"""Phase 1's offers: who may be meant by one, what is chosen out of it, and what both sides say that they can do."""

from __future__ import annotations

from collections.abc import Sequence

from secd.ike import explain, nat, proposals
from secd.ike.connection import Connection, Phase1Proposal, PreSharedKey
from secd.ike.endpoint import Endpoint
from secd.ike.proposals import Exchange, Suite
from secd.ike.tunnel import Tunnel, origin_for
from secd.ike.v1 import phase1, proofs
from secd.ike.v1.context import Context, Message, Session
from secd.ike.v1.state import Nat
from secd.ike.wire import vendorids
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import ExchangeType, NotifyType, ProtocolId
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
from secd.ike.world import World

PSK = proofs.PSK


def candidates_for(ctx: Context, where: Endpoint, exchange: Exchange) -> list[Tunnel]:
    """The tunnels that a phase 1 from there may be meant for, those that name it first; without any, say so."""
    fitting = [
        each
        for each in ctx.world.tunnels.values()
        if each.connection.version == 1
        and each.connection.local in (None, where.local)
        and each.connection.peer in (None, where.remote)
    ]
    found = [each for each in fitting if each.connection.exchange == exchange and not is_exposed(each.connection)]
    if not found and fitting:
        expected = fitting[0].connection.exchange
        text = explain.other_exchange(where.remote, exchange, expected, (each.connection.origin for each in fitting))
        ctx.complain(fitting, "other-mode", text)
    elif not found:
        tunnels = ctx.world.tunnels
        policy = origin_for(tunnels.values(), where.remote, version=2)
        text = explain.no_connection(where.local, where.remote, exchange, loaded=bool(tunnels), policy=policy)
        ctx.world.log_stranger("warning", "no-connection", text)
    return sorted(found, key=lambda tunnel: (tunnel.connection.peer is None, tunnel.connection.local is None))


def warn(world: World, tunnel: Tunnel) -> None:
    """Say at each start what a rule gives away."""
    connection = tunnel.connection
    if connection.version == 1 and connection.exchange == "aggressive" and isinstance(connection.auth, PreSharedKey):
        world.log_once(tunnel, "warning", "aggressive-psk", explain.aggressive_psk(connection.origin))


def is_exposed(connection: Connection) -> bool:
    """Whether a connection would show a hash of its pre-shared key to strangers without having been told to."""
    psk = isinstance(connection.auth, PreSharedKey)
    return connection.exchange == "aggressive" and psk and not connection.aggressive_psk


def to_offer(connection: Connection) -> tuple[Phase1Proposal, ...]:
    """The proposals that message 1 offers: in aggressive mode, which cannot choose a group, those of one group."""
    if connection.exchange == "main" or not connection.phase1:
        return connection.phase1
    return tuple(each for each in connection.phase1 if each.group == connection.phase1[0].group)


def offered(connection: Connection) -> list[Suite]:
    """What message 1 of this connection offers."""
    method = proofs.method_of(connection)
    return list(proposals.suites1(to_offer(connection), connection.phase1_lifetime, method, connection.exchange))


def offer(connection: Connection) -> SAPayload:
    """The SA payload of message 1."""
    return proposals.offer1(to_offer(connection), connection.phase1_lifetime, proofs.method_of(connection))


def allows(connection: Connection, suite: Suite) -> bool:
    """Whether a connection takes `suite`."""
    return proposals.allows1(connection.phase1, suite, proofs.method_of(connection))


def chosen(connection: Connection, payload: SAPayload) -> Suite:
    """The one transform that the responder has chosen; it must be one of those we offered."""
    choices = list(proposals.offered1(payload))
    if len(choices) != 1:
        raise WireError(f"{len(choices)} transforms were chosen, expected one", NotifyType.BAD_PROPOSAL_SYNTAX)
    suite = proposals.read1(choices[0].transform, connection.exchange)
    if not proposals.allows1(to_offer(connection), suite, proofs.method_of(connection)):
        raise WireError(f"`{suite.words()}` was chosen, which was not offered", NotifyType.NO_PROPOSAL_CHOSEN)
    return suite


def first_acceptable(offer: SAPayload, candidates: Sequence[Tunnel]) -> tuple[proposals.Choice, Suite] | None:
    """The first transform of the peer's that one of the candidates takes."""
    exchange: Exchange = candidates[0].connection.exchange if candidates else "main"
    for choice in proposals.offered1(offer):
        suite = proposals.read1(choice.transform, exchange)
        if any(allows(each.connection, suite) for each in candidates):
            return choice, suite
    return None


def explain_offer(ctx: Context, where: Endpoint, offer: SAPayload, candidates: Sequence[Tunnel]) -> None:
    """Say once why nothing of the offer was chosen."""
    exchange = candidates[0].connection.exchange
    theirs = [proposals.read1(each.transform, exchange) for each in proposals.offered1(offer)]
    accepted = [suite for each in candidates for suite in offered(each.connection)]
    origins = ", ".join(each.connection.origin for each in candidates)
    text = explain.no_proposal(where.remote, theirs, accepted, origins)
    ctx.complain(candidates, "proposal-mismatch", text)


def refuse(ctx: Context, message: Message, kind: NotifyType) -> None:
    """A notification in answer to message 1, in clear since there are no keys, and without keeping anything."""
    header = Header(message.header.initiator_cookie, NO_COOKIE, ExchangeType.INFORMATIONAL, 0, phase1.message_id(ctx))
    notification = NotificationPayload(kind, ProtocolId.PROTO_ISAKMP)
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
    """Where the peer's NAT-D payloads say that there is a NAT.

    Those of aggressive mode come from port 4500 if the peer has seen one, and may still speak of port 500.
    """
    sa, where = session.sa, session.sa.endpoint
    if sa.nat.dialect:
        received, cookies = chain.all(NatDPayload), (sa.icookie, sa.rcookie)
        ports = {(where.remote_port, where.local_port)}
        if where.local_port == nat.NAT_T_PORT:
            ports.add((nat.IKE_PORT, nat.IKE_PORT))
        found = [
            nat.detect(session.prf, cookies, received, (where.remote, remote), (where.local, local))
            for remote, local in ports
        ]
        sa.nat = Nat(sa.nat.dialect, all(here for here, _ in found), all(there for _, there in found))


def key_payloads(session: Session, public: bytes, nonce: bytes) -> list[Payload]:
    """Messages 3 and 4 of main mode."""
    return [KEPayload(public), NoncePayload(nonce), *nat_payloads(session)]


def nat_payloads(session: Session) -> list[Payload]:
    """NAT-D, if both sides know NAT traversal."""
    sa, where = session.sa, session.sa.endpoint
    if not sa.nat.dialect:
        return []
    remote, local = (where.remote, where.remote_port), (where.local, where.local_port)
    return list(nat.payloads(session.prf, (sa.icookie, sa.rcookie), sa.nat.dialect, remote, local))
