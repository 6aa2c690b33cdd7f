"""The registry of Diffie-Hellman groups and KEMs, by the names of ipsec.conf(5) and by IANA's numbers."""

from __future__ import annotations

from secd.ike.crypto import curves, mlkem, modp
from secd.ike.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from secd.ike.crypto.group import Encapsulation, Group, KeyPair

__all__ = ["GROUPS", "Encapsulation", "Group", "InvalidPublicValue", "KeyPair", "group", "group_numbered"]

GROUPS: dict[str, Group] = {entry.name: entry for entry in (*modp.GROUPS, *curves.GROUPS, *mlkem.GROUPS)}
_BY_NUMBER = {int(entry.number): entry for entry in GROUPS.values()}


def group(name: str) -> Group:
    """The group that ipsec.conf(5) calls `name`; `UnsupportedAlgorithm` if there is none."""
    try:
        return GROUPS[name]
    except KeyError:
        raise UnsupportedAlgorithm(f"group {name}: expected one of {', '.join(GROUPS)}") from None


def group_numbered(number: int) -> Group | None:
    """The group of IANA's number; None for one that we do not have."""
    return _BY_NUMBER.get(number)
