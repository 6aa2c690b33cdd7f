"""A network namespace of its own for a test that runs in this process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

import pytest

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """Be in a fresh namespace with a pair of interfaces, left and right."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        pytest.skip("a network namespace needs root")
    try:
        ip("link add left type veth peer name right")
        ip("link set lo up")
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def ip(line: str) -> str:
    """Run ip-link(8) and its like in this thread's namespace."""
    return subprocess.run(["ip", *line.split()], check=True, capture_output=True, text=True).stdout
