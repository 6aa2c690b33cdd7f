"""Local users against the sockets of a running secd: nonsense, giants, crowds, clients that never read or say half."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from secd.control import client
from secd.control import messages as control
from secd.ipc.channel import MAX_MESSAGE
from secd.lab.commands import scripts_directory, wait_until
from secd.lab.namespaces import Host, Lab
from secd.lab.processes import Daemon
from secd.sadb import messages as sadb
from secd.sadb.client import SADB

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from targets import disturb, mangle, samples

pytestmark = pytest.mark.root

SECD = str(scripts_directory() / "secd")
SOCKETS = ("secd.sock", "sadb.sock", "iked.sock")
#: Mebibytes by which a process may grow.
GROWTH = 40.0


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.host("local")


@pytest.fixture(scope="module")
def running(host: Host) -> Iterator[Daemon]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
        with Daemon(host, "secd", SECD, "--no-boot") as daemon:
            daemon.wait_for(r"secd\[\d+\]: ready$", 20)
            sa = sadb.SA(0x999, "out", "sec9", "192.0.2.1", "192.0.2.2", "aes-128", b"e" * 16, "hmac-sha1", b"a" * 20)
            client.load("warm", [], [control.AddManual("f: 1", sa)])  # the parent's one connection to sadb.sock stays
            client.load("warm", [], [])
            yield daemon
            assert daemon.stop(grace=10) == 0


@pytest.fixture
def secd(running: Daemon) -> Iterator[Daemon]:
    """A running secd that, whatever a test does, keeps its processes, its memory and its descriptors."""
    assert client.status() == []
    before, written = state(), len(running.text())
    yield running
    assert client.status() == []
    wait_until(lambda: all(now <= before[name][2] for name, now in fds().items()), 10, "the descriptors of before")
    after = state()
    assert {name: each[0] for name, each in after.items()} == {name: each[0] for name, each in before.items()}
    assert all(after[name][1] - before[name][1] < GROWTH for name in before), (before, after)
    assert "internal error" not in running.text()[written:]
    assert "failed within secd" not in running.text()[written:]


def state() -> dict[str, tuple[int, float, int]]:
    """Give the pid, the memory in MiB and the number of descriptors of each process."""
    found = {}
    processes = client.processes()
    time.sleep(0.1)  # until the connection that asked is closed there too
    for process in processes:
        status = Path(f"/proc/{process.pid}/status").read_text()
        memory = int(status.partition("VmRSS:")[2].split()[0]) / 1024
        found[process.name] = process.pid, memory, len(os.listdir(f"/proc/{process.pid}/fd"))
    return found


def fds() -> dict[str, int]:
    return {name: each[2] for name, each in state().items()}


def connect(host: Host, name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(str(host.path(f"/run/secd/{name}")))  # waits while too many others do
    sock.settimeout(5)
    return sock


def is_closed(sock: socket.socket) -> bool:
    """Whether the other side has closed the connection, after whatever it still had to say."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(MAX_MESSAGE):
            pass
    return True


# -- nonsense ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOCKETS)
@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        b"\xff" * 1000,
        b"\x81\xa4type\xa5zzzzz",
        b"\x81\xa4type\xa4ty\xff\xfe",
        b"\x91" * 5000,
        b"\xdf\xff\xff\xff\xff",
    ],
    ids=["reserved", "ones", "unknown", "no UTF-8", "deep", "huge map"],
)
def test_what_is_no_message_ends_its_connection_alone(secd: Daemon, host: Host, name: str, data: bytes) -> None:
    with connect(host, name) as good, connect(host, name) as bad:
        bad.send(data)
        assert is_closed(bad)
        good.send(msgspec.msgpack.encode(_question(name)))
        assert good.recv(MAX_MESSAGE)


def _question(name: str) -> object:
    return {"secd.sock": control.ShowProcesses(), "sadb.sock": sadb.CountersGet(1), "iked.sock": control.ShowStatus()}[
        name
    ]


@pytest.mark.parametrize("name", SOCKETS)
def test_a_message_that_is_too_large_ends_its_connection_alone(secd: Daemon, host: Host, name: str) -> None:
    with connect(host, name) as bad:
        bad.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        bad.send(b"\xa1x" * (MAX_MESSAGE // 2 + 1))
        assert is_closed(bad)


@pytest.mark.parametrize("name", SOCKETS)
def test_descriptors_that_come_along_are_closed(secd: Daemon, host: Host, name: str) -> None:
    """Sent with a question, with nonsense, and too many of them."""
    question = msgspec.msgpack.encode(_question(name))
    for data, count in ((question, 1), (question, 64), (b"\xc1", 10), (question, 200), (b"", 3)):
        with connect(host, name) as sock, contextlib.suppress(ConnectionError):
            rights = array.array("i", [sock.fileno()] * count)
            sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            sock.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                sock.recv(MAX_MESSAGE)


@pytest.mark.parametrize("name", SOCKETS)
def test_mangled_messages_are_answered_or_end_their_connection(secd: Daemon, host: Host, name: str) -> None:
    """Of every message of every socket, some that are right and thousands that are nearly so."""
    rng = Random(name)
    known = [msgspec.msgpack.encode(each) for each in samples() if not isinstance(each, sadb.InterfaceDestroy)]
    end = time.monotonic() + 2.0
    sent = connections = 0
    while time.monotonic() < end:
        connections += 1
        with connect(host, name) as sock, contextlib.suppress(OSError):
            sock.settimeout(0.02)
            for _ in range(50):
                data = rng.choice(known)
                if rng.random() < 0.6:
                    data = msgspec.msgpack.encode(disturb(rng, msgspec.msgpack.decode(data)))
                elif rng.random() < 0.9:
                    data = mangle(rng, data, [rng.choice(known)])
                sock.send(data or b"\xc1")
                sent += 1
                with contextlib.suppress(BlockingIOError):
                    while sock.recv(MAX_MESSAGE, socket.MSG_DONTWAIT):
                        pass
    print(f"{name}: {sent} messages on {connections} connections")
    assert sent > 100
    client.load("-", [], [])
    with SADB.connect(str(host.path("/run/secd/sadb.sock"))) as seam:
        seam.flush()
        for interface in seam.interfaces():
            seam.destroy(interface.name)
    wait_until(lambda: client.rules()[0].source == "", 10, "an empty configuration")


# -- half, slow, many -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOCKETS)
def test_a_hundred_clients_at_once_leave_room_for_others_when_they_go(secd: Daemon, host: Host, name: str) -> None:
    crowd = [connect(host, name) for _ in range(100)]
    try:
        with connect(host, {"secd.sock": "sadb.sock"}.get(name, "secd.sock")) as other:
            other.send(msgspec.msgpack.encode(_question({"secd.sock": "sadb.sock"}.get(name, "secd.sock"))))
            assert other.recv(MAX_MESSAGE)
    finally:
        for sock in crowd:
            sock.close()
    wait_until(lambda: _served(host, name), 5, "room again")


def _served(host: Host, name: str) -> bool:
    with connect(host, name) as sock, contextlib.suppress(OSError):
        sock.send(msgspec.msgpack.encode(_question(name)))
        return bool(sock.recv(MAX_MESSAGE))
    return False


def test_a_client_that_never_reads_is_cut_off_and_nobody_waits_for_it(secd: Daemon, host: Host) -> None:
    for name in SOCKETS:
        question = msgspec.msgpack.encode(_question(name))
        with connect(host, name) as deaf:
            deaf.settimeout(0.2)
            asked = 0
            with contextlib.suppress(OSError):
                while asked < 100_000:
                    deaf.send(question)
                    asked += 1
            began = time.monotonic()
            assert _served(host, name)
            assert time.monotonic() - began < 2.0
            print(f"{name}: {asked} questions were taken without an answer being read")


def test_a_load_that_is_never_finished_is_forgotten_with_its_client(secd: Daemon, host: Host) -> None:
    sa = sadb.SA(0x1234, "out", "sec8", "192.0.2.1", "192.0.2.2", "aes-128", b"e" * 16, "hmac-sha1", b"a" * 20)
    halves = []
    for _ in range(10):
        sock = connect(host, "secd.sock")
        sock.send(msgspec.msgpack.encode(control.LoadBegin("half")))
        for number in range(500):
            manual = control.AddManual("f: 1", msgspec.structs.replace(sa, spi=0x1000 + number))
            sock.send(msgspec.msgpack.encode(manual))
        halves.append(sock)
    assert client.load("whole", [], [control.AddManual("f: 1", sa)]) == control.Accepted()
    for sock in halves:
        sock.close()
    assert [part.source for part in client.rules()] == ["whole"]
    assert client.load("whole", [], []) == control.Accepted()


def test_a_load_without_end_is_refused_and_bounded(secd: Daemon, host: Host) -> None:
    sa = sadb.SA(0x1234, "out", "sec8", "192.0.2.1", "192.0.2.2", "aes-128", b"e" * 16, "hmac-sha1", b"a" * 20)
    with connect(host, "secd.sock") as sock:
        sock.send(msgspec.msgpack.encode(control.LoadBegin("endless")))
        data = msgspec.msgpack.encode(control.AddManual("f: 1", sa))
        for _ in range(control.MAX_RULES + 2000):
            sock.send(data)
        sock.send(msgspec.msgpack.encode(control.LoadCommit()))
        answer = msgspec.msgpack.decode(sock.recv(MAX_MESSAGE), type=control.Reply)
        assert isinstance(answer, control.Refused)
        assert answer.errors == (f"endless: more than {control.MAX_RULES} rules",)


# -- descriptors ------------------------------------------------------------------------------------------


def test_without_descriptors_left_it_neither_spins_nor_ends_and_serves_again_afterwards(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = lab.host("poor")
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    with Daemon(host, "poor", "sh", "-c", f"ulimit -n 40; exec {SECD} --no-boot") as daemon:
        daemon.wait_for(r"secd\[\d+\]: ready$", 20)
        pids = {process.name: process.pid for process in client.processes()}
        crowd = [connect(host, name) for name in SOCKETS for _ in range(40)]
        try:
            time.sleep(0.5)
            used = {name: _cpu(pid) for name, pid in pids.items()}
            time.sleep(2.0)
            spent = {name: _cpu(pid) - used[name] for name, pid in pids.items()}
            assert max(spent.values()) < 0.15, f"tries again and again to accept what it cannot: {spent}"
        finally:
            for sock in crowd:
                sock.close()
        for name in SOCKETS:
            wait_until(lambda name=name: _served(host, name), 10, f"service at {name} again")
        assert {process.name: process.pid for process in client.processes()} == pids
        assert len(daemon.text().splitlines()) < 150
        assert daemon.stop(grace=10) == 0


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
