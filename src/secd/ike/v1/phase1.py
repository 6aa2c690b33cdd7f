"""What phase 1 ends in, whatever the mode: keys, proofs, identities, an established SA and its lifetime."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from secd.ike import explain, identities, proposals
from secd.ike.connection import Connection
from secd.ike.crypto.ciphers import cipher_named
from secd.ike.crypto.ikev1 import CbcState, encryption_key, hash_i, hash_r, phase1_keys
from secd.ike.endpoint import Role
from secd.ike.retransmission import fraction
from secd.ike.tunnel import Tunnel
from secd.ike.v1 import children, proofs
from secd.ike.v1.context import Context, Session, Terms
from secd.ike.v1.state import Established, Keys
from secd.ike.wire.iana import NotifyType, ProtocolId
from secd.ike.wire.isakmp import Chain
from secd.ike.wire.payloads import IDPayload, NotificationPayload
from secd.sadb.messages import Identity

#: Seconds for which an ISAKMP SA that was replaced by us stays, so that what is under way still decrypts.
RETIRE = 10.0
#: What the initiator and the responder rekey at, as parts of the lifetime: apart, so that they rarely collide.
REKEY_INITIATOR = (0.85, 0.90)
REKEY_RESPONDER = (0.90, 0.95)
#: Seconds that an ISAKMP SA lives when neither side has said how long: OpenBSD's.
DEFAULT_LIFETIME = 3600


def keys_of(terms: Terms, skeyid: bytes, secret: bytes, public_i: bytes, public_r: bytes) -> Keys:
    """Phase 1's keys out of SKEYID; the IV is that of the first encrypted message."""
    prf, suite = terms.prf, terms.suite
    derived = phase1_keys(prf, skeyid, secret, terms.icookie, terms.rcookie)
    cipher = cipher_named(suite.cipher)
    octets = (suite.bits or cipher.key_lengths[0]) // 8
    key = encryption_key(prf, derived.skeyid_e, octets)
    iv = CbcState.phase1(prf, cipher, key, public_i, public_r).iv
    return Keys(derived.skeyid_d, derived.skeyid_a, key, iv)


def proof(
    terms: Terms,
    skeyid: bytes,
    offer: bytes,
    identity: IDPayload,
    *,
    publics: tuple[bytes, bytes],
    role: Role,
) -> bytes:
    """HASH_I or HASH_R, by which `role` proves its `identity`; `publics` are g^xi and g^xr."""
    prf = terms.prf
    g_xi, g_xr = publics
    cookies = {"cky_i": terms.icookie, "cky_r": terms.rcookie}
    if role == "initiator":
        return hash_i(prf, skeyid, g_xi=g_xi, g_xr=g_xr, **cookies, sai_b=offer, idii_b=identity.body)
    return hash_r(prf, skeyid, g_xi=g_xi, g_xr=g_xr, **cookies, sai_b=offer, idir_b=identity.body)


def establish(
    ctx: Context, session: Session, tunnel: Tunnel, keys: Keys, who: Identity, *, warnings: Iterable[str] = ()
) -> None:
    """The peer has shown who it is: enter `Established`; if this replaces others, they end soon."""
    now, sa = ctx.world.now, session.sa
    sa.phase1 = Established(keys, now)
    sa.remote_id = who
    lifetime = set_lifetime(ctx, session, tunnel.connection.phase1_lifetime)
    session.heard = now
    ctx.contacted.add(sa.endpoint.remote)
    if sa.role == "initiator":
        for other in ctx.of(tunnel.name):
            if other.sa.established and other.since < sa.created:
                other.sa.retire_at = now + RETIRE
                ctx.touch(other)
        if sa.initial_contact:
            _doubt_pairs(ctx, session)
    for what, line in explain.weak(session.suite, tunnel.connection.origin):
        ctx.world.log_once(tunnel, "warning", f"weak {what}", line)
    for line in warnings:
        ctx.world.log_once(tunnel, "warning", "certificate", line)
    behind = " and ".join([*(["us"] if sa.nat.here else []), *(["the peer"] if sa.nat.there else [])])
    ctx.world.log(
        "info", tunnel.name, "phase1-up",
        f"{sa.exchange} mode with {sa.endpoint.remote} ({identities.words(who)}) finished as {sa.role}: "
        f"{session.suite.encryption} hmac-{session.suite.hash} {session.suite.group}"
        + (" rsa" if session.suite.method == proofs.RSA else "") + f", {lifetime} s"
        + (f", a NAT before {behind}" if behind else ""),
    )  # fmt: skip


def _doubt_pairs(ctx: Context, session: Session) -> None:
    """We have said INITIAL-CONTACT, and there are pairs all the same: both sides began at once, and we were slower.

    The peer may have dropped them when it read that (strongSwan does, and says nothing), so they are replaced.
    """
    for other in ctx.of(session.sa.tunnel):
        for child in [each for each in other.sa.children if each.gone_at is None]:
            child.stale = child.doubtful = True
        ctx.touch(other)


def obey(ctx: Context, session: Session, chain: Chain) -> None:
    """What an authenticated message of phase 1, or an informational one, tells us beside its purpose."""
    for each in chain.all(NotificationPayload):
        if each.notify_type == NotifyType.INITIAL_CONTACT:
            children.forget_earlier(ctx, session)
        elif each.notify_type == NotifyType.RESPONDER_LIFETIME and each.protocol == ProtocolId.PROTO_ISAKMP:
            seconds = proposals.notified_lifetime(each.data)
            if seconds and session.sa.established:
                set_lifetime(ctx, session, seconds)


def set_lifetime(ctx: Context, session: Session, seconds: int) -> int:
    """An established SA lives for `seconds` from its beginning, or less if it was less already."""
    sa = session.sa
    suite = session.suite
    lifetime = max(proposals.smaller(suite.lifetime, seconds) or DEFAULT_LIFETIME, proposals.SHORTEST_LIFETIME)
    sa.suite = replace(suite, lifetime=lifetime)
    low, high = REKEY_INITIATOR if sa.role == "initiator" else REKEY_RESPONDER
    sa.expires = session.since + lifetime
    sa.rekey_at = session.since + lifetime * (low + (high - low) * fraction(ctx.world.random))
    return lifetime


def is_expected(connection: Connection, who: Identity) -> bool:
    """Whether a connection expects a peer of this name."""
    expected = identities.expected(connection)
    return expected is None or identities.same(expected, who)


def by_identity(holders: Sequence[Tunnel], who: Identity) -> Tunnel | None:
    """The tunnel of this peer among those with its key: one that expects it by name before one that takes anybody."""
    return next(iter(all_by_identity(holders, who)), None)


def all_by_identity(holders: Sequence[Tunnel], who: Identity) -> list[Tunnel]:
    """All of them that may be this peer's, those that expect it by name first."""
    welcome = [each for each in holders if is_expected(each.connection, who)]
    return sorted(welcome, key=lambda tunnel: identities.expected(tunnel.connection) is None)


def refuse_identity(ctx: Context, session: Session, keys: Keys, who: Identity, tunnels: Sequence[Tunnel]) -> None:
    """The key is right, the name is not: tell both sides, and end."""
    text = wrong_identity(session.sa.endpoint.remote, who, tunnels)
    for tunnel in tunnels:
        ctx.world.log_once(tunnel, "error", "identity-mismatch", text)
    _turn_away(ctx, session, keys, tunnels, text=text, kind=NotifyType.INVALID_ID_INFORMATION)


def refuse_certificate(ctx: Context, session: Session, keys: Keys, why: str, tunnels: Sequence[Tunnel]) -> None:
    """The peer's certificate must not be believed: tell both sides, and end."""
    text = explain.distrusted(session.sa.endpoint.remote, why, (each.connection.origin for each in tunnels))
    ctx.complain(tunnels, "certificate-refused", text)
    _turn_away(ctx, session, keys, tunnels, text=text, kind=NotifyType.INVALID_CERTIFICATE)


def wrong_identity(peer: str, who: Identity, tunnels: Sequence[Tunnel]) -> str:
    """That none of `tunnels` expects a peer of this name."""
    expected = [each for tunnel in tunnels if (each := identities.expected(tunnel.connection)) is not None]
    return explain.wrong_identity(peer, who, expected, ", ".join(each.connection.origin for each in tunnels))


def _turn_away(
    ctx: Context, session: Session, keys: Keys, tunnels: Sequence[Tunnel], *, text: str, kind: NotifyType
) -> None:
    """End an exchange with a peer that we share keys with, and do not want."""
    for tunnel in tunnels:
        if session.sa.role == "initiator":
            tunnel.failed(text, ctx.world.now, ctx.world.random)
        elif tunnel.up_since is None:
            tunnel.reason = text
    session.sa.phase1 = Established(keys, ctx.world.now)
    ctx.inform(session, [notification(session, kind)])
    if session.sa.role == "initiator":
        ctx.inform(session, [children.delete_payload(session)])
    ctx.remove(session)


def notification(session: Session, kind: NotifyType) -> NotificationPayload:
    """A notification about the ISAKMP SA itself."""
    return NotificationPayload(kind, ProtocolId.PROTO_ISAKMP, session.sa.icookie + session.sa.rcookie)


def message_id(ctx: Context) -> int:
    """A message id for an exchange that nothing protects."""
    return int.from_bytes(ctx.world.random(4), "big") or 1
