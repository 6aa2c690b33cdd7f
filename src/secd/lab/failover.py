"""A path is cut under a running ping: where the traffic went before and after, and what was lost."""

from __future__ import annotations

import itertools
import re
import signal
import time
from dataclasses import dataclass

from secd.lab.commands import wait_until
from secd.lab.processes import Daemon, send
from secd.lab.scenario import NETWORK, TARGET, Gateway, Network

#: Seconds that BGP may take: to come up over both tunnels, and to notice.
BGP_TIMEOUT = 20.0


@dataclass(frozen=True)
class Failover:
    """What the ping saw.  `silence` is the longest time in seconds between two answers."""

    before: str
    after: str
    sent: int
    lost: int
    silence: float
    ping: str


def fail_over(network: Network, preferred: Gateway, other: Gateway) -> Failover:
    """Ping the cloud through `preferred`, cut it, wait until answers come through `other`."""
    ix = network.ix

    def route() -> str:
        return ix.run("ip", "route", "get", TARGET, check=False).stdout.splitlines()[0].strip()

    def by(interface: str) -> bool:
        return interface in ix.run("ip", "route", "get", TARGET, check=False).stdout.split()

    wait_until(lambda: by(preferred.interface), BGP_TIMEOUT, f"route by {preferred.interface}")
    _wait_for_alternative(network, other)
    before = route()
    ping = Daemon(ix, "ping", "ping", "-n", "-D", "-i", "0.1", TARGET)
    ping.wait_until(lambda: len(_answers(ping)) >= 10, 10, "answers before the cut")
    network.cut(preferred)
    wait_until(lambda: by(other.interface), BGP_TIMEOUT, f"route by {other.interface}")
    after = route()
    so_far = len(_answers(ping))
    ping.wait_until(lambda: len(_answers(ping)) >= so_far + 10, 10, "answers after the cut")
    time.sleep(0.1)
    send(ping.pid, signal.SIGINT)
    wait_until(lambda: not ping.running, 5, "end of ping")
    answers = _answers(ping)
    summary = re.search(r"(\d+) packets transmitted, (\d+) received", ping.text())
    sent, received = (int(summary[1]), int(summary[2])) if summary else (0, 0)
    silence = max((b - a for a, b in itertools.pairwise(answers)), default=0.0)
    return Failover(before, after, sent, sent - received, silence, "\n".join(ping.text().splitlines()[-3:]))


def _wait_for_alternative(network: Network, other: Gateway) -> None:
    """Wait until BIRD knows the second path too; the kernel shows only the best."""
    ctl = ("birdc", "-s", "/run/bird/bird.ctl", "show", "route", "protocol", other.interface)
    wait_until(lambda: NETWORK in network.ix.run(*ctl).stdout or None, BGP_TIMEOUT, f"BGP over {other.interface}")


def _answers(ping: Daemon) -> list[float]:
    """Give the time of each answer, in epoch seconds."""
    return [float(when) for when in re.findall(r"^\[([\d.]+)\] \d+ bytes from", ping.text(), re.MULTILINE)]
