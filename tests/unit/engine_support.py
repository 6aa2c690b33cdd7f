"""Two hosts in network namespaces, each with an engine of its own in this process, for the tests of the engine.

a: sec0 169.254.1.1 ---- veth 10.77.0.1, fd77::1 ==== veth 10.77.0.2, fd77::2 ---- sec0 169.254.1.2 :b
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secd._engine import Engine

if TYPE_CHECKING:
    from secd._engine import EngineEvent

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_serial = itertools.count()

KEYS = {"aes-128-gcm": 20, "aes-192-gcm": 28, "aes-256-gcm": 36, "chacha20-poly1305": 36,
        "aes-128": 16, "aes-192": 24, "aes-256": 32, "null": 0}  # fmt: skip
AUTH_KEYS = {"": 0, "hmac-sha1": 20, "hmac-sha2-256": 32, "hmac-sha2-384": 48, "hmac-sha2-512": 64}


def ip(*words: str) -> str:
    """Run ip(8)."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run this thread in `namespace`; threads that it starts and sockets that it opens stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        try:
            yield
        finally:
            _libc.setns(here, CLONE_NEWNET)
    finally:
        os.close(here)
        os.close(there)


def make_namespace(name: str) -> None:
    """A namespace whose IPv6 addresses are good at once: looking for duplicates takes seconds."""
    ip("netns", "add", name)
    with inside(name):
        for which in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{which}/accept_dad").write_text("0")
    ip("-n", name, "link", "set", "lo", "up")


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether `condition` becomes true within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


class Node:
    """One host: a namespace, an engine, and the events that it told."""

    def __init__(self, namespace: str, address: str, address6: str, workers: int, latency: int | None = None) -> None:
        self.namespace, self.address, self.address6 = namespace, address, address6
        self.engine = Engine(workers, latency=latency)
        self.events: list[EngineEvent] = []
        self.held: list[int] = []

    def open(self) -> None:
        with inside(self.namespace):
            self.engine.open()

    def attach(self, name: str = "sec0", inner: str = "", peer: str = "", *, mtu: int = 1280, queues: int = 0) -> int:
        """Make `name` with an inner address, up and running; `queues` 0: as many as workers."""
        with inside(self.namespace):
            self.held.append(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
        index = self._attach(name, self.held[-1], mtu, queues)
        ip("-n", self.namespace, "link", "set", name, "mtu", str(mtu), "up")
        if inner:
            ip("-n", self.namespace, "addr", "add", inner, "peer", peer, "dev", name)
        return index

    def attach_again(self, name: str = "sec0", *, mtu: int = 1280) -> int:
        """Take `name` up again, whose detached queue this node holds."""
        return self._attach(name, -1, mtu)

    def _attach(self, name: str, detached: int, mtu: int, queues: int = 0) -> int:
        with inside(self.namespace):
            fds = [os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC) for _ in range(queues or self.engine.workers)]
            try:
                return self.engine.attach(name, fds, detached, mtu=mtu, running=True)
            finally:
                for fd in fds:
                    os.close(fd)

    def poll(self) -> list[EngineEvent]:
        self.events += self.engine.poll()
        return self.events

    def await_event(self, kind: str, seconds: float = 5.0) -> EngineEvent:
        """The first event of that kind, which may be pending already."""
        end = time.monotonic() + seconds
        while True:
            for event in self.poll():
                if event[0] == kind:
                    self.events.remove(event)
                    return event
            left = end - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no event {kind!r} within {seconds} s; there are {self.events}")
            select.select([self.engine.event_fd()], [], [], left)

    def counter(self, name: str) -> int:
        return self.engine.counters()[name]

    def socket(self, kind: int, protocol: int = 0, *, ipv6: bool = False, port: int | None = None) -> socket.socket:
        """A socket in this namespace, bound to `port` of every address if that is given."""
        with inside(self.namespace):
            made = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, kind, protocol)
        made.settimeout(5)
        if ipv6 and kind == socket.SOCK_DGRAM:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port is not None:
            made.bind(("", port))
        return made

    def drops(self) -> dict[str, int]:
        """Every counter that is not zero, of those that tell of drops."""
        return {name: n for name, n in self.engine.counters().items() if n and name.startswith("drop_")}

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.namespace, *words]
        return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60)

    def ping(self, address: str, *words: str) -> bool:
        return self.run("ping", "-c", "3", "-i", "0.05", "-W", "1", *words, address, check=False).returncode == 0

    def close(self) -> None:
        self.engine.close()
        for fd in self.held:
            os.close(fd)


class Pair:
    """Nodes `a` and `b` with a wire between them."""

    def __init__(self, workers: int = 2, *, engine_at_b: bool = True, latency: int | None = None) -> None:
        name = f"ee{os.getpid()}-{next(_serial)}"
        self.a = Node(f"{name}a", "10.77.0.1", "fd77::1", workers, latency)
        self.b = Node(f"{name}b", "10.77.0.2", "fd77::2", workers)
        for node in (self.a, self.b):
            make_namespace(node.namespace)
        ip("-n", self.a.namespace, "link", "add", "wire", "type", "veth", "peer", "name", "wire",
           "netns", self.b.namespace)  # fmt: skip
        for node in (self.a, self.b):
            ip("-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", "wire")
            ip("-n", node.namespace, "addr", "add", f"{node.address6}/64", "dev", "wire", "nodad")
            ip("-n", node.namespace, "link", "set", "wire", "up")
        self.a.open()
        if engine_at_b:
            self.b.open()

    def attach(self, name: str = "sec0", *, mtu: int = 1280, net: str = "169.254.1") -> None:
        self.a.attach(name, f"{net}.1", f"{net}.2", mtu=mtu)
        self.b.attach(name, f"{net}.2", f"{net}.1", mtu=mtu)

    def add_sas(self, iface: str = "sec0", spi: int = 0x1000, **options: Any) -> dict[str, Any]:
        """A pair of SAs: `spi` from a to b, `spi` + 1 back."""
        keys = sa_keys(options.pop("encryption", "aes-256-gcm"), options.pop("auth", ""))
        there, back = self.ends(options.pop("ipv6", False))
        for number, source, destination, sender, receiver in (
            (spi, there, back, self.a, self.b),
            (spi + 1, back, there, self.b, self.a),
        ):
            sa = sa_arguments(number, iface, source, destination, **keys, **options)
            sender.engine.add_sa(direction="out", **sa)
            receiver.engine.add_sa(direction="in", **sa)
        return keys

    def add_out(self, spi: int, **options: Any) -> dict[str, Any]:
        """An outbound SA at a alone; its keys."""
        keys = sa_keys("aes-256-gcm")
        self.a.engine.add_sa(direction="out", **sa_arguments(spi, "sec0", *self.ends(), **keys, **options))
        return keys

    def add_in(self, spi: int, keys: dict[str, Any], **options: Any) -> None:
        """An inbound SA at a alone, for what b sends."""
        self.a.engine.add_sa(direction="in", **sa_arguments(spi, "sec0", *self.ends()[::-1], **keys, **options))

    def ends(self, ipv6: bool = False) -> tuple[str, str]:
        if not ipv6:
            return (self.a.address, self.b.address)
        assert wait_until(lambda: self.a.ping(self.b.address6)), "no IPv6 on the wire"
        return (self.a.address6, self.b.address6)

    def close(self) -> None:
        for node in (self.a, self.b):
            node.close()
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", node.namespace)


def sa_keys(encryption: str, auth: str = "") -> dict[str, Any]:
    """Algorithms with random keys."""
    return {
        "encryption": encryption, "encryption_key": os.urandom(KEYS[encryption]),
        "auth": auth, "auth_key": os.urandom(AUTH_KEYS[auth]),
    }  # fmt: skip


def sa_arguments(spi: int, iface: str, source: str, destination: str, **options: Any) -> dict[str, Any]:
    """Arguments of `add_sa`, but the direction."""
    defaults: dict[str, Any] = {
        "replay": 64, "esn": False, "udpencap": (4500, 4500),
        "soft_bytes": 0, "soft_packets": 0, "hard_bytes": 0, "hard_packets": 0,
    }  # fmt: skip
    return {"spi": spi, "iface": iface, "source": source, "destination": destination, **defaults, **options}


def is_tun_with_vnet_header(fd: int) -> bool:
    """Whether a queue has IFF_VNET_HDR."""
    request = bytearray(40)
    fcntl.ioctl(fd, 0x800454D2, request)
    return bool(int.from_bytes(request[16:18], "little") & 0x4000)


__all__ = ["Node", "Pair", "inside", "ip", "make_namespace", "sa_arguments", "sa_keys", "wait_until"]
