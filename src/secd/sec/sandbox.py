"""What the data plane may do once it is set up.

| right                | because                                                                        |
|----------------------|--------------------------------------------------------------------------------|
| CAP_NET_ADMIN        | links, inner addresses, routes and rules by netlink; TUNSETIFF on descriptors of the parent's |
| CAP_NET_RAW          | ESP as protocol 50                                                             |
| CAP_NET_BIND_SERVICE | UDP port 500, also when the socket group is made anew                          |
| its own user         | no file of root's, no signal to a process of root's                            |
| no file              | Landlock; it holds every descriptor that it needs, or gets it from the parent  |
| few system calls     | no exec, no fork, no ptrace, no mount, no open; sockets of IPv4, IPv6 and netlink only |
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from secd.ipc.privileges import PYTHON_SYSCALLS, Call, Outcome, drop, landlock_deny_all_files, no_new_privs, seccomp

CAPABILITIES = frozenset({"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"})

_WORD, _IOCTL_TYPE = 0xFFFFFFFF, 0xFF00
_PR_SET_NAME, _TUN, _SOCKETS = 15, 0x5400, 0x8900  # ioctls by their type: 'T' (TUN), 0x89 (sockets)

SYSCALLS: tuple[str | Call, ...] = (
    *PYTHON_SYSCALLS,
    *(Call("socket", ((0, _WORD, family),)) for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)),
    *(Call("ioctl", ((1, _IOCTL_TYPE, kind),)) for kind in (_TUN, _SOCKETS)),
    Call("prctl", ((0, _WORD, _PR_SET_NAME),)),
    "bind", "connect", "accept", "accept4", "sendmmsg", "recvmmsg",
    "epoll_create1", "timerfd_create", "timerfd_settime", "timerfd_gettime",
)  # fmt: skip


class SandboxError(Exception):
    """A right could not be given up that must be."""


def enter(uid: int, gid: int) -> list[Outcome]:
    """Become `uid`/`gid` without files, before there are threads; say what was done."""
    dropped = drop(uid, gid, CAPABILITIES)
    if not dropped.done:
        raise SandboxError(dropped.detail)
    return [dropped, no_new_privs(), landlock_deny_all_files()]


def close(outcomes: list[Outcome], log: Callable[[str, str], None]) -> None:
    """Filter system calls in every thread, and log what the process is left with."""
    outcomes.append(seccomp(SYSCALLS))
    log("info", "data plane confined: " + ", ".join(outcome.detail for outcome in outcomes if outcome.done))
    for outcome in outcomes:
        if not outcome.done:
            log("warning", f"data plane less confined than it could be: {outcome.detail}")
