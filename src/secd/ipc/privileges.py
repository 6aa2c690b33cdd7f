"""Give up what a process does not need: users, capabilities, files, system calls.

Nothing here raises when the kernel lacks a feature: every function says in an `Outcome` what it could do, and the
caller decides whether that is enough.  Landlock and no-new-privs bind the calling thread and those it starts later:
call them before there are threads.  Import every module first: afterwards no file can be opened.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Set

from msgspec import Struct

#: capability(7) names that are known here, and their numbers.
CAPABILITIES = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8,
    "CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21,
}  # fmt: skip

_PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 4, 8, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class Outcome(Struct, frozen=True):
    """Whether it was done, and in words what was done or why not."""

    done: bool
    detail: str


class PrivilegeError(OSError):
    """A system call of this module was refused."""


def _prctl(option: int, argument: int = 0, third: int = 0) -> int:
    result: int = _libc.prctl(option, *(ctypes.c_ulong(value) for value in (argument, third, 0, 0)))
    if result < 0:
        raise _error(f"prctl({option})")
    return result


def _error(what: str) -> PrivilegeError:
    number = ctypes.get_errno()
    return PrivilegeError(number, f"{what}: {os.strerror(number)}")


# -- users and capabilities -------------------------------------------------------------------------------


def capabilities() -> int:
    """Give the effective capabilities of this thread as a bit mask."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    if _libc.capget(header, data) < 0:
        raise _error("capget")
    words = struct.unpack("=6I", data.raw)
    return int(words[0] | words[3] << 32)


def _set_capabilities(mask: int) -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = ctypes.create_string_buffer(struct.pack("=6I", low, low, 0, high, high, 0))
    if _libc.capset(header, data) < 0:
        raise _error("capset")


def _drop_bounding_set(keep: int) -> bool:
    """Nothing outside `keep` can be gained by a later exec; False without CAP_SETPCAP."""
    for number in range(64):
        try:
            if _prctl(_PR_CAPBSET_READ, number) and not keep >> number & 1:
                _prctl(_PR_CAPBSET_DROP, number)
        except PrivilegeError as error:
            return number > 0 and error.errno == 22  # EINVAL: beyond the kernel's last capability
    return True


def drop(uid: int, gid: int, keep_capabilities: Set[str] = frozenset()) -> Outcome:
    """Become `uid`/`gid` without supplementary groups, and keep only `keep_capabilities` (names of capability(7)).

    A capability that the process never had is not gained: `detail` names those that are lacking.  Not `done`: the
    process may still hold rights, and should end.  Core dumps and ptrace by the same user are turned off as well.
    """
    keep = sum(1 << CAPABILITIES[name] for name in keep_capabilities)
    notes: list[str] = []
    try:
        keep &= capabilities()
        if not _drop_bounding_set(keep):
            notes.append("the bounding set stays (no CAP_SETPCAP)")
        _prctl(_PR_SET_KEEPCAPS, 1)
        try:
            os.setgroups([])
        except PermissionError:  # an unprivileged user namespace cannot
            notes.append("supplementary groups stay")
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        _set_capabilities(keep)
        _prctl(_PR_SET_KEEPCAPS, 0)
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        _prctl(_PR_SET_DUMPABLE, 0)
        left = capabilities()
    except OSError as error:
        return Outcome(False, f"cannot become uid {uid} gid {gid}: {error.strerror}")
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or left != keep:
        return Outcome(False, f"still uid {os.getresuid()}, gid {os.getresgid()}, capabilities {left:#x}")
    notes += [f"without {name}" for name in sorted(keep_capabilities) if not keep >> CAPABILITIES[name] & 1]
    return Outcome(True, ", ".join([f"uid {uid} gid {gid}, capabilities {left:#x}", *notes]))


def no_new_privs() -> Outcome:
    """No exec can gain rights from now on (needed by Landlock and seccomp)."""
    try:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    except PrivilegeError as error:
        return Outcome(False, str(error.strerror))
    return Outcome(True, "no new privileges")


# -- Landlock: no files -----------------------------------------------------------------------------------

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same numbers on every architecture
_LANDLOCK_VERSION = 1
#: Bits of `handled_access_fs` known to each ABI version.
_LANDLOCK_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}


def landlock_deny_all_files() -> Outcome:
    """Deny opening, making, removing and running any file, TCP, and abstract sockets and signals to others.

    Descriptors that are open already go on working.  `detail` names the ABI version, which says how much of this
    the kernel knows: files from 1 on, TCP from 4, abstract sockets and signals from 6.
    """
    abi = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if abi < 1:
        return Outcome(False, f"no Landlock in this kernel: {os.strerror(ctypes.get_errno())}")
    fs = (1 << _LANDLOCK_FS_BITS.get(abi, 16)) - 1
    fields = [fs] + [3] * (abi >= 4) + [3] * (abi >= 6)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return Outcome(False, str(_error("landlock_create_ruleset").strerror))
    try:
        if _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) < 0:
            return Outcome(False, str(_error("landlock_restrict_self").strerror))
    finally:
        os.close(ruleset)
    return Outcome(True, f"no files (Landlock ABI {abi})")


# -- seccomp: no other system calls -----------------------------------------------------------------------

_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_ATTRIBUTE_BAD_ARCH, _ATTRIBUTE_TSYNC = 2, 4
_MASKED_EQUAL = 7
_CLONE_NEW_ANYTHING, _CLONE_THREAD = 0x7E020000, 0x00010000
_ENOSYS = 38

#: What a running asyncio process with threads needs once everything is imported.  `clone` is for threads alone;
#: clone3, whose flags a filter cannot see, is answered ENOSYS, and the C library falls back to clone.
PYTHON_SYSCALLS = (
    "read", "write", "readv", "writev", "close", "dup", "fcntl", "fstat", "newfstatat", "lseek",
    "sendto", "recvfrom", "sendmsg", "recvmsg", "shutdown", "getsockopt", "setsockopt", "getsockname", "getpeername",
    "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "poll", "ppoll", "select", "pselect6", "eventfd2",
    "futex", "futex_waitv", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "membarrier", "rseq",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "set_robust_list", "restart_syscall",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom",
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "tgkill", "sched_yield",
    "sched_getaffinity", "getcpu", "getrusage", "exit", "exit_group",
)  # fmt: skip


class Call(Struct, frozen=True):
    """A system call allowed when `arguments[index] & mask == value` for every (index, mask, value)."""

    name: str
    arguments: tuple[tuple[int, int, int], ...] = ()


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp of libseccomp."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def _load_libseccomp() -> ctypes.CDLL | None:
    """Load libseccomp.so.2 now, for after Landlock no file can be opened."""
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    context = ctypes.c_void_p
    library.seccomp_init.restype = context
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_attr_set.argtypes = [context, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        context, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison),
    ]  # fmt: skip
    library.seccomp_load.argtypes = [context]
    library.seccomp_release.argtypes = [context]
    library.seccomp_release.restype = None
    return library


_libseccomp = _load_libseccomp()
_THREADS = Call("clone", ((0, _CLONE_NEW_ANYTHING | _CLONE_THREAD, _CLONE_THREAD),))


def seccomp(allowed: Iterable[str | Call], *, errno: int = _ENOSYS) -> Outcome:
    """Allow `allowed` and threads, in every thread of the process; answer every other system call with `errno`.

    ENOSYS lets the C library fall back to the older calls that are allowed.  A call of another architecture's
    numbering kills the process.  Names that this architecture does not have are passed over.
    """
    library = _libseccomp
    if library is None:
        return Outcome(False, "no system call filter: libseccomp.so.2 is not installed (package libseccomp2)")
    context = library.seccomp_init(_ERRNO | errno)
    if not context:
        return Outcome(False, "no system call filter: seccomp_init failed")
    try:
        result = library.seccomp_attr_set(context, _ATTRIBUTE_BAD_ARCH, _KILL_PROCESS)
        result = result or library.seccomp_attr_set(context, _ATTRIBUTE_TSYNC, 1)
        count = 0
        for entry in (_THREADS, *allowed):
            call = entry if isinstance(entry, Call) else Call(entry)
            number = library.seccomp_syscall_resolve_name(call.name.encode())
            if number < 0:
                continue
            comparisons = [_Comparison(index, _MASKED_EQUAL, mask, value) for index, mask, value in call.arguments]
            array = (_Comparison * len(comparisons))(*comparisons)
            result = result or library.seccomp_rule_add_array(context, _ALLOW, number, len(comparisons), array)
            count += 1
        result = result or library.seccomp_load(context)
    finally:
        library.seccomp_release(context)
    if result:
        return Outcome(False, f"no system call filter: {os.strerror(-result)}")
    return Outcome(True, f"{count} system calls (seccomp)")
