"""Under which users the children run."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from msgspec import Struct

#: When the users do not exist: numbers that Debian policy leaves unused, one a process.
DEFAULT_IDS = {"_secd": 58_500, "_iked": 58_501}


class Account(Struct, frozen=True):
    """Whom a child becomes."""

    uid: int
    gid: int


def account(name: str) -> tuple[Account, str]:
    """Find whom `name` (`_secd`, `_iked`) is, and a remark for the log when it is not what it should be."""
    try:
        entry = pwd.getpwnam(name)
        wanted = Account(entry.pw_uid, entry.pw_gid)
    except KeyError:
        wanted = Account(DEFAULT_IDS[name], DEFAULT_IDS[name])
    if _maps("uid", wanted.uid) and _maps("gid", wanted.gid):
        return wanted, ""
    own = Account(os.geteuid(), os.getegid())
    return own, f"user {wanted.uid} does not exist in this user namespace: {name}'s process stays user {own.uid}"


def _maps(kind: str, number: int) -> bool:
    """Say whether our user namespace maps `number` (user_namespaces(7))."""
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    except OSError:
        return True
    ranges = [(int(first), int(count)) for first, _, count in (line.split() for line in lines)]
    return any(first <= number < first + count for first, count in ranges)
