"""Phase 1 identities: what the text after `srcid` or `dstid` stands for.

`keyid:NAME` is ours: OpenBSD has KEY_ID only in isakmpd.conf(5).
"""

from __future__ import annotations

import re
import socket
from typing import Literal

KEY_ID_PREFIX = "keyid:"

#: `C=DE, CN=gw`: how others than OpenBSD write a distinguished name.
_WITH_COMMAS = re.compile(r"[A-Za-z0-9.]+=", re.ASCII)

IdentityKind = Literal["ipv4", "ipv6", "ufqdn", "fqdn", "key_id", "asn1_dn"]


def classify(text: str) -> tuple[IdentityKind, str]:
    """Give the type of an identity and its text."""
    try:
        socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        pass
    else:
        return "ipv4", text
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        pass
    else:
        return "ipv6", socket.inet_ntop(socket.AF_INET6, packed)
    if text.startswith("/") or _WITH_COMMAS.match(text):
        return "asn1_dn", text
    if text.startswith(KEY_ID_PREFIX):
        return "key_id", text.removeprefix(KEY_ID_PREFIX)
    return ("ufqdn" if "@" in text else "fqdn"), text
