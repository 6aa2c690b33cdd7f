"""Transaction exchanges: mode config and XAUTH, which carry addresses and passwords, and are not done here.

draft-dukes-ike-mode-cfg, draft-beaulieu-ike-xauth.  A peer that asks under the protection of an established SA is told
ATTRIBUTES-NOT-SUPPORTED, once for a message, and a person is told once; nothing is kept but that message's id.
"""

from __future__ import annotations

from secd.ike import explain
from secd.ike.v1 import informational, phase1
from secd.ike.v1.context import Context, Message, Session
from secd.ike.wire.iana import ConfigType, NotifyType
from secd.ike.wire.payloads import ConfigurationPayload

#: XAUTH's attributes (draft-beaulieu-ike-xauth §6).
_XAUTH = range(16520, 16531)


def refuse(ctx: Context, session: Session, message: Message) -> None:
    """Say no to what a transaction exchange asks for."""
    message_id, tunnel = message.header.message_id, ctx.tunnel(session)
    if tunnel is None or not session.sa.established or not message_id or message_id in session.sa.recent:
        return
    chain = informational.opened(session, message)
    asked = chain.one(ConfigurationPayload)
    session.remember(message_id)
    session.heard = ctx.world.now
    ctx.touch(session)
    text = explain.not_done_here(session.sa.endpoint.remote, _words(asked))
    ctx.world.log_once(tunnel, "error", "not-done-here", text)
    if asked.config_type in (ConfigType.ISAKMP_CFG_REQUEST, ConfigType.ISAKMP_CFG_SET):
        ctx.inform(session, [phase1.notification(session, NotifyType.ATTRIBUTES_NOT_SUPPORTED)])


def _words(asked: ConfigurationPayload) -> str:
    if any(each.type in _XAUTH for each in asked.attributes):
        return "wants a user's name and password (XAUTH)"
    if asked.config_type == ConfigType.ISAKMP_CFG_SET:
        return "wants to configure us (mode config)"
    return "wants to be configured, with an address of its own (mode config)"
