"""The three processes for real: they start, confine themselves, come back when killed, and leave nothing behind."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secd.control import client
from secd.ipc.channel import BlockingChannel, pair
from secd.lab.commands import scripts_directory, wait_until
from secd.lab.namespaces import is_running
from secd.lab.processes import Daemon
from secd.sadb.messages import SA, Begin, Commit, Done, Dump, Entry, FromServer, InterfaceCreate

pytestmark = pytest.mark.root

SECD = str(scripts_directory() / "secd")
LATENCY = Path("/dev/cpu_dma_latency")
SOCKETS = ("iked.sock", "sadb.sock", "secd.sock")


def start(host, *options, name="secd", env=None):
    (host.directory / "log" / f"{name}.log").unlink(missing_ok=True)
    daemon = Daemon(host, name, SECD, "--no-boot", "-v", *options, env=env)
    daemon.wait_for(r"secd\[\d+\]: ready$")
    return daemon


@pytest.fixture(scope="module")
def host(lab):
    return lab.host("processes")


@pytest.fixture
def secd(host, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    daemon = start(host)
    yield daemon
    daemon.stop(grace=10)


def pids():
    return {process.name: process.pid for process in client.processes()}


def killed(name):
    """Kill -9 a child, wait for its successor, and give (old pid, new pid, seconds)."""
    old = pids()[name]
    began = time.monotonic()
    os.kill(old, signal.SIGKILL)

    def successor():
        new = pids().get(name)
        return new if new != old else None

    new = wait_until(successor, 5, f"a new {name}", interval=0.01)
    return old, new, began


def status_of(pid):
    lines = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: value.split() for name, value in lines}


def ask(host, request):
    with BlockingChannel.connect(str(host.path("/run/secd/sadb.sock")), FromServer) as seam:
        seam.send(request)
        return seam.receive()


def dump(host):
    with BlockingChannel.connect(str(host.path("/run/secd/sadb.sock")), FromServer) as seam:
        seam.send(Dump(1))
        assert isinstance(seam.receive(), Begin)
        entries = []
        while isinstance(message := seam.receive(), Entry):
            entries.append(message)
        assert isinstance(message, Commit)
        return entries


def test_the_sockets_are_roots_alone(secd, host):
    directory = host.path("/run/secd")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert sorted(path.name for path in directory.iterdir()) == sorted([*SOCKETS, "secd.lock"])
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in SOCKETS} == {0o600}


def test_somebody_else_is_not_served(secd, host):
    """Even when the modes let them in: who asks is told by the kernel."""
    for name in SOCKETS:
        host.path(f"/run/secd/{name}").chmod(0o666)
    host.path("/run/secd").chmod(0o755)
    script = (
        "import socket,sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(5);"
        "s.connect(sys.argv[1]); sys.exit(len(s.recv(100)))"
    )
    for name in SOCKETS:
        argv = ["setpriv", "--reuid=65534", "--clear-groups", "python3", "-c", script, f"/run/secd/{name}"]
        assert host.run(*argv, check=False).returncode == 0, name


def test_a_second_instance_is_refused_by_the_first_ones_pid(secd, host):
    result = host.run(SECD, check=False)
    pid = pids()["secd"]
    assert result.returncode == 1
    assert result.stderr.startswith(f"secd: secd is already running (pid {pid}) in /run/secd")
    assert result.stderr.count("\n") == 1
    assert secd.running


def test_the_children_are_confined(secd):
    running = pids()
    iked, sadb = status_of(running["iked"]), status_of(running["sadb"])
    for child in (iked, sadb):
        assert len(set(child["Uid"])) == 1
        assert child["Uid"][0] != "0"
        assert child["Groups"] == []
        assert child["NoNewPrivs"] == ["1"]
        assert child["Seccomp"] == ["2"]
    assert iked["Uid"] != sadb["Uid"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(iked[kind][0], 16) == 0, kind
    net_bind_service, net_admin, net_raw = 1 << 10, 1 << 12, 1 << 13
    assert int(sadb["CapEff"][0], 16) == net_bind_service | net_admin | net_raw


def test_iked_holds_no_descriptor_but_its_own(secd):
    def kinds():
        directory = f"/proc/{pids()['iked']}/fd"
        return sorted(re.sub(r"\d+", "N", os.readlink(f"{directory}/{fd}")) for fd in os.listdir(directory))

    held = kinds()
    assert held.count("socket:[N]") == 5  # family, seam, iked.sock, and asyncio's pair to wake itself
    assert set(held) == {"socket:[N]", "anon_inode:[eventpoll]", "pipe:[N]", "/dev/null"}


@pytest.mark.skipif(not os.access(LATENCY, os.W_OK), reason=f"{LATENCY} is not there, or not for us")
@pytest.mark.parametrize("options", [(), ("--powersave",)])
def test_with_powersave_the_data_plane_cannot_keep_processors_awake(host, options, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    daemon = start(host, *options)
    held = {os.path.realpath(fd) for fd in Path(f"/proc/{pids()['sadb']}/fd").iterdir()}
    daemon.stop(grace=10)
    assert (str(LATENCY) in held) == (not options)


def test_the_sandbox_refuses_sockets_files_programs_and_rights():
    ours = [pair(), pair()]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0secd-probe-{os.getpid()}")
        listener.listen()
        fds = [ours[0][1].fileno(), listener.fileno(), ours[1][1].fileno()]
        argv = [sys.executable, "-I", "-m", "secd.iked", "--probe-sandbox", "--user", "58501", "--group", "58501"]
        for option, fd in zip(("--family", "--listen", "--seam"), fds, strict=True):
            argv += [option, str(fd)]
        result = subprocess.run(argv, pass_fds=fds, capture_output=True, text=True, check=True, timeout=30)
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line for line in lines if line[0] == "sandbox" and line[1] != "on"] == []
    probes = {name: outcome for kind, name, outcome in lines if kind == "probe"}
    assert len(probes) == 16
    assert {name: outcome for name, outcome in probes.items() if not outcome.startswith("refused: ")} == {}


def test_a_killed_iked_is_back_within_a_second_and_the_commands_wait_for_it(secd):
    old, new, began = killed("iked")
    assert client.status() == []  # waits in the backlog of iked.sock, which the parent keeps
    assert time.monotonic() - began < 1.5
    assert {p.name: p.restarts for p in client.processes()} == {"secd": 0, "sadb": 0, "iked": 1}
    secd.wait_for(rf"iked \(pid {old}\) was killed by SIGKILL; the tunnels stay: starting it again$")
    secd.wait_for(rf"iked is ready \(pid {new}")


def test_a_killed_sadb_takes_iked_along_and_both_come_back(secd):
    iked = pids()["iked"]
    old, _, _ = killed("sadb")
    wait_until(lambda: pids().get("iked", iked) != iked, 5, "a new iked")
    secd.wait_for(rf"sadb \(pid {old}\) was killed by SIGKILL; its SAs are gone: starting it again, iked with it$")
    assert client.status() == []


def test_an_iked_that_is_stuck_is_killed_and_started_again(host, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    daemon = start(host, "--patience", "3", name="impatient")
    try:
        old = pids()["iked"]
        os.kill(old, signal.SIGSTOP)
        daemon.wait_for(
            rf"iked \(pid {old}\) did not answer for 3 s and was killed; the tunnels stay: starting it again$", 20
        )
        assert client.status() == []
        assert pids()["iked"] != old
        assert {p.name: p.restarts for p in client.processes()} == {"secd": 0, "sadb": 0, "iked": 1}
    finally:
        daemon.stop(grace=10)


def test_a_sadb_that_is_stuck_is_named_and_left_alone(host, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    daemon = start(host, "--patience", "3", name="patient")
    try:
        sadb = pids()["sadb"]
        os.kill(sadb, signal.SIGSTOP)
        daemon.wait_for(
            rf"sadb \(pid {sadb}\) does not answer for 3 s: .*`kill -9 {sadb}` starts it again, without SAs$", 20
        )
        os.kill(sadb, signal.SIGCONT)
        assert client.status() == []
        assert {p.name: p.restarts for p in client.processes()} == {"secd": 0, "sadb": 0, "iked": 0}
    finally:
        daemon.stop(grace=10)


def test_an_iked_that_dies_again_and_again_is_started_again_and_again_and_costs_no_descriptor(secd):
    def held():
        return len(os.listdir(f"/proc/{secd.pid}/fd")), len(os.listdir(f"/proc/{pids()['sadb']}/fd"))

    client.status()
    before = held()
    for _ in range(6):
        killed("iked")
    assert client.status() == []
    wait_until(lambda: held() == before, 5, "the descriptors of before")


def test_an_interface_keeps_its_index_and_carrier_when_sadb_is_killed(secd, host):
    assert isinstance(ask(host, InterfaceCreate(1, "sec7")), Done)
    host.ip("link", "set", "sec7", "up")
    host.address("169.254.7.1/32", "sec7", peer="169.254.7.2")
    host.ip("route", "add", "203.0.113.0/24", "dev", "sec7")
    before = host.ip("-o", "link", "show", "sec7")
    assert "LOWER_UP" in before
    with subprocess.Popen(
        ["ip", "-n", host.namespace, "monitor", "link", "route"], stdout=subprocess.PIPE, text=True
    ) as monitor:
        time.sleep(0.2)
        killed("sadb")
        wait_until(lambda: len(pids()) == 3, 5, "both children")
        client.status()
        time.sleep(0.3)
        monitor.terminate()
        events = monitor.stdout.read()
    assert "sec7" not in "\n".join(line for line in events.splitlines() if "DOWN" in line or "Deleted" in line)
    assert host.ip("-o", "link", "show", "sec7").split()[0] == before.split()[0]
    assert "LOWER_UP" in host.ip("-o", "link", "show", "sec7")
    assert "linkdown" not in host.ip("route", "show")
    assert "203.0.113.0/24" in host.ip("route", "show")


def manual(spi=0x1234, auth_key=b"a" * 20):
    sa = SA(spi, "out", "sec8", "192.0.2.1", "198.51.100.1", "aes-128", b"e" * 16, "hmac-sha1", auth_key)
    return client.AddManual("test: 1", sa)


def test_manual_sas_are_applied_as_a_difference_and_put_back_after_sadb_was_killed(secd, host):
    assert client.load("test", [], [manual(0x1234), manual(0x5678)]) == client.Accepted()
    assert [entry.sa.spi for entry in dump(host)] == [0x1234, 0x5678]
    assert client.load("test", [], [manual(0x1234), manual(0x9ABC)]) == client.Accepted()
    assert [entry.sa.spi for entry in dump(host)] == [0x1234, 0x9ABC]
    killed("sadb")
    wait_until(lambda: [entry.sa.spi for entry in dump(host)] == [0x1234, 0x9ABC], 5, "the manual SAs")
    assert client.load("test", [], []) == client.Accepted()
    assert dump(host) == []


def test_a_refused_load_changes_nothing(secd, host):
    assert client.load("one", [], [manual()]) == client.Accepted()
    refused = client.load("two", [], [manual(0x5678), manual(0x5679, auth_key=b"short")])
    assert isinstance(refused, client.Refused)
    assert [entry.sa.spi for entry in dump(host)] == [0x1234]
    assert [part.source for part in client.rules()] == ["one"]


def test_secrets_are_neither_logged_nor_shown(secd):
    assert client.load("test", [], [manual(auth_key=b"SECRETsecretSECRET20")]) == client.Accepted()
    (part,) = client.rules()
    assert part.manual[0].sa.auth_key == b""
    assert "SECRET" not in secd.text()


def test_stopping_leaves_nothing_behind(host, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    daemon = start(host)
    children = [process.pid for process in client.processes()]
    assert isinstance(ask(host, InterfaceCreate(1, "sec6")), Done)
    began = time.monotonic()
    assert daemon.stop(grace=10) == 0
    assert time.monotonic() - began < 3
    assert not host.path("/run/secd").exists()
    assert "sec6" not in host.ip("link")
    assert [pid for pid in children if is_running(pid)] == []
    assert host.ip("rule") == host.run("ip", "rule").stdout
    assert "4500" not in host.ip("rule")


def test_ctrl_c_stops_as_sigterm_does(host, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    daemon = start(host)
    os.killpg(daemon.pid, signal.SIGINT)  # a terminal sends it to the whole group
    wait_until(lambda: not daemon.running, 5, "its end")
    assert daemon.stop() == 0
    assert daemon.text().rstrip().endswith("stopped")


def test_when_the_parent_is_killed_nothing_survives_it_and_a_new_one_starts(host, monkeypatch):
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    daemon = start(host)
    assert isinstance(ask(host, InterfaceCreate(1, "sec5")), Done)
    children = [process.pid for process in client.processes()]
    daemon.kill()
    wait_until(lambda: not any(is_running(pid) for pid in children), 5, "the children's end")
    wait_until(lambda: "sec5" not in host.ip("link"), 5, "the interface's end")
    again = start(host, name="again")
    assert client.status() == []
    again.stop(grace=10)


def test_two_instances_run_in_two_namespaces_at_once(lab):
    hosts = [lab.host(f"instance{n}") for n in (1, 2)]
    daemons = [start(host) for host in hosts]
    for host in hosts:
        assert isinstance(ask(host, InterfaceCreate(1, "sec0")), Done)
        assert "sec0" in host.ip("link")
    assert [daemon.stop(grace=10) for daemon in daemons] == [0, 0]


RULE = 'ike passive interface sec{n} peer 198.51.100.{n} psk "not for the log"\n'


def test_the_boot_files_are_loaded_before_it_is_ready_and_again_with_sighup(lab, monkeypatch):
    host = lab.host("booting")
    monkeypatch.setenv("SECD_RUNDIR", str(host.path("/run/secd")))
    host.write("/etc/ipsec.conf", RULE.format(n=0), mode=0o600)
    host.write("/etc/hostname.sec0", "inet 169.254.64.94 255.255.255.252 169.254.64.93\nup\n", mode=0o640)
    with Daemon(host, "secd", SECD) as daemon:
        daemon.wait_for(r"secd\[\d+\]: ready$")
        assert [tunnel.connection.iface for tunnel in client.status()] == ["sec0"]
        assert "169.254.64.94 peer 169.254.64.93" in host.ip("address", "show", "sec0")
        host.write("/etc/ipsec.conf", RULE.format(n=0) + RULE.format(n=1), mode=0o600)
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for(r"loaded /etc/ipsec.conf: 2 tunnels now$")
        assert [tunnel.connection.iface for tunnel in client.status()] == ["sec0", "sec1"]
        host.write("/etc/ipsec.conf", RULE.format(n=2) + "nonsense\n", mode=0o600)
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for(r"ipsecctl: /etc/ipsec.conf: 2: syntax error$")
        daemon.wait_for(r"ipsecctl: failed \(status 1\)")
        assert [tunnel.connection.iface for tunnel in client.status()] == ["sec0", "sec1"]
        assert "not for the log" not in daemon.text()


def test_systemd_is_told_when_both_children_are_ready(host, tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(10)
        watchdog = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        with Daemon(host, "notifying", SECD, "--no-boot", env=watchdog) as daemon:
            told = [systemd.recv(1000)]
            while not told[-1].startswith(b"READY=1"):
                told.append(systemd.recv(1000))
            assert told[-1] == b"READY=1\nSTATUS=0 tunnels configured"
            assert set(told[:-1]) <= {b"WATCHDOG=1", b"STATUS=0 tunnels configured"}
            while systemd.recv(1000) != b"WATCHDOG=1":
                pass
            assert daemon.stop(grace=10) == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("mount -t tmpfs none /dev/net && exec {secd}", "/dev/net/tun is missing: `modprobe tun`"),
        ("mount --bind /etc/passwd /dev/net/tun && exec {secd}", "/dev/net/tun is a plain file, not the TUN device "
         "(character device 10:200): `rm -r /dev/net/tun; mknod -m 666 /dev/net/tun c 10 200`"),
        ("mount --bind /dev/null /dev/net/tun && exec {secd} -n", "/dev/net/tun is character device 1:3, not the TUN "
         "device (character device 10:200): "),
        ("mount -t tmpfs none /dev/net && mkdir /dev/net/tun && exec {secd}", "/dev/net/tun is a directory, not the "),
        ("exec setpriv --bounding-set -net_admin --inh-caps -net_admin {secd}", "CAP_NET_ADMIN is missing"),
        # Nobody, who may read everything: the checkout can be where others may not look.
        ("exec setpriv --reuid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search {secd}",
         "cannot make the run directory"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_in_one_line(host, setting, message):
    result = host.run("unshare", "--mount", "sh", "-c", setting.format(secd=SECD), check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"secd: {message}")
    assert result.stderr.count("\n") == 1
    assert not host.path("/run/secd").exists()


@pytest.mark.parametrize("port", [500, 4500])
def test_a_port_in_use_is_said_in_one_line(host, port):
    holder = (
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.bind(('0.0.0.0', {port})); print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(host.argv("python3", "-c", holder), stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for options in ([], ["-n"]):
            result = host.run(SECD, *options, check=False)
            assert (result.returncode, result.stderr.count("\n")) == (1, 1)
            assert result.stderr.startswith(f"secd: UDP port {port} is in use")
        other.kill()
    assert host.run(SECD, "-n").stderr == ""
