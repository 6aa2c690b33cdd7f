"""BIRD in a host: BGP that installs what it learns in the kernel's table."""

from __future__ import annotations

import re

from secd.lab.commands import LabError, find, run
from secd.lab.namespaces import Host
from secd.lab.processes import Daemon


class Bird:
    """A running BIRD with the `configuration` given; leaving the context stops it."""

    def __init__(self, host: Host, configuration: str) -> None:
        """Start it on `host`."""
        self.host = host
        host.write("/etc/bird/bird.conf", configuration, mode=0o600)
        host.path("/run/bird").mkdir(exist_ok=True)
        program = find("bird", package="bird2")
        self.daemon = Daemon(host, "bird", program, "-f", "-c", "/etc/bird/bird.conf", "-s", "/run/bird/bird.ctl")
        self.daemon.wait_until(self._answers, 10, "its control socket")

    def _answers(self) -> bool:
        if not self.daemon.running:
            raise LabError(f"{self.host.name}: bird ended\n{self.daemon.tail()}")
        return self.host.run("birdc", "-s", "/run/bird/bird.ctl", "show", "status", check=False).returncode == 0

    def birdc(self, *argv: str) -> str:
        """Run birdc(8) and give what it prints."""
        return self.host.run("birdc", "-s", "/run/bird/bird.ctl", *argv).stdout

    def sessions(self) -> dict[str, str]:
        """Give the state of each BGP protocol by its name: `Established`, `Connect`, ..."""
        found = re.findall(r"^(\S+)\s+BGP\s+\S+\s+\S+\s+\S+\s+(\S+)", self.birdc("show", "protocols"), re.MULTILINE)
        return dict(found)

    def stop(self) -> None:
        """Stop it; the routes that it installed go with it."""
        self.daemon.stop()

    def __enter__(self) -> Bird:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def version() -> str:
    """Give the version that is installed: `BIRD 2.0.12`."""
    result = run(find("bird", package="bird2"), "--version", check=False)
    return (result.stdout + result.stderr).strip().replace("version ", "")
