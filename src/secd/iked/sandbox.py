"""What iked gives up before it reads the first octet from anybody, and a probe that it has.

| needed                                       | therefore kept                                    |
|----------------------------------------------|---------------------------------------------------|
| its three inherited sockets                  | read, recvmsg, send, sendmsg, close, epoll        |
| commands on the inherited iked.sock          | accept4; getsockopt (SO_PEERCRED); ioctl (FIONBIO) |
| threads (Diffie-Hellman), memory, clock, randomness | clone for threads, futex, mmap, getrandom  |

Nothing else: no user, no capability, no file, no new socket, no new program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable

from secd.ipc import privileges
from secd.ipc.privileges import Call, Outcome

_PR_SET_PDEATHSIG = 1
_FIONBIO = 0x5421
#: Beyond what every asyncio process needs: taking connections on iked.sock, and making them non-blocking.
_SYSCALLS = (*privileges.PYTHON_SYSCALLS, "accept4", Call("ioctl", ((1, 0xFFFFFFFF, _FIONBIO),)))


class SandboxError(Exception):
    """iked may still hold rights, and must not run."""


def enter(uid: int, gid: int) -> list[Outcome]:
    """Give everything up, for good; say how each part went.  Raises SandboxError when identity or rights stay."""
    outcomes = [privileges.drop(uid, gid), privileges.no_new_privs()]
    for outcome in outcomes:
        if not outcome.done:
            raise SandboxError(outcome.detail)
    # After the change of user, which takes this back: die with the parent, even while stuck in a computation.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    outcomes.append(privileges.landlock_deny_all_files())
    outcomes.append(privileges.seccomp(_SYSCALLS))
    return outcomes


def probe() -> dict[str, str]:
    """Try what must be impossible; give for each attempt "refused: ..." or what was reached."""
    attempts: dict[str, Callable[[], object]] = {
        "udp socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
        "unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "socket pair": socket.socketpair,
        "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "write a file": lambda: os.open("/tmp/secd-probe", os.O_WRONLY | os.O_CREAT, 0o600),  # noqa: S108
        "open the TUN device": lambda: os.open("/dev/net/tun", os.O_RDWR),
        "list a directory": lambda: os.listdir("/"),
        "run a program": lambda: subprocess.run(["/bin/true"], check=True),
        "fork": _fork,
        "become root": lambda: os.setresuid(0, 0, 0),
        "trace the parent": lambda: _libc_call("ptrace", 16, os.getppid(), 0, 0),
        "kill the parent": lambda: os.kill(os.getppid(), 0),
    }
    results = {name: _attempt(attempt) for name, attempt in attempts.items()}
    results["a socket in a thread"] = _in_thread(attempts["udp socket"])
    results["a file in a thread"] = _in_thread(attempts["read a file"])
    return results


def _attempt(attempt: Callable[[], object]) -> str:
    try:
        result = attempt()
    except OSError as error:
        return f"refused: {error.strerror}"
    return f"reached: {result!r}"


def _in_thread(attempt: Callable[[], object]) -> str:
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(_attempt(attempt)))
    thread.start()
    thread.join()
    return results[0] if results else "reached: nothing was told"


def _fork() -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


def _libc_call(name: str, *arguments: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = getattr(libc, name)(*(ctypes.c_long(argument) for argument in arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
