"""Many IKEv2 tunnels between two daemons: `python -m bench.tunnels_1000 [--tunnels 10 1000]`.

Until all are up, memory of each process, processor time when nothing happens and of one rekey; each number of tunnels
in daemons of its own.  Processor time is that of both sides' processes together.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import tools
from bench.machine import Watch, commit, facts, seconds_of
from bench.tunnels import PSK, A, B
from secd.control.messages import Refused, Rekey, Reply
from secd.ike.contract import SAKind
from secd.ipc.channel import BlockingChannel
from secd.lab.commands import LabError, wait_until
from secd.lab.namespaces import Lab
from secd.lab.secd import Secd
from secd.sadb.client import SADB

#: Seconds in which nothing happens, and rekeys of each kind that are ordered one after the other.
QUIET, REKEYS = 10.0, 20
#: Seconds from when all are up until nothing that belongs to it is done any more.
SETTLE = 10.0
#: Seconds between two of them, and until the last one's older SAs are gone.
PAUSE, AFTERWARDS = 0.6, 5.0
KINDS: tuple[SAKind, ...] = ("child", "ike")
IKE = "ikesa enc aes-256-gcm prf hmac-sha2-256 group {group} childsa enc aes-256-gcm group {group}"
PROCESSES = ("parent", "sadb", "iked")


@dataclass(frozen=True)
class Figures:
    """What was seen with so many tunnels; seconds, and KiB."""

    tunnels: int
    load: float
    up: float
    up_cpu: dict[str, float]
    empty: dict[str, int]
    full: dict[str, int]
    quiet_cpu: float
    rekey_cpu: dict[str, float]
    foreign: float


class Ends:
    """Two daemons with interfaces sec0 .. and a cable; the left one begins."""

    def __init__(self, lab: Lab, tunnels: int, group: str) -> None:
        """Start them, without a policy."""
        self.tunnels, self._group = tunnels, group
        self.hosts = lab.host(f"left-{tunnels}"), lab.host(f"right-{tunnels}")
        lab.link(self.hosts[0], f"{A}/24", self.hosts[1], f"{B}/24")
        for side, host in enumerate(self.hosts):  # behind one address: the kernel has not room for 1,000 neighbours
            batch = "".join(f"address add {address(side, n)}/32 dev lo\n" for n in range(tunnels))
            host.run("ip", "-batch", "-", text=batch, timeout=120)
            host.route(f"10.{2 - side}.0.0/16", (B, A)[side])
        self.daemons = [Secd(host, "") for host in self.hosts]
        for daemon in self.daemons:
            lab.on_exit(daemon)
        for host in self.hosts:
            with SADB.connect(str(host.path("/run/secd/sadb.sock")), timeout=60) as sadb:
                for number in range(tunnels):
                    sadb.create(f"sec{number}")
            host.run("ip", "-batch", "-", text="".join(f"link set sec{n} up\n" for n in range(tunnels)), timeout=120)

    def load(self) -> float:
        """Load the policies, the right side's first; gives the seconds that the left one's took."""
        for side in (1, 0):
            began = time.monotonic()
            host = self.hosts[side]
            host.write("/etc/iked.conf", self._policies(side), mode=0o600)
            host.run("ikectl", "load", "/etc/iked.conf", timeout=300)
        return time.monotonic() - began

    def _policies(self, side: int) -> str:
        mode, words = ("active", "passive")[side], IKE.format(group=self._group)
        return "set dpd_check_interval 0\n" + "".join(
            f'ikev2 "t{n}" {mode} from any to any local {address(side, n)} peer {address(1 - side, n)} {words} '
            f'srcid {address(side, n)} dstid {address(1 - side, n)} psk "{PSK}" iface sec{n}\n'
            for n in range(self.tunnels)
        )

    def pids(self, side: int) -> dict[str, int]:
        """The processes of a side."""
        return {"parent": self.daemons[side].daemon.pid, **self.daemons[side].processes()}

    def cpu(self) -> dict[str, float]:
        """Processor seconds of each kind of process so far, of both sides together."""
        both = [self.pids(side) for side in (0, 1)]
        return {name: sum(seconds_of(pids[name]) for pids in both) for name in PROCESSES}

    def resident(self) -> dict[str, int]:
        """KiB that the left side's processes hold."""
        return {name: resident(pid) for name, pid in self.pids(0).items()}

    def up(self) -> int:
        """How many tunnels came up on the left, by its log: to ask iked would cost it time."""
        return self.daemons[0].daemon.text().count(" is up\n")

    def renewed(self, what: SAKind) -> int:
        """How many rekeys of a kind were made, by the left side's log."""
        words = {"child": ", SPI 0x", "ike": "new keys for the IKE SA"}[what]
        return self.daemons[0].daemon.text().count(words)

    def rekey(self, number: int, what: SAKind) -> None:
        """Order a rekey over iked's socket; the command would be a process each time."""
        path = str(self.hosts[0].path("/run/secd/iked.sock"))
        with BlockingChannel[Reply].connect(path, Reply, timeout=60) as channel:
            channel.send(Rekey(f"sec{number}", what))
            answer = channel.receive()
        if isinstance(answer, Refused):
            raise LabError("; ".join(answer.errors))


def address(side: int, number: int) -> str:
    """The address that tunnel `number` has on a side."""
    return f"10.{side + 1}.{number // 250}.{number % 250 + 1}"


def resident(pid: int) -> int:
    """What a process has in memory, KiB (VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def spent(ends: Ends, before: dict[str, float]) -> dict[str, float]:
    """What each kind of process has used since."""
    return {name: now - before[name] for name, now in ends.cpu().items()}


def measure(lab: Lab, tunnels: int, group: str, console: Console) -> Figures:
    """Bring so many up, look, rekey some."""
    ends = Ends(lab, tunnels, group)
    empty, before = ends.resident(), ends.cpu()
    watch = Watch([pid for side in (0, 1) for pid in ends.pids(side).values()])
    watch.start()
    load = ends.load()
    began = time.monotonic() - load
    wait_until(lambda: ends.up() == tunnels, 600, f"{tunnels} tunnels", interval=max(0.2, tunnels / 1000))
    up, up_cpu = time.monotonic() - began, spent(ends, before)
    foreign = watch.stop().foreign
    console.print(f"{tunnels} tunnels are up after {up:.1f} s, {load:.1f} s of it to load them", highlight=False)
    time.sleep(SETTLE)
    full, before = ends.resident(), ends.cpu()
    time.sleep(QUIET)
    quiet = sum(spent(ends, before).values()) / QUIET
    cpu = {what: _rekeys(ends, what, quiet) for what in KINDS}
    return Figures(tunnels, load, up, up_cpu, empty, full, quiet, cpu, foreign)


def _rekeys(ends: Ends, what: SAKind, quiet: float) -> float:
    """Processor seconds of one rekey: of some of different tunnels, one after the other, and of what comes after."""
    before, began = ends.cpu(), time.monotonic()
    seen = ends.renewed(what)
    for at in range(REKEYS):
        ends.rekey(at * ends.tunnels // REKEYS, what)
        time.sleep(PAUSE)
    time.sleep(AFTERWARDS)
    used = sum(spent(ends, before).values()) - quiet * (time.monotonic() - began)
    if (made := ends.renewed(what) - seen) < REKEYS:
        raise LabError(f"{made} of {REKEYS} rekeys of {what} were made")
    return used / REKEYS


@contextmanager
def lab_of_its_own() -> Iterator[Lab]:
    """A lab for one number of tunnels: nothing of another one runs meanwhile."""
    with Lab() as lab:
        yield lab


def table(figures: list[Figures]) -> Table:
    """Everything, a column a number of tunnels."""
    made = Table(title="IKEv2 tunnels between two secd", title_justify="left")
    made.add_column("")
    for each in figures:
        made.add_column(f"{each.tunnels} tunnels", justify="right")

    def row(name: str, values: list[str]) -> None:
        made.add_row(name, *values)

    row("policies loaded in, s", [f"{each.load:.2f}" for each in figures])
    row("all up after, s", [f"{each.up:.2f}" for each in figures])
    for name in PROCESSES:
        row(f"processor to bring one up, {name}, ms",
            [f"{1000 * each.up_cpu[name] / each.tunnels:.2f}" for each in figures])  # fmt: skip
    for name in PROCESSES:
        row(f"memory a tunnel, {name}, KiB",
            [f"{(each.full[name] - each.empty[name]) / each.tunnels:.1f}" for each in figures])  # fmt: skip
        row(f"memory, {name}, MiB", [f"{each.full[name] / 1024:.1f}" for each in figures])
    row("processor when nothing happens, ms a second", [f"{1000 * each.quiet_cpu:.1f}" for each in figures])
    for what, words in (("child", "ESP SAs"), ("ike", "IKE SA")):
        row(f"processor of one rekey of {words}, ms", [f"{1000 * each.rekey_cpu[what]:.2f}" for each in figures])
    row("share of the machine that others had", [f"{each.foreign:.0%}" for each in figures])
    return made


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.tunnels_1000", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--tunnels", type=int, nargs="+", default=[10, 1000], metavar="N")
    parser.add_argument("--group", default="curve25519", help="the key exchange of IKE SAs and of rekeys")
    parser.add_argument("--output", type=Path, default=tools.BUILD / "tunnels_1000.json", metavar="FILE")
    options = parser.parse_args()
    console = Console(width=120)
    figures = []
    for tunnels in options.tunnels:
        with lab_of_its_own() as lab:
            figures.append(measure(lab, tunnels, options.group, console))
    console.print(table(figures))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows = [each.__dict__ for each in figures]
    options.output.write_text(json.dumps({"machine": facts(), "commit": commit(), "figures": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
