"""Hosts, links, bridges and NAT: network namespaces owned by one `Lab`, gone with it.

Every host is a network namespace (`ip netns` lists it as secd-<run>-<host>) with a mount namespace in which /run is
its own and /etc is its own copy: a file that `Host.write` puts at /etc/ipsec.conf exists in that host alone.

A run owns one temporary directory and holds a lock on it for as long as it lives.  Whatever a run leaves behind that
was killed is found by its free lock and taken away by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from secd.lab.commands import COMMAND_TIMEOUT, LabError, environment, missing_rights, run, wait_until

DIRECTORY_PREFIX = "secd-lab."
NAMESPACE_PREFIX = "secd-"
LOCK = "lock"

# Make /etc and /run the host's own, tell that they are, and stay until the lab closes the pipe or dies.
_ANCHOR = """
set -e
mount --rbind /etc "$1/host-etc"
mount --bind "$1/etc" /etc
mount --bind "$1/run" /run
echo ready
exec cat
"""

# One message to ctnetlink, IPCTNL_MSG_CT_DELETE without saying which: all; then its answer, 0 or an error number.
_FORGET = """
import os, socket, struct
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as sock:
    sock.send(struct.pack("=IHHII4x", 20, 1 << 8 | 2, 1 | 4, 1, 0))
    error = struct.unpack_from("=i", sock.recv(4096), 16)[0]
    if error:
        raise SystemExit(os.strerror(-error))
"""


class Host:
    """One machine of the lab."""

    def __init__(self, name: str, namespace: str, directory: Path) -> None:
        """Make the namespaces; `directory` keeps what the host writes."""
        self.name, self.namespace, self.directory = name, namespace, directory
        for part in ("run", "etc", "host-etc", "log"):
            (directory / part).mkdir(parents=True)
        for entry in Path("/etc").iterdir():
            link = os.readlink(entry) if entry.is_symlink() else str(directory / "host-etc" / entry.name)
            (directory / "etc" / entry.name).symlink_to(link)
        run("ip", "netns", "add", namespace)
        self._anchor = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{namespace}", "unshare", "--mount", "--propagation", "private",
             "sh", "-c", _ANCHOR, "sh", str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        said = self._anchor.stdout.readline() if self._anchor.stdout else ""
        if said.strip() != "ready":
            raise LabError(f"host {name}: its own /etc and /run cannot be mounted: {said.strip()}")
        self.ip("link", "set", "lo", "up")

    def argv(self, *argv: str) -> list[str]:
        """Give the command line that runs `argv` in this host."""
        return ["nsenter", "-t", str(self._anchor.pid), "-n", "-m", "--", *argv]

    def argv_outside(self, *argv: str) -> list[str]:
        """Give the command line that runs `argv` in this host's network, but with the machine's /etc and /run."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *argv]

    def run(
        self, *argv: str, check: bool = True, text: str | None = None, timeout: float = COMMAND_TIMEOUT,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command in this host; see `commands.run`."""
        return run(*self.argv(*argv), check=check, text=text, timeout=timeout, env=env)

    def ip(self, *argv: str) -> str:
        """Run ip(8) on this host and give its output."""
        return run("ip", "-n", self.namespace, *argv).stdout

    def write(self, path: str, text: str, *, mode: int = 0o644) -> Path:
        """Write a file under the host's own /etc or /run; directories on the way become the host's own too."""
        top, *rest = Path(path).relative_to("/").parts
        if top not in {"etc", "run"} or not rest:
            raise LabError(f"{path}: a host has only /etc and /run to itself")
        target = self.directory / top
        for part in rest[:-1]:
            target /= part
            if target.is_symlink():
                target.unlink()
            target.mkdir(exist_ok=True)
        target /= rest[-1]
        target.unlink(missing_ok=True)
        target.touch(mode=mode)
        target.chmod(mode)
        target.write_text(text)
        return target

    def path(self, path: str) -> Path:
        """Give where a path under the host's /etc or /run is found from outside."""
        return self.directory / Path(path).relative_to("/")

    def sysctl(self, **values: int | str) -> None:
        """Set sysctls of this host: `sysctl(net__ipv4__ip_forward=1)`."""
        for name, value in values.items():
            self.run("sh", "-c", f"echo {value} >/proc/sys/{name.replace('__', '/')}")

    def forward(self) -> None:
        """Make it a router."""
        self.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)

    def address(self, address: str, device: str, *, peer: str | None = None) -> None:
        """Add `address`, to a point-to-point `peer` if given."""
        extra = ["peer", peer] if peer else []
        family = ["nodad"] if ":" in address else []
        self.ip("address", "replace", address, *extra, "dev", device, *family)

    def route(self, destination: str, via: str) -> None:
        """Add or replace a route."""
        self.ip("route", "replace", destination, "via", via)

    def masquerade(self, out: str, *, random_ports: bool = False) -> None:
        """Hide what leaves by interface `out` behind its address (nftables)."""
        how = "masquerade random" if random_ports else "masquerade"
        chain = f'type nat hook postrouting priority srcnat; oifname "{out}" {how}'
        self.run("nft", "-f", "-", text=f"table ip nat {{ chain post-{out} {{ {chain}\n }}\n }}\n")

    def forget_connections(self) -> None:
        """Empty the table of tracked connections, as a NAT that was restarted has it."""
        self.run(sys.executable, "-c", _FORGET)

    def pids(self) -> list[int]:
        """Give the processes that live in this host, the anchor left out."""
        return [pid for pid in namespace_pids(self.namespace) if pid != self._anchor.pid]

    def close(self) -> None:
        """End what still runs here and take the namespaces away."""
        kill_all(self.pids())
        with contextlib.suppress(OSError):
            if self._anchor.stdin:
                self._anchor.stdin.close()
        self._anchor.kill()
        self._anchor.wait()
        if self._anchor.stdout:
            self._anchor.stdout.close()
        run("ip", "netns", "del", self.namespace, check=False)


class Lab:
    """A context manager that owns everything of one run.

    Ctrl-C and SIGTERM leave the `with` block as exceptions, so that everything is taken away; both are put off while
    that happens.  When the block fails, the hosts' logs are kept and `kept_logs` says where.
    """

    def __init__(self, *, log_directory: Path | None = None) -> None:
        """Prepare; nothing is made before `with`."""
        self.hosts: dict[str, Host] = {}
        self.log_directory = log_directory
        self.kept_logs: Path | None = None
        self.keep_logs = False
        self._links = 0
        self._stack = contextlib.ExitStack()
        self._restore_sigterm: object = None

    def __enter__(self) -> Self:
        """Take away what dead runs left, then make this run's directory."""
        if lacking := missing_rights():
            raise LabError(lacking)
        remove_stale()
        self.directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
        self.directory.chmod(0o755)  # daemons drop their privileges and still read below it
        self.run_name = self.directory.name.removeprefix(DIRECTORY_PREFIX)
        self._lock = _hold_lock(self.directory)
        with contextlib.suppress(ValueError):  # not the main thread: somebody else minds the signals
            self._restore_sigterm = signal.signal(signal.SIGTERM, _terminate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the daemons, keep the logs of a failure, take everything away."""
        with _signals_put_off():
            if self.keep_logs or (kind and issubclass(kind, Exception)):
                self._save_logs()
            self._stack.close()
            for host in reversed(self.hosts.values()):
                host.close()
            _remove_run(self.directory)  # and with it a host whose making was interrupted
            os.close(self._lock)
        if self._restore_sigterm is not None:
            signal.signal(signal.SIGTERM, self._restore_sigterm)  # type: ignore[arg-type]

    def host(self, name: str) -> Host:
        """Make a host called `name`."""
        host = Host(name, f"{NAMESPACE_PREFIX}{self.run_name}-{name}", self.directory / name)
        self.hosts[name] = host
        return host

    def link(
        self, a: Host, a_address: str | None, b: Host, b_address: str | None, *, a_device: str = "eth0",
        b_device: str = "eth0", mtu: int = 1500,
    ) -> None:  # fmt: skip
        """Join two hosts by a veth pair; addresses are `192.0.2.1/30`."""
        self._links += 1
        temporary = f"tmp{self._links}"  # older kernels refuse a peer name that the creating namespace has
        a.ip("link", "add", a_device, "type", "veth", "peer", "name", temporary)
        a.ip("link", "set", temporary, "netns", b.namespace)
        b.ip("link", "set", temporary, "name", b_device)
        for host, device, address in ((a, a_device, a_address), (b, b_device, b_address)):
            if address:
                host.address(address, device)
            host.ip("link", "set", device, "mtu", str(mtu), "up")

    def bridge(self, name: str, members: Mapping[Host, str]) -> Host:
        """Join several hosts by a switch (a host of its own); their `eth0` gets the address given."""
        switch = self.host(name)
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        for host, address in members.items():
            self.link(host, address, switch, None, b_device=host.name)
            switch.ip("link", "set", host.name, "master", "br0")
        return switch

    def on_exit(self, action: contextlib.AbstractContextManager[object]) -> None:
        """Leave `action` when the lab closes, before the hosts go."""
        self._stack.push(action)

    def logs(self) -> Iterator[Path]:
        """Give every host's log files."""
        for host in self.hosts.values():
            yield from sorted((host.directory / "log").glob("*"))

    def _save_logs(self) -> None:
        target = self.log_directory or Path(tempfile.mkdtemp(prefix="secd-logs."))
        for log in self.logs():
            destination = target / f"{log.parent.parent.name}-{log.name}"
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, destination)
        self.kept_logs = target


def namespace_pids(namespace: str) -> list[int]:
    """Give the processes in a named network namespace."""
    return [int(pid) for pid in run("ip", "netns", "pids", namespace, check=False).stdout.split()]


def kill_all(pids: list[int]) -> None:
    """SIGKILL these processes and wait until none of them runs."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(LabError):
        wait_until(lambda: not any(is_running(pid) for pid in pids), 2, "end of killed processes", interval=0.01)


def is_running(pid: int) -> bool:
    """Say whether `pid` lives: an orphan's zombie, which nobody may ever reap, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def remove_stale() -> list[str]:
    """Take away what runs that are dead left behind; give their names."""
    removed = []
    for directory in Path(tempfile.gettempdir()).glob(DIRECTORY_PREFIX + "*"):
        with _dead(directory) as dead:
            if dead:
                _remove_run(directory)
                removed.append(directory.name)
    return removed


def _remove_run(directory: Path) -> None:
    mine = NAMESPACE_PREFIX + directory.name.removeprefix(DIRECTORY_PREFIX) + "-"
    for line in run("ip", "netns", "list", check=False).stdout.splitlines():
        namespace = line.split()[0]
        if namespace.startswith(mine):
            kill_all(namespace_pids(namespace))
            run("ip", "netns", "del", namespace, check=False)
    shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _dead(directory: Path) -> Iterator[bool]:
    """Say whether the run that owns `directory` has ended; nobody else takes it away meanwhile."""
    try:
        lock = os.open(directory / LOCK, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)


def _hold_lock(directory: Path) -> int:
    """Lock the run's directory; the file appears under its name only once it is locked."""
    lock = os.open(directory / (LOCK + ".new"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (directory / (LOCK + ".new")).rename(directory / LOCK)
    return lock


def _terminate(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextlib.contextmanager
def _signals_put_off() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while everything is taken away."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
