"""What many interfaces cost: `python -m bench.many [COUNT ...]`, by default 1 10 100 1000 5000.

For each COUNT two hosts with secd get that many secN by the seam, each with an SA each way, and beside them two hosts
with one.  Said are seconds to make and remove them, memory and idle processor time, and what traffic does over one, ten
and all of them, as ratios to the hosts with one, sample by sample and with as much under way there.

Bulk is TCP, a connection over each interface (ten at least): the octets that arrive.  The others are round trips of
small packets, which go over the interfaces in turn.  With one packet under way nothing can be batched anywhere: what
its ratio lacks is what bigger tables and colder caches cost.  With 48 under way, however many the interfaces, what is
one train over one interface is spread over many: its ratio has the loss of batches too.  With 16 under way for each
interface the load grows with them, as that of users does.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import tools, tunnels
from bench.machine import Watch, commit, facts
from bench.measures import MIRROR_PORT, Count
from secd.lab.commands import LabError, environment, run
from secd.lab.namespaces import Host, Lab
from secd.lab.processes import Daemon
from secd.lab.secd import Secd
from secd.sadb import messages as m
from secd.sadb.client import SADB, SADBError

COUNTS = (1, 10, 100, 1000, 5000)
#: Requests under way at a time.
_WINDOW = 64
_IDLE = 3.0
_BULK = "bulk"
#: Packets under way: so many, and so many more for each interface, but no more than fit into the queue of one.
_LOADS = {"1": (1, 0), "48": (48, 0), "16 each": (0, 16)}
_MOST = 4800
#: Where octets of TCP are counted, connections over one or few interfaces, and seconds until they are in swing: some,
#: and more for each connection, which begin slowly.
_DRAIN_PORT, _CONNECTIONS, _SWING, _SWING_EACH = 5204, 10, 0.3, 0.001
#: Share of the machine that others may have.
_FOREIGN = 0.15
#: Octets between one tunnel's addresses and the next one's.
_STEP = 4


def addresses(number: int) -> tuple[str, str]:
    """Give the inner addresses of tunnel `number` at both ends."""
    base = (10 << 24) + (128 << 16) + _STEP * number
    ours, theirs = (".".join(str(byte) for byte in (base + end).to_bytes(4, "big")) for end in (1, 2))
    return ours, theirs


class Side:
    """One host, its secd and a connection to its data plane."""

    def __init__(self, lab: Lab, host: Host) -> None:
        """Start it."""
        self.host, self.secd = host, Secd(host)
        lab.on_exit(self.secd)
        self.sadb = SADB.connect(str(host.path("/run/secd/sadb.sock")), timeout=60)

    def ask_all(self, requests: Iterable[m.Request]) -> float:
        """Send all of `requests`, a window of them at a time; give the seconds until the last was answered."""
        began, waiting = time.monotonic(), 0
        for request in requests:
            if waiting == _WINDOW:
                self._answer()
                waiting -= 1
            self.sadb.send(request)
            waiting += 1
        for _ in range(waiting):
            self._answer()
        return time.monotonic() - began

    def _answer(self) -> None:
        while not isinstance(answer := self.sadb.receive(), m.Done):
            if isinstance(answer, m.Failed):
                raise SADBError(answer)

    def set_up(self, count: int, end: int) -> float:
        """Number the interfaces and set them up, as ip(8) does it; give the seconds."""
        began = time.monotonic()
        lines = []
        for number in range(count):
            pair = addresses(number)
            lines.append(f"address add {pair[end]} peer {pair[1 - end]} dev sec{number}")
            lines.append(f"link set sec{number} mtu 1420 up")
        run("ip", "-n", self.host.namespace, "-batch", "-", text="\n".join(lines) + "\n", timeout=300)
        return time.monotonic() - began

    def memory(self) -> dict[str, int]:
        """Give the octets of memory that its processes have to themselves, by process."""
        pids = {"parent": self.secd.daemon.pid, **self.secd.processes()}
        return {name: _private(pid) for name, pid in pids.items()}

    def idle(self) -> float:
        """Give the share of one core that its processes take while nothing passes."""
        pids = [self.secd.daemon.pid, *self.secd.processes().values()]
        before = sum(map(_busy, pids))
        time.sleep(_IDLE)
        return (sum(map(_busy, pids)) - before) / _IDLE


def _private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private"))


def _busy(pid: int) -> float:
    """Processor seconds, by the clock of the process: ticks are too coarse for what is nearly nothing."""
    return time.clock_gettime(~pid << 3 | 2)  # CLOCK_PROCESS_CPUTIME_ID of another, as clock_getcpuclockid(3) makes it


def _available() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


def associations(count: int, end: int) -> Iterable[m.Request]:
    """The SAs of one host."""
    here, there = (tunnels.A, tunnels.B)[:: 1 if end == 0 else -1]
    key = bytes(range(36))  # what passes is nobody's
    for number in range(count):
        for outbound, spi in ((True, 0x10000 + 2 * number + end), (False, 0x10001 + 2 * number - end)):
            sa = m.SA(
                spi=spi, direction="out" if outbound else "in", iface=f"sec{number}",
                source=here if outbound else there, destination=there if outbound else here,
                encryption="aes-256-gcm", encryption_key=key, replay=1024, udpencap=m.UdpEncap(),
            )  # fmt: skip
            yield m.Add(1, sa)


def make(lab: Lab, name: str, count: int) -> tuple[list[Side], dict[str, Any]]:
    """Make two hosts with `count` tunnels between them, and say what that cost at one of them."""
    sides = [Side(lab, host) for host in tunnels.hosts(lab, name)]
    before, available = sides[0].memory(), _available()
    said: dict[str, Any] = {"interfaces": count}
    for end, side in enumerate(sides):
        seconds = side.ask_all(m.InterfaceCreate(1, f"sec{number}") for number in range(count))
        said["make_seconds"] = round(seconds, 2)
        said["set_up_seconds"] = round(side.set_up(count, end), 2)
        said["add_sas_seconds"] = round(side.ask_all(associations(count, end)), 2)
    time.sleep(1.0)  # what follows the interfaces comes to rest
    said["kib_a_tunnel"] = {
        name: round((now - before[name]) / count / 1024, 1) for name, now in sides[0].memory().items()
    }
    said["kib_a_tunnel"]["kernel_and_all_of_both"] = round((available - _available()) / count / 1024, 1)
    said["idle_share_of_a_core"] = round(sides[0].idle(), 5)
    lab.on_exit(mirror := Daemon(sides[1].host, "mirror", *tools.load("mirror", str(MIRROR_PORT))))
    mirror.wait_for("ready", 5)
    return sides, said


def round_trips(side: Side, over: int, outstanding: int, seconds: float) -> float:
    """Give the round trips a second of small packets that go over the first `over` tunnels in turn."""
    argv = tools.load("echo", f"{addresses(0)[1]}:{MIRROR_PORT}", "64", str(outstanding), str(seconds), str(over),
                      str(_STEP))  # fmt: skip
    said = json.loads(side.host.run(*argv, timeout=seconds + 20).stdout)
    return float(said["returned"]) / float(said["seconds"])


def bulk(side: Side, drain: Count, over: int, connections: int, seconds: float) -> float:
    """Give the octets a second that arrive when as many as possible are sent over the first `over` tunnels."""
    argv = tools.load("streams", f"{addresses(0)[1]}:{_DRAIN_PORT}", str(connections), str(over), str(_STEP))
    with subprocess.Popen(side.host.argv(*argv), stdout=subprocess.PIPE, text=True, env=environment()) as sender:
        try:
            if not sender.stdout or sender.stdout.readline() != "ready\n":
                raise LabError(f"{argv[0]} could not connect")
            time.sleep(_SWING + _SWING_EACH * connections)
            began, before = time.monotonic(), drain.so_far()
            time.sleep(seconds)
            rate = (drain.so_far() - before) / (time.monotonic() - began)
            if sender.poll() is not None:
                raise LabError(f"{argv[0]} has ended: what it could not do is above")
            return rate
        finally:
            sender.kill()


def compare(pair: tuple[Callable[[], float], Callable[[], float]], rounds: int, watch: Watch) -> dict[str, Any]:
    """Give the ratio of the second to the first, sample by sample."""
    ratios, foreign = [], 0.0
    for take in pair:
        take()
    for _ in range(rounds):
        watch.start()
        base = pair[0]()
        ratios.append(pair[1]() / base)
        foreign = max(foreign, watch.stop().foreign)
    return {"ratio": round(statistics.median(ratios), 2), "range": [round(min(ratios), 2), round(max(ratios), 2)],
            "foreign_cpu": round(foreign, 2)}  # fmt: skip


def measure(count: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Make `count` tunnels, send over them, remove them; say all of it."""
    with Lab() as lab:
        one, _ = make(lab, "one", 1)
        many, said = make(lab, "many", count)
        drains = [Count(sides[1].host, "drain", str(_DRAIN_PORT)) for sides in (one, many)]
        for drain in drains:
            lab.on_exit(closing(drain))
        watch = Watch(host_pid for side in (*one, *many) for host_pid in side.host.pids())
        said["ratios"] = []
        for over in sorted({1, min(10, count), count}):
            connections = max(_CONNECTIONS, over)
            taken = compare(
                (
                    partial(bulk, one[0], drains[0], 1, connections, seconds),
                    partial(bulk, many[0], drains[1], over, connections, seconds),
                ),
                rounds,
                watch,
            )
            said["ratios"].append({"over": over, "load": _BULK, **taken})
            for load, (fixed, each) in _LOADS.items():
                if over == 1 and each:
                    continue  # no other load than over one of one
                outstanding = min(fixed + each * over, _MOST)
                taken = compare(
                    (
                        partial(round_trips, one[0], 1, outstanding, seconds),
                        partial(round_trips, many[0], over, outstanding, seconds),
                    ),
                    rounds,
                    watch,
                )
                said["ratios"].append({"over": over, "load": load, **taken})
        for side in many:
            seconds_taken = side.ask_all(m.InterfaceDestroy(1, f"sec{number}") for number in range(count))
            said["remove_seconds"] = round(seconds_taken, 2)
        said["sas_left"] = many[0].sadb.counters()["sas"]
    return said


def table(readings: list[dict[str, Any]]) -> Table:
    """Show it to a person; a ratio whose samples had 15 % of the machine taken by others has a star."""
    made = Table(
        title="what many interfaces cost; octets (bulk) and round trips over them as ratio to a host with one [range]"
    )
    for column in ("interfaces", "make s", "set up s", "SAs s", "remove s", "idle", "KiB each", "over", "bulk",
                   *(f"{load} under way" for load in _LOADS)):  # fmt: skip
        made.add_column(column, justify="right")
    for reading in readings:
        numbers = [str(reading[name]) for name in ("interfaces", "make_seconds", "set_up_seconds", "add_sas_seconds",
                                                   "remove_seconds", "idle_share_of_a_core")]  # fmt: skip
        each = reading["kib_a_tunnel"]
        numbers.append(f"{sum(each[name] for name in ('parent', 'sadb', 'iked')):.1f}+{each['kernel_and_all_of_both']}")
        overs = sorted({ratio["over"] for ratio in reading["ratios"]})
        said = {(ratio["over"], ratio["load"]): _ratio(ratio) for ratio in reading["ratios"]}
        columns = ("\n".join(said.get((over, load), "") for over in overs) for load in (_BULK, *_LOADS))
        made.add_row(*numbers, "\n".join(map(str, overs)), *columns)
    return made


def _ratio(ratio: dict[str, Any]) -> str:
    least, most = ratio["range"]
    return f"{ratio['ratio']} [{least}-{most}]" + ("*" if ratio["foreign_cpu"] > _FOREIGN else "")


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m bench.many", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("counts", nargs="*", type=int, default=COUNTS, metavar="COUNT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args()
    tools.prepare()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # thousands of connections
    console, readings = Console(width=None if sys.stdout.isatty() else 160), []
    for count in options.counts:
        readings.append(measure(count, options.rounds, options.seconds))
        console.print_json(json.dumps(readings[-1]))
    console.print(table(readings))
    document = {"machine": facts(), "commit": commit(), "readings": readings}
    (tools.BUILD / "many.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
