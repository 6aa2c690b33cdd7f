"""A machine with a kernel of its own: User-Mode Linux, whose kernel has ESP, VTI and extended sequence numbers.

Its root is a tree of this machine's (`/`, or one made by `tools/install guests` that holds what does not install beside
strongSwan), read-only under an overlay that is forgotten at the end.  It hangs on a TAP in a host of the lab.
Nothing is emulated, so it boots in seconds and needs no virtualisation.
"""

from __future__ import annotations

import base64
import os
import selectors
import shlex
import signal
import subprocess
from pathlib import Path

from secd.lab.commands import CommandError, LabError, environment
from secd.lab.namespaces import Host
from secd.lab.processes import send

REPOSITORY = Path(__file__).parents[3]
#: Where `tools/install guests` puts the kernel and the tree.
BUILT = REPOSITORY / "build" / "guests"
LIBRESWAN_TREE = BUILT / "libreswan"
TAP = "guest0"
BOOT_TIMEOUT = 60.0


class Guest:
    """A running guest; leaving the context takes its power away."""

    def __init__(
        self, host: Host, address: str, host_address: str, *, root: Path = Path("/"), memory: int = 512
    ) -> None:
        """Boot it with `address` on eth0, connected to `host`, which gets `host_address`; both with prefix length."""
        self.host, self.address = host, address.partition("/")[0]
        kernel = BUILT / "linux.uml"
        if not kernel.exists():
            raise LabError(f"{kernel} is missing: run `tools/install guests`")
        self.share = host.directory / "share"
        self.share.mkdir()
        host.ip("tuntap", "add", TAP, "mode", "tap")
        host.address(host_address, TAP)
        host.ip("link", "set", TAP, "up")
        guest_in, self._write = os.pipe()
        self._read, guest_out = os.pipe()
        memory_directory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(host.directory)
        argv = [
            str(kernel), f"mem={memory}M", "rootfstype=hostfs", "ro", "hostfs=/", f"init={REPOSITORY}/tools/guest-init",
            f"guest.root={root}", f"guest.address={address}", f"guest.share={self.share}",
            f"guest.modules={BUILT}/lib/modules", f"vec0:transport=tap,ifname={TAP},depth=128,gro=1",
            "con=null", "con0=null,fd:1", f"con1=fd:{guest_in},fd:{guest_out}", f"uml_dir={host.directory}",
            "umid=guest", "quiet",
        ]  # fmt: skip
        with (host.directory / "log" / "guest.log").open("ab") as log:
            self._process = subprocess.Popen(
                host.argv_outside(*argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=(guest_in, guest_out), env=environment({"TMPDIR": memory_directory}),
            )  # fmt: skip
        os.close(guest_in)
        os.close(guest_out)
        self._buffer = b""
        try:
            self._answer(BOOT_TIMEOUT)
        except LabError:
            self.close()
            raise

    def run(
        self, *argv: str, check: bool = True, text: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest; standard error comes together with its output."""
        script = shlex.join(argv)
        if text is not None:
            script = f"base64 -d <<<{base64.b64encode(text.encode()).decode()} | {script}"
        return self.shell(script, check=check, timeout=timeout)

    def shell(self, script: str, *, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script in the guest."""
        os.write(self._write, base64.b64encode(script.encode()) + b"\n")
        status, output = self._answer(timeout)
        result = subprocess.CompletedProcess(["guest", script], status, output, "")
        if check and status:
            raise CommandError(["guest", script], result)
        return result

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file in the guest."""
        self.shell(
            f"mkdir -p {shlex.quote(os.path.dirname(path))}; base64 -d >{shlex.quote(path)} "
            f"<<<{base64.b64encode(text.encode()).decode()}; chmod {mode:o} {shlex.quote(path)}"
        )

    def _answer(self, timeout: float) -> tuple[int, str]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._read, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(timeout):
                    raise LabError(f"the guest on {self.host.name} does not answer within {timeout:g} s")
                data = os.read(self._read, 65536)
                if not data:
                    log = (self.host.directory / "log" / "guest.log").read_text(errors="replace")
                    raise LabError(f"the guest on {self.host.name} has ended\n{log[-1000:]}")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        status, _, output = line.strip().partition(b" ")
        return int(status), base64.b64decode(output).decode(errors="replace")

    def close(self) -> None:
        """Take its power away: the kernel and the processes that it traces."""
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                send(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for end in (self._read, self._write):
            os.close(end)

    def __enter__(self) -> Guest:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take its power away."""
        self.close()
