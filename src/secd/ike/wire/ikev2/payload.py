"""What IKEv2 adds to payloads: the notification that tells of a broken rule (RFC 7296 §3.10.1)."""

from __future__ import annotations

from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import NotifyType
from secd.ike.wire.payload import Payload

__all__ = ["Payload", "malformed"]


def malformed(problem: str, notify: NotifyType = NotifyType.INVALID_SYNTAX) -> WireError:
    """The error for a message that breaks a rule of IKEv2: INVALID_SYNTAX unless another notification says more."""
    return WireError(problem, notify)
