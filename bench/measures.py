"""What is measured through a tunnel, a sample at a time."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import tools
from bench.machine import Usage, Watch
from bench.tunnels import Tunnel
from secd.lab.commands import LabError, environment
from secd.lab.namespaces import Host
from secd.lab.processes import Daemon

IPERF_PORT, SINK_PORT, MIRROR_PORT = 5201, 5301, 5302
OCTETS, OUTSTANDING = 64, 48


@dataclass(frozen=True)
class Sample:
    """One reading: its value, further ones by name, and what the machine did meanwhile."""

    value: float
    usage: Usage
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """Something that can be measured of any tunnel."""

    name: str
    unit: str
    mtu: int
    take: Callable[[Tunnel, float], Sample]
    seconds: float
    #: Whether more is better; of times less is.
    more_is_better: bool = True


class Count:
    """A load that counts what comes to a host (`load sink`, `load drain`), and is asked for it."""

    def __init__(self, host: Host, *words: str) -> None:
        """Start it."""
        self._process = subprocess.Popen(host.argv(*tools.load(*words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         text=True, env=environment())  # fmt: skip
        if self._line() != "ready\n":
            raise LabError(f"`load {' '.join(words)}` did not start")

    def _line(self) -> str:
        return self._process.stdout.readline() if self._process.stdout else ""

    def so_far(self) -> int:
        """Give how much has come; LabError when it has ended."""
        try:
            if self._process.stdin:
                self._process.stdin.write("\n")
                self._process.stdin.flush()
            return int(self._line())
        except (OSError, ValueError) as error:
            raise LabError("what counted at the far end has ended") from error

    def close(self) -> None:
        """Stop it."""
        self._process.kill()
        self._process.wait()


class Servers:
    """What must run at a tunnel's far end."""

    def __init__(self, tunnel: Tunnel) -> None:
        """Start it."""
        self._b = tunnel.b
        iperf = Daemon(self._b, "iperf3", "iperf3", "-s", "-p", str(IPERF_PORT))
        mirror = Daemon(self._b, "mirror", *tools.load("mirror", str(MIRROR_PORT)))
        self._sink = Count(self._b, "sink", str(SINK_PORT))
        self._daemons = [iperf, mirror]
        mirror.wait_for("ready", 5)

    def delivered(self) -> int:
        """Give how many datagrams have come to the sink so far."""
        return self._sink.so_far()

    def close(self) -> None:
        """Stop it."""
        for daemon in self._daemons:
            daemon.stop(grace=0.5)
        self._sink.close()


_servers: dict[tuple[str, str], Servers] = {}


def servers(tunnel: Tunnel) -> Servers:
    """Give the servers of the tunnel's far host, started when they are first wanted."""
    key = tunnel.b.namespace, tunnel.b.name
    if key not in _servers:
        _servers[key] = Servers(tunnel)
    return _servers[key]


def close() -> None:
    """Stop every server."""
    while _servers:
        _servers.popitem()[1].close()


def _watched(tunnel: Tunnel, run: Callable[[], float]) -> tuple[float, Usage]:
    watch = Watch([*tunnel.a.pids(), *(tunnel.b.pids())])
    watch.start()
    value = run()
    return value, watch.stop()


def _run(tunnel: Tunnel, *argv: str, seconds: float) -> str:
    result = tunnel.a.run(*argv, check=False, timeout=seconds + 20)
    if result.returncode:
        raise LabError(f"{tunnel.name}: {argv[0]} failed: {(result.stderr or result.stdout)[-500:]}")
    return result.stdout


def tcp(streams: int, congestion: str = "") -> Callable[[Tunnel, float], Sample]:
    """Octets a second that arrive over so many TCP streams; with processor seconds a gigabyte.

    `congestion` is TCP's congestion control, by default the machine's: one that paces, as BBR does, has few packets
    under way, and what a packet waits counts as much as the work that it is.  iperf3 knows whole seconds only: to it a
    half is 0, and 0 is for ever.
    """

    def take(tunnel: Tunnel, seconds: float) -> Sample:
        servers(tunnel)
        whole = str(max(1, round(seconds)))
        argv = ["iperf3", "-c", tunnel.address, "-p", str(IPERF_PORT), "-P", str(streams), "-t", whole, "-J"]
        argv += ["-C", congestion] if congestion else []
        received: list[float] = []

        def run() -> float:
            said = json.loads(_run(tunnel, *argv, seconds=seconds))
            total = said["end"]["sum_received"]
            received.append(total["bytes"])
            return float(total["bits_per_second"]) / 1e6

        value, usage = _watched(tunnel, run)
        return Sample(value, usage, {"cpu_seconds_per_gigabyte": usage.own / (received[0] / 1e9)})

    return take


def flood(tunnel: Tunnel, seconds: float) -> Sample:
    """Small datagrams a second that arrive when as many as possible are sent."""
    there = servers(tunnel)
    sent: list[float] = []

    def run() -> float:
        before = there.delivered()
        said = json.loads(_run(tunnel, *tools.load("flood", f"{tunnel.address}:{SINK_PORT}", str(OCTETS), str(seconds)),
                               seconds=seconds))  # fmt: skip
        delivered = there.delivered() - before
        sent.append(said["sent"] / said["seconds"])
        return float(delivered / said["seconds"])

    value, usage = _watched(tunnel, run)
    return Sample(value, usage, {"sent_per_second": sent[0]})


def echo(tunnel: Tunnel, seconds: float) -> Sample:
    """Small datagrams a second that come back, with so many under way."""
    servers(tunnel)
    argv = tools.load("echo", f"{tunnel.address}:{MIRROR_PORT}", str(OCTETS), str(OUTSTANDING), str(seconds))

    def run() -> float:
        said = json.loads(_run(tunnel, *argv, seconds=seconds))
        return float(said["returned"] / said["seconds"])

    return Sample(*_watched(tunnel, run))


def ping(tunnel: Tunnel, seconds: float) -> Sample:
    """Median round trip of ping(8) in microseconds, and the 99th percentile."""
    times: list[float] = []
    count = max(50, int(seconds / 0.003))

    def run() -> float:
        said = _run(tunnel, "ping", "-c", str(count), "-i", "0.002", "-s", "56", tunnel.address, seconds=seconds)
        times.extend(float(found) * 1000 for found in re.findall(r"time=([\d.]+) ms", said))
        return statistics.median(times)

    value, usage = _watched(tunnel, run)
    return Sample(value, usage, {"p99": statistics.quantiles(times, n=100)[98], "lost": count - len(times)})


def first(tunnel: Tunnel, seconds: float) -> Sample:
    """Milliseconds from the command that brings the tunnel up to the first packet that has gone there and back."""
    if not tunnel.up or not tunnel.down:
        raise LabError(f"{tunnel.name} cannot be taken down and up")
    servers(tunnel)
    tunnel.down()
    argv = tools.load("first", f"{tunnel.address}:{MIRROR_PORT}", "20")
    prober = subprocess.Popen(tunnel.a.argv(*argv), stdout=subprocess.PIPE, text=True, env=environment())
    try:
        if not prober.stdout or prober.stdout.readline() != "ready\n":
            raise LabError(f"{tunnel.name}: {argv[0]} did not start")
        began = time.monotonic()
        _, usage = _watched(tunnel, lambda: float(tunnel.up is not None and tunnel.up() is None))
        said = prober.communicate(timeout=25)[0]
    finally:
        prober.kill()
        prober.wait()
    tunnel.mtu = 0  # the interface may be a new one
    if not said:
        raise LabError(f"{tunnel.name}: nothing came back in 20 s after it was brought up")
    return Sample((float(said) - began) * 1000, usage)


TCP1 = Measure("tcp-1-stream-mtu1420", "Mbit/s", 1420, tcp(1), 2.0)
TCP1_CUBIC = Measure("tcp-1-stream-mtu1420-cubic", "Mbit/s", 1420, tcp(1, "cubic"), 2.0)
TCP4 = Measure("tcp-4-streams-mtu1420", "Mbit/s", 1420, tcp(4), 2.0)
TCP1_1280 = Measure("tcp-1-stream-mtu1280", "Mbit/s", 1280, tcp(1), 2.0)
TCP4_1280 = Measure("tcp-4-streams-mtu1280", "Mbit/s", 1280, tcp(4), 2.0)
FLOOD = Measure("flood-64", "packets/s", 1420, flood, 1.5)
ECHO = Measure("echo-64-outstanding-48", "round trips/s", 1420, echo, 1.5)
PING = Measure("ping", "microseconds", 1420, ping, 1.2, more_is_better=False)
FIRST = Measure("up-to-first-packet", "milliseconds", 1420, first, 1.0, more_is_better=False)
