"""A host in the middle that loses, doubles, delays and reorders packets, by a seed, without the kernel's netem.

What the host should forward is routed into a TUN first; this module, run as a program, decides about each packet and
writes it back, and the kernel forwards it as usual:

    a ---- eth0 [rule: iif eth0, eth1 -> relay0] eth1 ---- b
                        relay0 <-> program
"""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import sys
import time
from dataclasses import dataclass
from typing import Self

from secd.lab.commands import LabError
from secd.lab.namespaces import Host
from secd.lab.tool import Tool, answer

DEVICE = "relay0"
TABLE = "100"
#: Packets that wait to be let go; more are dropped, and counted as lost.
MAX_WAITING = 10_000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


@dataclass(frozen=True)
class Faults:
    """What happens to packets: probabilities from 0 to 1, times in milliseconds.

    `reorder` is the share that is held back by up to `hold` while others pass.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    hold: float = 20.0
    delay: float = 0.0


class Relay:
    """The program at work on a forwarding host; leaving the context ends it, and then nothing passes."""

    def __init__(self, host: Host, devices: tuple[str, str] = ("eth0", "eth1"), *, seed: int = 1) -> None:
        """Route what comes by `devices` through it; at first it changes nothing."""
        host.forward()
        host.sysctl(net__ipv4__conf__all__rp_filter=0, net__ipv4__conf__default__rp_filter=0)
        host.ip("tuntap", "add", DEVICE, "mode", "tun")
        host.ip("link", "set", DEVICE, "mtu", "1500", "up")
        for family in ("-4", "-6"):
            host.ip(family, "route", "add", "default", "dev", DEVICE, "table", TABLE)
            for device in devices:
                host.ip(family, "rule", "add", "iif", device, "lookup", TABLE)
        self._tool = Tool(host, "relay", "--seed", str(seed))

    def set(self, faults: Faults) -> None:
        """From now on do this to packets."""
        self._tool.ask(json.dumps(dataclasses.asdict(faults)))

    def counts(self) -> dict[str, int]:
        """Give how many packets came, were lost, doubled and held back so far."""
        return self._tool.ask("counts")

    def close(self) -> None:
        """End it."""
        self._tool.close()

    def __enter__(self) -> Self:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()


class Fate:
    """Decides about packets; the same seed and the same packets give the same decisions."""

    def __init__(self, seed: int) -> None:
        """Start from `seed`, without faults."""
        self.faults = Faults()
        self.counts = {"packets": 0, "lost": 0, "duplicated": 0, "reordered": 0}
        self._random = random.Random(seed)  # noqa: S311

    def decide(self) -> list[float]:
        """Give the delays in seconds with which the next packet goes on: none when it is lost, two when doubled."""
        faults, draw = self.faults, self._random.random
        lost, doubled, held, how_long = draw(), draw(), draw(), draw()
        self.counts["packets"] += 1
        if lost < faults.loss:
            self.counts["lost"] += 1
            return []
        delay = faults.delay / 1000
        if held < faults.reorder:
            self.counts["reordered"] += 1
            delay += faults.hold / 1000 * (0.25 + 0.75 * how_long)
        if doubled < faults.duplicate:
            self.counts["duplicated"] += 1
            return [delay, delay]
        return [delay]


def main(argv: list[str] | None = None) -> None:
    """Relay until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m secd.lab.relay")
    parser.add_argument("--seed", type=int, default=1)
    fate = Fate(parser.parse_args(argv).seed)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    waiting: list[tuple[float, int, bytes]] = []
    order = 0
    with selectors.DefaultSelector() as selector:
        selector.register(tun, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        answer(ready=True)
        while True:
            timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in selector.select(timeout):
                if key.fileobj is sys.stdin and not _obey(fate):
                    return
                if key.fileobj == tun:
                    packet = os.read(tun, 65536)
                    if _is_the_kernels_own(packet):
                        continue
                    for delay in fate.decide():
                        if delay == 0:
                            _write(tun, packet)
                        elif len(waiting) < MAX_WAITING:
                            order += 1
                            heapq.heappush(waiting, (time.monotonic() + delay, order, packet))
                        else:
                            fate.counts["lost"] += 1
            while waiting and waiting[0][0] <= time.monotonic():
                _write(tun, heapq.heappop(waiting)[2])


def _is_the_kernels_own(packet: bytes) -> bool:
    """Whether the kernel says this about the TUN itself: router solicitations, multicast reports."""
    return packet[0] >> 4 == 6 and (packet[24] == 0xFF or packet[8:10] == b"\xfe\x80")


def _write(tun: int, packet: bytes) -> None:
    try:
        os.write(tun, packet)
    except OSError as error:
        sys.stderr.write(f"relay: {error}\n")


def _obey(fate: Fate) -> bool:
    line = os.read(sys.stdin.fileno(), 4096).decode().strip()
    if not line:
        return False
    if line == "counts":
        answer(**fate.counts)
        return True
    try:
        fate.faults = Faults(**json.loads(line))
    except (TypeError, ValueError) as error:
        raise LabError(f"relay: not understood: {line}") from error
    answer(set=True)
    return True


if __name__ == "__main__":
    main()
