"""Each restriction is tried in a process of its own: what is given up cannot be had back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import errno, os, signal, socket, sys, threading
from secd.ipc.privileges import *
from secd.ipc.privileges import capabilities
"""


def run(body: str) -> str:
    """Run `body` in a process of its own and give what it printed."""
    script = PRELUDE + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.root
def test_drop_leaves_the_named_capabilities_and_no_others() -> None:
    assert run("""
        outcome = drop(4711, 4712, {"CAP_NET_ADMIN", "CAP_NET_RAW"})
        assert outcome.done, outcome
        assert os.getresuid() == (4711,) * 3 and os.getresgid() == (4712,) * 3 and os.getgroups() == []
        print(hex(capabilities()))
    """) == hex(1 << 12 | 1 << 13)


@pytest.mark.root
def test_after_drop_root_cannot_be_had_back() -> None:
    assert (
        run("""
        assert drop(4711, 4711).done
        try:
            os.setresuid(0, 0, 0)
        except PermissionError:
            print("refused")
    """)
        == "refused"
    )


@pytest.mark.root
def test_a_capability_that_was_never_held_is_named() -> None:
    assert "without CAP_NET_RAW" in run("""
        assert drop(0, 0, {"CAP_SETUID", "CAP_SETGID"}).done
        print(drop(0, 0, {"CAP_NET_RAW"}).detail)
    """)


def test_dropping_to_another_user_without_the_right_is_an_outcome_not_an_exception() -> None:
    if os.getuid() == 0:
        assert run("assert drop(4711, 4711).done; print(drop(0, 0).done)") == "False"
    else:
        assert run("print(drop(0, 0).done)") == "False"


def test_landlock_leaves_open_descriptors_and_denies_every_file() -> None:
    output = run("""
        kept = open("/proc/self/status")
        assert no_new_privs().done
        outcome = landlock_deny_all_files()
        if not outcome.done:
            print("no landlock"); sys.exit()
        assert kept.read()
        for path in ("/etc/passwd", "/proc/self/status", "/dev/null"):
            try:
                open(path)
            except PermissionError:
                pass
            else:
                print("opened", path)
        try:
            os.mkdir("/tmp/secd-landlock")
        except PermissionError:
            print("denied")
    """)
    if output == "no landlock":
        pytest.skip("this kernel has no Landlock")
    assert output == "denied"


SECCOMP = """
assert no_new_privs().done
outcome = seccomp((*PYTHON_SYSCALLS, Call("socket", ((0, 0xFFFFFFFF, socket.AF_INET),))))
if not outcome.done:
    print(outcome.detail); sys.exit()
"""


def test_seccomp_denies_what_is_not_named_in_every_thread() -> None:
    before = """
ready, go = threading.Event(), threading.Event()
def other():
    ready.set(); go.wait()
    try:
        os.getpgid(0)
    except OSError as error:
        print("thread", errno.errorcode[error.errno])
thread = threading.Thread(target=other); thread.start(); ready.wait()
"""
    after = """
for attempt in (lambda: os.execv("/bin/true", ["true"]), os.fork, lambda: os.open("/etc/passwd", 0)):
    try:
        attempt()
    except OSError as error:
        print(errno.errorcode[error.errno])
go.set(); thread.join()
"""
    assert run(before + SECCOMP + after) == "ENOSYS\nENOSYS\nENOSYS\nthread ENOSYS"


def test_seccomp_lets_threads_start_and_looks_at_arguments() -> None:
    after = """
thread = threading.Thread(target=print, args=("a thread",)); thread.start(); thread.join()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
try:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    assert run(SECCOMP + after) == "a thread\nENOSYS"
