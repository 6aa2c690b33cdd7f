"""A run directory that is full, read-only or gone, and a wall clock that jumps: tunnels do not mind."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from secd.control import client
from secd.control import messages as control
from secd.ike.v1 import machine
from secd.lab.commands import scripts_directory, wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.processes import Daemon
from secd.sadb.client import SADB
from secd.sadb.messages import SA, Lifetime
from secd.sec.database import Database

pytestmark = pytest.mark.root

SECD = str(scripts_directory() / "secd")
ENTER = "mkdir -p /run/disk && mount -t tmpfs -o {options} none /run/disk && {prepare} exec {secd} --no-boot"
MANUAL = SA(0x1234, "out", "sec8", "192.0.2.1", "192.0.2.2", "aes-128", b"e" * 16, "hmac-sha1", b"a" * 20)


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.host("disks")


def on_disk(host: Host, options: str, prepare: str = "") -> subprocess.CompletedProcess[str]:
    """Start secd with its run directory on a file system of its own, for as long as it does not end by itself."""
    script = ENTER.format(options=options, prepare=prepare, secd=f"timeout 5 {SECD}")
    return host.run("unshare", "--mount", "sh", "-c", script, check=False, env={"SECD_RUNDIR": "/run/disk/secd"})


@pytest.mark.parametrize(
    ("options", "prepare", "said"),
    [
        ("ro", "", "cannot make the run directory /run/disk/secd: Read-only file system"),
        ("nr_inodes=1", "", "cannot make the run directory /run/disk/secd: No space left on device"),
        ("nr_inodes=2", "", "cannot open /run/disk/secd/secd.lock: No space left on device"),
        ("nr_inodes=3", "", "No space left on device"),
    ],
    ids=["read-only", "no directory", "no lock", "no sockets"],
)
def test_what_is_wrong_with_the_run_directory_is_said_in_one_line(
    host: Host, options: str, prepare: str, said: str
) -> None:
    result = on_disk(host, options, prepare)
    assert result.returncode == 1, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("secd: ")
    assert said in line


def test_without_an_octet_left_it_runs(host: Host) -> None:
    result = on_disk(host, "size=4k", "cat /dev/zero >/run/disk/full 2>/dev/null;")
    assert "ready" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def secd(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    (host.directory / "log" / "secd.log").unlink(missing_ok=True)
    with Daemon(host, "secd", SECD, "--no-boot") as daemon:
        daemon.wait_for(r"secd\[\d+\]: ready$", 20)
        yield daemon


def processes() -> dict[str, int]:
    return {process.name: process.pid for process in client.processes()}


Inside = Callable[[str], str]
ASK = f"SECD_RUNDIR=/run/disk/secd {SECD.removesuffix('secd')}sec counters"


@contextmanager
def on_small_disk(host: Host, name: str) -> Iterator[tuple[Daemon, Inside]]:
    """Run secd with its run directory on a file system of its own, and give what runs commands where that is seen."""
    script = ENTER.format(options="nr_inodes=20", prepare="", secd=SECD)
    env = {"SECD_RUNDIR": "/run/disk/secd"}
    with Daemon(host, name, "unshare", "--mount", "sh", "-c", script, env=env) as daemon:
        daemon.wait_for(r"secd\[\d+\]: ready$", 20)

        def inside(command: str) -> str:
            argv = ["nsenter", "-t", str(daemon.pid), "-m", "-n", "--", "sh", "-c", command]
            return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout

        yield daemon, inside


def kill_and_wait(daemon: Daemon, name: str) -> None:
    """Kill a child, and wait until iked is there again, which comes last."""
    pid = next(pid for title, pid in daemon.children().items() if name in title)
    written = len(daemon.text())
    os.kill(pid, 9)
    daemon.wait_for(r"iked is ready", 20, after=written)


def test_a_run_directory_that_fills_up_disturbs_nothing_that_runs(host: Host) -> None:
    with on_small_disk(host, "full") as (daemon, inside):
        inside("touch $(seq -f /run/disk/%g 30) 2>/dev/null || true")
        inside(ASK)
        kill_and_wait(daemon, "iked")
        inside(ASK)
        assert daemon.stop(grace=10) == 0
        assert "Traceback" not in daemon.text()


def test_a_run_directory_that_turns_read_only_disturbs_nothing_that_runs(host: Host) -> None:
    """The kernel keeps a mount with a file open for writing from it, so a read-only one is laid over it."""
    with on_small_disk(host, "read-only") as (daemon, inside):
        inside("mount --bind /run/disk /run/disk && mount -o remount,bind,ro /run/disk")
        assert "no" in inside("touch /run/disk/secd/x 2>/dev/null || echo no")
        inside(ASK)
        for name in ("iked", "sadb"):
            kill_and_wait(daemon, name)
            inside(ASK)
        assert daemon.stop(grace=10) == 0
        assert "Traceback" not in daemon.text()


def test_a_run_directory_that_is_removed_stops_commands_alone(secd: Daemon, host: Host) -> None:
    before = processes()
    assert client.load("test", [], [control.AddManual("f: 1", MANUAL)]) == control.Accepted()
    sadb = before["sadb"]
    for path in host.path("/run/secd").iterdir():
        path.unlink()
    host.path("/run/secd").rmdir()
    with pytest.raises(client.ControlError, match="secd is not running"):
        client.processes()
    os.kill(sadb, 9)
    secd.wait_for(r"sadb is ready.*\n(.*\n)*.*iked is ready", 20, after=secd.text().index("ready\n"))
    assert secd.running
    assert secd.stop(grace=10) == 0
    assert "Traceback" not in secd.text()


def test_lifetimes_go_by_a_clock_that_nobody_sets(secd: Daemon, host: Host) -> None:
    """CLOCK_MONOTONIC in the data plane: an SA of two seconds lives two seconds, whatever its time of day says."""
    sa = SA(0x4321, "in", "sec8", "192.0.2.2", "192.0.2.1", "aes-128", b"e" * 16, "hmac-sha1", b"a" * 20,
            hard=Lifetime(addtime=2))  # fmt: skip
    with SADB.connect(str(host.path("/run/secd/sadb.sock"))) as seam:
        seam.add(sa)
        assert len(seam.dump()) == 1
        wait_until(lambda: not seam.dump(), 5, "the end of the SA")


#: Where the time of day may be asked: to be shown, and where certificates are valid or not.
SHOWN = {"database.py", "control.py", "carrier.py", "log.py", "certificates.py", "rehearsal.py", "mod.rs"}


def test_the_time_of_day_is_asked_only_to_be_shown() -> None:
    source = Path(machine.__file__).parents[2]
    asked = re.compile(r"\btime\.time\(|datetime\.now\(|CLOCK_REALTIME|SystemTime")
    files = [path for path in source.rglob("*.py") if not {"lab", "cli"} & set(path.relative_to(source).parts)]
    files += (source.parents[1] / "engine" / "src").rglob("*.rs")
    assert {path.name for path in files if asked.search(path.read_text())} <= SHOWN


def test_an_sa_that_lives_from_its_first_use_on_does_not_feel_the_clock_being_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for jump in (-86_400.0, 0.0, 86_400.0):
        assert asyncio.run(_lived_after(jump, monkeypatch)) == pytest.approx(1.0, abs=0.3)


async def _lived_after(jump: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that an SA of one second from its first use lives when the clock is set by `jump` meanwhile."""
    loop, began = asyncio.get_running_loop(), time.monotonic()
    ended: asyncio.Future[float] = loop.create_future()
    offset = time.time() - began
    database = Database(lambda _record, _kind: ended.set_result(time.monotonic() - began), lambda _: began + offset)
    database.add(msgspec.structs.replace(MANUAL, hard=Lifetime(usetime=1)))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: time.monotonic() + offset + jump)
        return await asyncio.wait_for(ended, 5)
