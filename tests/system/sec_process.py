"""The data plane process alone in a host of the lab, with a stand-in for its parent in a thread of the test."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secd.control.family import (
    ClientConnected,
    CloseTUN,
    KnownInterfaces,
    LogLine,
    OpenTUN,
    Ready,
    SadbToParent,
    Stop,
    TUNOpened,
)
from secd.ipc.channel import BlockingChannel, ChannelError, listen, pair
from secd.lab.commands import wait_until
from secd.lab.namespaces import Host
from secd.parent.tun import DetachedQueues
from secd.sadb.client import SADB
from secd.sadb.messages import AUTH_KEY_OCTETS, ENCRYPTION_KEY_OCTETS, SA, FromServer, PathChange, UdpEncap

CLONE_NEWNET = 0x40000000
UID = 64_123


class SecProcess:
    """`python -m secd.sec` in `host`.  What the parent would hold survives `kill` and `start`."""

    def __init__(self, host: Host, *options: str) -> None:
        """Start it and wait until it is ready."""
        self.host = host
        self._options = options
        self._queues = DetachedQueues()
        self._path = str(host.path("/run/sadb.sock"))
        self._listener = listen(self._path)
        self.lines: list[str] = []
        self.start()

    def start(self) -> None:
        """Start a process, as the parent would after the last one ended."""
        self._ready = threading.Event()
        ours, theirs = pair()
        with (self.host.directory / "log" / "sec.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.host.argv(
                    sys.executable, "-I", "-m", "secd.sec", "--family", str(theirs.fileno()),
                    "--listen", str(self._listener.fileno()), "--user", str(UID), "--group", str(UID), *self._options,
                ),
                pass_fds=[theirs.fileno(), self._listener.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        theirs.close()
        self._channel: BlockingChannel[SadbToParent] = BlockingChannel(ours, SadbToParent, timeout=None)
        self._channel.send(KnownInterfaces(self._queues.names()))
        self._thread = threading.Thread(target=self._serve, args=(self._channel,))
        self._thread.start()
        wait_until(lambda: self._ready.is_set() or self.process.poll() is not None, 15, "the data plane to be ready")
        if not self._ready.is_set():
            self._thread.join(5)  # its last words
        assert self._ready.is_set(), f"it ended with {self.process.returncode}: {self.lines}"

    def _serve(self, channel: BlockingChannel[SadbToParent]) -> None:
        """Do the parent's part; this thread is in the host's network, to which the TUN devices shall belong."""
        namespace = os.open(f"/run/netns/{self.host.namespace}", os.O_RDONLY)
        ctypes.CDLL(None).setns(namespace, CLONE_NEWNET)
        os.close(namespace)
        try:
            while True:
                match channel.receive():
                    case OpenTUN(seq=seq, name=name, queues=queues):
                        fds, detached = self._queues.open(name, queues)
                        channel.send(TUNOpened(seq, name, detached), fds)
                        for fd in fds:
                            os.close(fd)
                    case CloseTUN(name=name):
                        self._queues.drop(name)
                    case LogLine(level=level, message=message):
                        self.lines.append(f"{level}: {message}")
                    case Ready():
                        self._ready.set()
        except ChannelError:
            return

    def connect(self) -> SADB:
        """Connect to its socket."""
        return SADB.connect(self._path)

    def hand_over(self) -> SADB:
        """Connect as the parent does it for iked: by a descriptor."""
        ours, theirs = pair()
        self._channel.send(ClientConnected(), [theirs.fileno()])
        theirs.close()
        return SADB(ours)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
        self._gone()

    def stop(self) -> int:
        """Tell it to stop, as the parent does; give its status."""
        if self.process.poll() is None:
            self._channel.send(Stop())
        status = self.process.wait(10)
        self._gone()
        return status

    def _gone(self) -> None:
        self._thread.join(5)
        self._channel.close()

    def __enter__(self) -> SecProcess:
        """It runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and what the parent holds."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._gone()
        self._listener.close()
        self._queues.clear()


def tunnel(
    spi: int, source: str, destination: str, *, iface: str = "sec0", encap: bool = True,
    encryption: str = "aes-256-gcm", auth: str = "", **fields: Any,
) -> tuple[SA, SA]:  # fmt: skip
    """Make one SA with random keys as its sender and as its receiver install it."""
    common: dict[str, Any] = {
        "spi": spi, "iface": iface, "source": source, "destination": destination, "encryption": encryption,
        "encryption_key": os.urandom(ENCRYPTION_KEY_OCTETS[encryption]), "auth": auth,
        "auth_key": os.urandom(AUTH_KEY_OCTETS[auth]), "udpencap": UdpEncap() if encap else None, **fields,
    }  # fmt: skip
    return SA(direction="out", **common), SA(direction="in", **common)


def told(client: SADB) -> FromServer:
    """The next message that is no word of routes: these change along with interfaces, and are told later."""
    while isinstance(message := client.receive(), PathChange):
        pass
    return message


def pings(host: Host, address: str, *options: str) -> bool:
    """Say whether one of a few pings is answered."""
    return host.run("ping", "-c", "3", "-i", "0.2", "-W", "1", "-q", *options, address, check=False).returncode == 0


def until(condition: Callable[[], bool], what: str, seconds: float = 5.0) -> None:
    """Wait for `condition`."""
    wait_until(lambda: condition() or None, seconds, what)


def status_of(process: SecProcess) -> dict[str, str]:
    """Read /proc/PID/status."""
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
