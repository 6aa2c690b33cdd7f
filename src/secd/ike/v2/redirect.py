"""REDIRECT (RFC 5685): the peer, a gateway, sends us to another one: in its first answer, in IKE_AUTH's, or later.

Only where `set redirect` allows it, and we never send anybody elsewhere.  In clear it counts only with our nonce, so
whoever says it has at least read our message; who the other gateway is, IKE_AUTH with it has to show, as with the
first.  It has to be named by its address: nobody here can ask for names.  Being sent elsewhere is for one attempt: when
that fails, or the tunnel is lost later, the next one begins with the peer of the policy.
"""

from __future__ import annotations

import hmac
import ipaddress

from secd.ike.endpoint import Endpoint
from secd.ike.tunnel import Tunnel
from secd.ike.v2.context import Context, Detour, Session, settings
from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import GatewayIdType, NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.notify import NotifyPayload, Redirect
from secd.ike.wire.ikev2.payload import Payload

#: How often a tunnel may be sent elsewhere within so many seconds (RFC 5685 §5).
MOST, WITHIN = 5, 300.0


def supported(tunnel: Tunnel, sent_by: str) -> list[Payload]:
    """What the first message says: that we can be sent elsewhere, or by whom we were."""
    if not settings(tunnel).redirect:
        return []
    if not sent_by:
        return [NotifyPayload(NotifyType.REDIRECT_SUPPORTED)]
    kind = GatewayIdType.IPV6 if ":" in sent_by else GatewayIdType.IPV4
    return [NotifyPayload(NotifyType.REDIRECTED_FROM, Redirect(kind, sent_by).encode())]


def taken(ctx: Context, tunnel: Tunnel, where: Endpoint) -> tuple[Endpoint, str]:
    """Where an attempt goes that was meant for `where`, and who has sent it there."""
    detour = ctx.detours.get(tunnel.name)
    if detour is None or not detour.gateway:
        return where, ""
    gateway, detour.gateway = detour.gateway, ""
    return Endpoint(tunnel.connection.local or "", where.local_port, gateway, where.remote_port), detour.by


def followed(ctx: Context, session: Session, tunnel: Tunnel, chain: Chain, nonce: bytes = b"") -> bool:
    """Whether the peer sends us elsewhere, and we go; `nonce`: ours, of a message in clear."""
    notification = chain.notification(NotifyType.REDIRECT)
    if notification is None or not settings(tunnel).redirect:
        return False
    peer = session.sa.endpoint.remote
    try:
        word = Redirect.parse(notification)
    except WireError as error:
        ctx.world.log_stranger("info", "unacceptable", f"REDIRECT of {peer}: {error}", tunnel.name)
        return False
    if not hmac.compare_digest(word.nonce, nonce):
        return False
    detour = ctx.detours.setdefault(tunnel.name, Detour())
    detour.times = [at for at in detour.times if at > ctx.world.now - WITHIN]
    obstacle = _obstacle(tunnel, peer, word)
    if not obstacle and len(detour.times) >= MOST:
        obstacle = f"that would be the {MOST + 1}th time within {WITHIN:.0f} seconds"
    if obstacle:
        text = f"{peer} sends us to {word.gateway}, and we do not go: {obstacle}"
        ctx.world.log_once(tunnel, "warning", "redirect-refused", text)
        return False
    detour.gateway, detour.by = word.gateway, peer
    detour.times.append(ctx.world.now)
    ctx.world.log("info", tunnel.name, "redirected", f"{peer} sends us to {word.gateway}")
    _go(ctx, tunnel)
    return True


def _obstacle(tunnel: Tunnel, peer: str, word: Redirect) -> str:
    if word.gateway_type == GatewayIdType.FQDN:
        return "that is a name, and only addresses can be followed"
    address, local = ipaddress.ip_address(word.gateway), tunnel.connection.local
    if word.gateway == peer:
        return "it is there"
    if address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local:
        return "no gateway can have that address"
    if local is not None and ipaddress.ip_address(local).version != address.version:
        return f"it cannot be reached from {local}"
    return ""


def _go(ctx: Context, tunnel: Tunnel) -> None:
    """Begin with the other gateway: beside an IKE SA that is there, else as soon as nothing is under way."""
    newest = ctx.newest(tunnel.name)
    if newest is not None:
        newest.redirected = True
        ctx.touch(newest)
    else:
        tunnel.attempt_at = ctx.world.now
        ctx.tend(tunnel.name)


def configured(ctx: Context) -> None:
    """Some tunnels may be gone."""
    ctx.detours = {name: detour for name, detour in ctx.detours.items() if name in ctx.world.tunnels}
