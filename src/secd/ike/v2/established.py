"""What both sides of IKE_AUTH come to: an established IKE SA with a lifetime and a port, or the reason why not."""

from __future__ import annotations

from collections.abc import Sequence

from secd.ike import identities, nat
from secd.ike.connection import PreSharedKey
from secd.ike.endpoint import Endpoint
from secd.ike.retransmission import fraction
from secd.ike.tunnel import Tunnel
from secd.ike.v2 import ending, explain, suites
from secd.ike.v2.context import Context, Session, settings
from secd.ike.v2.pairs import REKEY_INITIATOR, REKEY_RESPONDER
from secd.ike.v2.signing import Unproven, WithoutPpk
from secd.ike.v2.state import Established
from secd.ike.wire.ikev2.iana import NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.sadb.messages import Identity


def enter(ctx: Context, session: Session, tunnel: Tunnel, who: Identity, chain: Chain) -> None:
    """The peer has shown who it is: enter `Established`, and obey what it says beside."""
    now, sa = ctx.world.now, session.sa
    sa.phase = Established(now)
    sa.began = sa.role
    sa.remote_id = who
    session.heard = now
    ctx.contacted.add(sa.endpoint.remote)
    set_lifetime(ctx, session, tunnel)
    if chain.notification(NotifyType.INITIAL_CONTACT) is not None:
        ending.forget_earlier(ctx, session)
    for what, line in explain.weak(session.suite, tunnel.connection.origin):
        ctx.world.log_once(tunnel, "warning", f"weak {what}", line)
    behind = " and ".join([*(["us"] if sa.nat.here else []), *(["the peer"] if sa.nat.there else [])])
    suite = session.suite
    ctx.log(
        session, "ike-up",
        f"IKE SA with {sa.endpoint.remote} ({identities.words(who)}) established as {sa.role}: {suite.encryption} "
        + f"{suite.auth} ".lstrip() + f"prf {suite.prf} {' '.join((suite.group, *suites.rounds(suite)))}"
        + (f", a NAT before {behind}" if behind else ""),
    )  # fmt: skip


def set_lifetime(ctx: Context, session: Session, tunnel: Tunnel) -> None:
    """From now on, as long as the connection says; 0 means for ever."""
    lifetime, sa, now = settings(tunnel).ike_lifetime, session.sa, ctx.world.now
    low, high = REKEY_INITIATOR if session.initiator else REKEY_RESPONDER
    sa.expires = now + lifetime if lifetime else float("inf")
    sa.rekey_at = now + lifetime * (low + (high - low) * fraction(ctx.world.random)) if lifetime else None


def floated(session: Session, tunnel: Tunnel) -> Endpoint:
    """Where what follows IKE_SA_INIT goes: on port 4500 if there is a NAT, or may be one after a move (RFC 4555 §3.3).

    A port of the peer's that a NAT has chosen already stays.
    """
    endpoint, found = session.sa.endpoint, session.sa.nat
    if not found.found and not (settings(tunnel).mobike and found.known):
        return endpoint
    local_port = nat.NAT_T_PORT if endpoint.local_port == nat.IKE_PORT else endpoint.local_port
    remote_port = nat.NAT_T_PORT if endpoint.remote_port == nat.IKE_PORT else endpoint.remote_port
    return Endpoint(endpoint.local, local_port, endpoint.remote, remote_port)


def why_unproven(peer: str, who: Identity, tunnels: Sequence[Tunnel], error: Unproven) -> tuple[str, str]:
    """Code and text for a peer that has not proved who it is."""
    origins = [each.connection.origin for each in tunnels]
    if isinstance(error, WithoutPpk):
        return "ppk-mismatch", explain.wrong_ppk(peer, str(error), origins)
    if isinstance(tunnels[0].connection.auth, PreSharedKey):
        ppk_used = any(settings(each).ppk is not None for each in tunnels)
        return "psk-mismatch", explain.wrong_key(peer, who, origins, ppk=ppk_used)
    return "signature-mismatch", explain.wrong_signature(peer, who, str(error), origins)
