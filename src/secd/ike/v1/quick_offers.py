"""Quick mode's offers: selectors, what is chosen, and the lifetimes that both sides tell each other."""

from __future__ import annotations

from secd.ike import explain, identities, nat, proposals
from secd.ike.proposals import EspSuite
from secd.ike.tunnel import Tunnel
from secd.ike.v1.context import Context, Session, Told
from secd.ike.v1.state import ProposalSent
from secd.ike.wire.attributes import attribute, write_attributes
from secd.ike.wire.cursor import WireError, Writer
from secd.ike.wire.iana import EncapsulationMode, IpsecAttribute, LifeType, NotifyType, ProtocolId
from secd.ike.wire.isakmp import Chain
from secd.ike.wire.payloads import IDPayload, NotificationPayload
from secd.ike.wire.sa import SAPayload


def check_selectors(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain) -> None:
    """Exactly 0.0.0.0/0 on both sides."""
    ids = chain.all(IDPayload)
    theirs, ours = ids if len(ids) == 2 else (None, None)
    if identities.is_any(theirs) and identities.is_any(ours):
        return
    text = explain.wrong_selectors(session.sa.endpoint.remote, theirs, ours)
    ctx.world.log_once(tunnel, "error", "selector-mismatch", text)
    if tunnel.up_since is None:
        tunnel.reason = text
    raise Told("selectors are not 0.0.0.0/0 <-> 0.0.0.0/0", NotifyType.INVALID_ID_INFORMATION)


def other_selectors(session: Session, chain: Chain) -> str:
    """What to say if the responder returns other selectors than the ones that we sent; "" if it does not."""
    ids = chain.all(IDPayload)
    if not ids or (len(ids) == 2 and all(identities.is_any(each) for each in ids)):
        return ""
    ours, theirs = ids if len(ids) == 2 else (None, None)
    return explain.wrong_selectors(session.sa.endpoint.remote, theirs, ours)


def choose(ctx: Context, session: Session, tunnel: Tunnel, offer: SAPayload) -> tuple[proposals.Choice, EspSuite]:
    """The first transform of the peer's that the connection allows."""
    connection, possible = tunnel.connection, modes(session)
    choices = list(proposals.offered2(offer))
    for choice in choices:
        suite = proposals.read2(choice.transform)
        if proposals.allows2(connection.phase2, suite, esn=connection.esn, modes=possible):
            offered = suite.lifetime or proposals.DEFAULT_PHASE2_LIFETIME
            return choice, proposals.limited(suite, connection.phase2_lifetime, offered)
    accepted = proposals.accepted2(connection.phase2, connection.phase2_lifetime, esn=connection.esn, mode=possible[0])
    offered_suites = [proposals.read2(each.transform) for each in choices]
    text = explain.no_proposal(session.sa.endpoint.remote, offered_suites, accepted, connection.origin)
    ctx.world.log_once(tunnel, "error", "proposal-mismatch", text)
    if tunnel.up_since is None:
        tunnel.reason = text
    raise Told("no proposal is acceptable", NotifyType.NO_PROPOSAL_CHOSEN)


def modes(session: Session) -> list[int]:
    """The encapsulation modes that can work, the one that we would offer first.

    That is about the float, not about what we think of NATs: a peer that has floated, for reasons of its own even,
    can have UDP, and one that has not cannot be behind a NAT.
    """
    sa = session.sa
    floated = bool(sa.nat.dialect) and sa.endpoint.local_port == nat.NAT_T_PORT
    udp = [nat.udp_mode(sa.nat.dialect), *proposals.UDP_MODES] if floated else []
    plain = [EncapsulationMode.TUNNEL] if not floated or not sa.nat.found else []
    return [*udp, *plain] if sa.nat.found else [*plain, *udp]


def chosen(state: ProposalSent, answer: SAPayload) -> tuple[EspSuite, int]:
    """The transform and the SPI that the responder has chosen; the transform must be one of those we offered."""
    choices = list(proposals.offered2(answer))
    if len(choices) != 1:
        raise WireError(f"{len(choices)} transforms were chosen, expected one", NotifyType.BAD_PROPOSAL_SYNTAX)
    suite = proposals.read2(choices[0].transform)
    offered = next((each for each in state.suites if proposals.same2(each, suite)), None)
    if offered is None:
        raise WireError(f"`{suite.words()}` was chosen, which was not offered", NotifyType.NO_PROPOSAL_CHOSEN)
    spi = int.from_bytes(choices[0].spi, "big")
    if len(choices[0].spi) != 4 or spi < 256:
        raise WireError(f"SPI 0x{choices[0].spi.hex()} cannot be used", NotifyType.INVALID_SPI)
    return proposals.limited(suite, offered.lifetime, suite.lifetime), spi


def notified_lifetime(chain: Chain) -> int:
    return min(
        (
            seconds
            for each in chain.all(NotificationPayload)
            if each.notify_type == NotifyType.RESPONDER_LIFETIME and (seconds := proposals.notified_lifetime(each.data))
        ),
        default=0,
    )


def responder_lifetime(spi: int, seconds: int) -> NotificationPayload:
    writer = Writer()
    kind = attribute(IpsecAttribute.SA_LIFE_TYPE, LifeType.SECONDS)
    write_attributes(writer, (kind, attribute(IpsecAttribute.SA_LIFE_DURATION, seconds)))
    octets = spi.to_bytes(4, "big")
    return NotificationPayload(NotifyType.RESPONDER_LIFETIME, ProtocolId.PROTO_IPSEC_ESP, octets, writer.getvalue())
