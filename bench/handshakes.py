"""IKEv2 handshakes of secd and of charon with the same peer: `python -m bench.handshakes [--rounds 3] [--profile]`.

The peer is our own speaker for many addresses (`bench.ike_load`).  As responder each answers, WINDOW at a time, to as
many connections as it has policies; as initiator each is given them and begins by itself.  A handshake is IKE_SA_INIT
and IKE_AUTH with a pre-shared key and a pair of ESP SAs.  Runs of both alternate.  Processor time is that of all
processes of the one measured, and not of the peer, which also bounds handshakes a second.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from bench import tools
from bench.ike_load import PSK, Peer, address, connection
from bench.machine import Watch, commit, facts, seconds_of
from secd.ike.contract import Send
from secd.lab.commands import LabError, environment
from secd.lab.namespaces import Host, Lab
from secd.lab.secd import Secd, version
from secd.lab.strongswan import Charon, Tunnel
from secd.lab.strongswan import version as charon_version
from secd.sadb.client import SADB
from secd.sadb.messages import Datagram

Role = Literal["initiator", "responder"]
LOAD, TESTED = "192.0.2.1", "192.0.2.2"
GROUPS, ROLES = ("curve25519", "modp3072"), ("initiator", "responder")
WINDOW = 16
#: Handshakes that are profiled at a time: not so many that cookies are asked for.
BATCH = 25
#: Seconds that one run may take, and in which what was deleted is gone.
PATIENCE, GONE = 120.0, 1.5


@dataclass(frozen=True)
class Run:
    """Seconds until all were up, processor seconds by process, and the share of the machine that others had."""

    wall: float
    cpu: dict[str, float]
    foreign: float


class Speaking:
    """`bench.ike_load` in its host."""

    def __init__(self, host: Host, group: str) -> None:
        """Start it."""
        words = [sys.executable, "-m", "bench.ike_load", "--peer", TESTED, "--group", group]
        self._process = subprocess.Popen(host.argv(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                         env=environment({"PYTHONPATH": str(tools.ROOT)}))  # fmt: skip
        self.line()

    def say(self, text: str) -> None:
        """Give it a line."""
        if self._process.stdin:
            self._process.stdin.write(text + "\n")
            self._process.stdin.flush()

    def line(self) -> str:
        """What it answers."""
        line = self._process.stdout.readline().strip() if self._process.stdout else ""
        if not line:
            raise LabError("bench.ike_load ended")
        return line

    def __enter__(self) -> Speaking:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Entrant(ABC):
    """One who is measured, on a cable of its own with a host for the peer."""

    name = version = ""

    def __init__(self, lab: Lab, count: int) -> None:
        """Make both hosts."""
        self.count = count
        self.host, self.peer = lab.host(self.name), lab.host(f"{self.name}-peer")
        lab.link(self.host, f"{TESTED}/24", self.peer, f"{LOAD}/24")
        self.peer.run("ip", "-batch", "-", text="".join(f"address add {address(n)}/32 dev lo\n" for n in range(count)))
        self.host.route("10.1.0.0/16", LOAD)

    @abstractmethod
    def load(self, group: str, role: Role | None) -> None:
        """Have policies for all, or none; as initiator, begin."""

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """Its processes."""


class OfSecd(Entrant):
    """secd."""

    name = "secd"

    def __init__(self, lab: Lab, count: int) -> None:
        """Start it, with an interface for each connection."""
        super().__init__(lab, count)
        self.version = version()
        self._secd = Secd(self.host, "")
        lab.on_exit(self._secd)
        with SADB.connect(str(self.host.path("/run/secd/sadb.sock")), timeout=60) as sadb:
            for number in range(count):
                sadb.create(f"sec{number}")

    def load(self, group: str, role: Role | None) -> None:
        """Write and load iked.conf."""
        mode = "active" if role == "initiator" else "passive"
        words = f"ikesa enc aes-256-gcm prf hmac-sha2-256 group {group} childsa enc aes-256-gcm group none"
        policies = "".join(
            f'ikev2 "t{n}" {mode} from any to any local {TESTED} peer {address(n)} {words} srcid {TESTED} '
            f'dstid {address(n)} psk "{PSK.decode()}" iface sec{n}\n'
            for n in range(self.count)
        )
        self.host.write("/etc/iked.conf", "set dpd_check_interval 0\n" + (policies if role else ""), mode=0o600)
        self.host.run("ikectl", "load", "/etc/iked.conf", timeout=60)

    def pids(self) -> dict[str, int]:
        """Parent, sadb, iked."""
        return {"parent": self._secd.daemon.pid, **self._secd.processes()}


class OfCharon(Entrant):
    """strongSwan's charon; its pairs carry the hosts alone: kernel-libipsec has no two 0.0.0.0/0 at a time."""

    name = "charon"

    def __init__(self, lab: Lab, count: int) -> None:
        """Start it."""
        super().__init__(lab, count)
        self.version = charon_version()
        self._charon = Charon(self.host, log_level=0, charon={"dos_protection": False})
        lab.on_exit(self._charon)

    def load(self, group: str, role: Role | None) -> None:
        """Write and load swanctl.conf."""
        start = "start" if role == "initiator" else "none"
        child = {"local_ts": "dynamic", "remote_ts": "dynamic", "esp_proposals": "aes256gcm16", "start_action": start,
                 "rekey_time": "0s"}  # fmt: skip
        tunnels = [
            Tunnel(TESTED, address(n), PSK.decode(), name=f"c{n}", version=2, ike=f"aes256gcm16-prfsha256-{group}",
                   extra={"children": {f"c{n}": child}}) for n in range(self.count)
        ]  # fmt: skip
        self._charon._write(tunnels if role else [])
        self._charon.swanctl("--load-all", "--clear", timeout=120)

    def pids(self) -> dict[str, int]:
        """The one."""
        return {"charon": self._charon.daemon.pid}


def run(entrant: Entrant, group: str, role: Role) -> Run:
    """Make all handshakes once, and undo them."""
    count = entrant.count
    with Speaking(entrant.peer, group) as peer:
        if role == "responder":
            entrant.load(group, role)
        else:
            peer.say(f"wait {count}")
            peer.line()
        time.sleep(0.3)
        pids = entrant.pids()
        watch, before = Watch(pids.values()), {name: seconds_of(pid) for name, pid in pids.items()}
        watch.start()
        began = time.monotonic()
        if role == "responder":
            peer.say(f"begin {count} {WINDOW}")
        else:
            entrant.load(group, role)
        peer.line()
        wall = time.monotonic() - began
        time.sleep(0.2)
        cpu = {name: seconds_of(pid) - before[name] for name, pid in pids.items()}
        foreign = watch.stop().foreign
        peer.say("end")
        peer.line()
        time.sleep(GONE)
        entrant.load(group, None)
        time.sleep(0.5)
    return Run(wall, cpu, foreign)


def table(results: dict[tuple[str, Role], dict[str, list[Run]]], count: int) -> Table:
    """Medians, and ratios run by run."""
    made = Table(title=f"IKEv2 handshakes, {count} a run", title_justify="left")
    columns = (
        "as", "group", "secd a second", "charon a second", "secd, ms of processor", "of it iked, sadb, parent",
        "charon, ms of processor", "secd / charon, processor", "n", "foreign",
    )  # fmt: skip
    for column in columns:
        made.add_column(column, justify="left" if column in {"as", "group"} else "right")
    for (group, role), runs in results.items():
        ours, theirs = runs["secd"], runs["charon"]
        cost = [[1000 * sum(each.cpu.values()) / count for each in side] for side in (ours, theirs)]
        ratios = [a / b for a, b in zip(*cost, strict=True) if b]
        parts = [statistics.median(1000 * each.cpu[name] / count for each in ours)
                 for name in ("iked", "sadb", "parent")]  # fmt: skip
        made.add_row(
            role, group, *(f"{statistics.median(count / each.wall for each in side):.0f}" for side in (ours, theirs)),
            f"{statistics.median(cost[0]):.2f}", " ".join(f"{part:.2f}" for part in parts),
            f"{statistics.median(cost[1]):.2f}",
            f"{statistics.median(ratios):.1f} [{min(ratios):.1f}-{max(ratios):.1f}]", str(len(ratios)),
            f"{statistics.median(each.foreign for each in ours + theirs):.0%}",
        )  # fmt: skip
    return made


# -- where the time goes ----------------------------------------------------------------------------------


def profile(console: Console, group: str, count: int) -> None:
    """Make handshakes between two speakers in this process, and say in which part the time was spent."""
    profiler = cProfile.Profile()
    for begun in range(0, count, BATCH):
        _between_two(profiler, group, range(begun, min(count, begun + BATCH)))
    parts: Counter[str] = Counter()
    for entry in profiler.getstats():
        where = ("", entry.code) if isinstance(entry.code, str) else (entry.code.co_filename, entry.code.co_name)
        parts[_part(*where)] += entry.inlinetime
    whole = sum(parts.values())
    made = Table(title=f"Both sides of {count} handshakes, {group}, under cProfile", title_justify="left")
    made.add_column("part")
    made.add_column("share", justify="right")
    for part, seconds in parts.most_common():
        made.add_row(part, f"{seconds / whole:.0%}")
    console.print(made)


def _between_two(profiler: cProfile.Profile, group: str, numbers: range) -> None:
    """Make these handshakes at once."""
    queue: deque[tuple[Peer, Datagram]] = deque()
    peers: dict[str, Peer] = {}

    def sender(to: str) -> Callable[[Send], object]:
        return lambda send: queue.append(
            (peers[to], Datagram(send.remote, send.remote_port, send.local, send.local_port, send.data))
        )

    left = peers["left"] = Peer(sender("right"), time.monotonic)
    right = peers["right"] = Peer(sender("left"), time.monotonic)
    ends = [(address(n), address(n).replace("10.1.", "10.2.")) for n in numbers]
    right.configure([connection(b, a, f"sec{n}", group, active=False) for n, (a, b) in enumerate(ends)])
    profiler.enable()
    left.configure([connection(a, b, f"sec{n}", group, active=True) for n, (a, b) in enumerate(ends)])
    left.tick()
    while queue:
        receiver, datagram = queue.popleft()
        receiver.receive(datagram)
        left.tick()
    profiler.disable()
    if len(left.up) < len(numbers):
        raise LabError(f"{len(left.up)} of {len(numbers)} handshakes came to their end")


def _part(file: str, function: str) -> str:
    parts = {"/ike/wire/": "reading and writing payloads", "/ike/crypto/": "around the library's primitives",
             "/ike/v2/": "the machine of IKEv2", "/ike/": "steps, timers, tunnels", "ipaddress": "addresses as text",
             "/bench/": "the benchmark"}  # fmt: skip
    for piece, name in parts.items():
        if piece in file:
            return name
    built_in = {
        "msgpack": "checkpoints", "hmac": "HMAC", "x25519": "key exchange", "dh": "key exchange", "pow": "key exchange",
        "AESGCM": "AES-GCM", "aead": "AES-GCM",
    }  # fmt: skip
    return next((name for piece, name in built_in.items() if piece in function), "other built-in functions")


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m bench.handshakes", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs of each role and group")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="handshakes of a run")
    parser.add_argument("--groups", nargs="+", default=GROUPS, metavar="GROUP")
    parser.add_argument("--profile", action="store_true", help="only say where a handshake's time goes")
    parser.add_argument("--output", type=Path, default=tools.BUILD / "handshakes.json", metavar="FILE")
    options = parser.parse_args()
    console = Console(width=160)
    if options.profile:
        for group in options.groups:
            profile(console, group, options.count)
        return
    results: dict[tuple[str, Role], dict[str, list[Run]]] = {}
    with Lab() as lab:
        entrants: list[Entrant] = [OfSecd(lab, options.count), OfCharon(lab, options.count)]
        for number in range(options.rounds):
            for group in options.groups:
                for role in ROLES:
                    for entrant in entrants if number % 2 else entrants[::-1]:
                        one = run(entrant, group, role)
                        results.setdefault((group, role), {}).setdefault(entrant.name, []).append(one)
                        console.print(f"{number + 1}/{options.rounds} {entrant.name}, {role}, {group}: "
                                      f"{options.count / one.wall:.0f}/s", highlight=False)  # fmt: skip
    console.print(table(results, options.count))
    console.print(f"{entrants[0].version}; {entrants[1].version}")
    rows = [
        {"group": group, "role": role, **{name: [each.__dict__ for each in runs] for name, runs in sides.items()}}
        for (group, role), sides in results.items()
    ]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": facts(), "commit": commit(), "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
