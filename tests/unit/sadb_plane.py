"""A SADB service in a thread of its own, on an engine that only takes notes: for tests of the service alone."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from secd.control.family import LogLine, SadbToParent
from secd.ipc.channel import BlockingChannel, ChannelError, listen, pair
from secd.netlink import Netlink
from secd.sadb.client import SADB
from secd.sadb.messages import SA, Direction, Lifetime, UdpEncap
from secd.sec.clients import Doorkeeper
from secd.sec.family import Family
from secd.sec.service import Service

if TYPE_CHECKING:
    from secd._engine import EngineEvent, InterfaceCounters, SACounters

T = TypeVar("T")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 5.0) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.005)


class NotedEngine:
    """Keeps what it is told, and tells what the test puts into `events`."""

    workers = 1

    def __init__(self) -> None:
        self.sas: dict[tuple[str, int, str], SACounters] = {}
        self.sent: list[tuple[str, int, str, int, bytes]] = []
        self.calls: list[str] = []
        self.events: list[EngineEvent] = []
        self.send_error: OSError | None = None
        self.add_error: OSError | None = None
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)

    def emit(self, *events: EngineEvent) -> None:
        """Make events happen."""
        self.events.extend(events)
        os.write(self._writable, b"!")

    def event_fd(self) -> int:
        return self._readable

    def poll(self) -> list[EngineEvent]:
        os.read(self._readable, 4096)
        taken, self.events = self.events, []
        return taken

    def add_sa(self, **sa: Any) -> None:
        self.calls.append("add")
        if self.add_error:
            raise self.add_error
        self.sas[sa["direction"], sa["spi"], sa["destination"]] = {
            "spi": sa["spi"], "direction": sa["direction"], "destination": sa["destination"],
            "packets": 9, "esp_bytes": 2044, "inner_bytes": 853, "drops": 1, "rpl": 10,
            "first_use": 0.0, "last_use": 0.0, "idle": -1.0, "pmtu": 0,
        }  # fmt: skip

    def update_sa(self, spi: int, direction: Direction, destination: str, **new: Any) -> None:
        self.calls.append("update")
        counters = self.sas.pop((direction, spi, destination))
        counters["destination"] = new["new_destination"]
        self.sas[direction, spi, new["new_destination"]] = counters

    def delete_sa(self, spi: int, direction: Direction, destination: str) -> None:
        self.calls.append("delete")
        if self.sas.pop((direction, spi, destination), None) is None:
            raise OSError(errno.ESRCH, "no such SA")

    def sa_counters(self, spi: int, direction: Direction, destination: str) -> SACounters:
        return self.sas[direction, spi, destination]

    def dump(self) -> list[SACounters]:
        return list(self.sas.values())

    def counters(self) -> dict[str, int]:
        return {"drop_no_sa": 7}

    def send_ike(self, local: str, local_port: int, remote: str, remote_port: int, data: bytes) -> None:
        self.calls.append("send")
        if self.send_error:
            raise self.send_error
        self.sent.append((local, local_port, remote, remote_port, data))

    def attach(self, name: str, fds: list[int], detached: int, *, mtu: int, running: bool) -> int:
        raise NotImplementedError

    def detach(self, name: str) -> None:
        raise NotImplementedError

    def set_interface(self, name: str, *, running: bool, mtu: int, tunneldf: bool, mss_clamp: bool) -> None:
        raise NotImplementedError

    def interface_counters(self, name: str) -> InterfaceCounters:
        raise NotImplementedError


class Plane:
    """The running service."""

    def __init__(self) -> None:
        self.engine = NotedEngine()
        self.log: list[str] = []
        self.fatal: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._parent, theirs = pair()
        self._threads = [threading.Thread(target=self._loop.run_forever), threading.Thread(target=self._read_log)]
        for thread in self._threads:
            thread.start()
        self.call(lambda: self._set_up(theirs))

    def _set_up(self, theirs: socket.socket) -> None:
        family = Family(theirs, on_known=lambda _: None, on_client=lambda _: None, on_stop=lambda _: None)
        self.family = family
        self.service = Service(self.engine, Netlink(), family, self.fatal.append)
        self._loop.add_reader(self.engine.event_fd(), self.service.take_engine_events)

    def _read_log(self) -> None:
        channel: BlockingChannel[SadbToParent] = BlockingChannel(self._parent, SadbToParent, timeout=None)
        try:
            while True:
                line = channel.receive()
                if isinstance(line, LogLine):
                    self.log.append(f"{line.level}: {line.message}")
        except ChannelError:
            return

    def call(self, function: Callable[[], T]) -> T:
        """Run `function` in the service's thread."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def connect(self, *, timeout: float = 5.0) -> SADB:
        """Connect a client."""
        ours, theirs = pair()
        self.call(lambda: self.service.admit(theirs))
        return SADB(ours, timeout=timeout)

    def raw(self) -> socket.socket:
        """Connect somebody who need not speak the protocol."""
        ours, theirs = pair()
        ours.settimeout(5)
        self.call(lambda: self.service.admit(theirs))
        return ours

    def listen(self, path: str) -> None:
        """Serve a listening socket as well."""
        self.call(lambda: Doorkeeper(listen(path, mode=0o666), self.service.admit, self.service.count, self.family.log))

    def close(self) -> None:
        """Stop it."""
        self.call(self.service.close)
        self.call(self.family.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join(5)
        self._loop.close()
        self._parent.close()


def sa(spi: int = 0x1001, direction: Direction = "out", **fields: Any) -> SA:
    """Make an SA with keys that are easy to find where they must not be."""
    values: dict[str, Any] = {
        "spi": spi,
        "direction": direction,
        "iface": "sec0",
        "source": "192.0.2.1",
        "destination": "192.0.2.2",
        "encryption": "aes-256-gcm",
        "encryption_key": b"K" * 36,
        "udpencap": UdpEncap(),
    }
    return SA(**values | fields)


def seconds(value: int) -> Lifetime:
    """Make a limit in seconds since the SA was added."""
    return Lifetime(addtime=value)
