"""OpenBGPD in a host: bgpd.conf as text, what bgpctl says as values.

On Linux it never installs routes; `bird` does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from secd.lab.commands import LabError, find, run
from secd.lab.namespaces import Host
from secd.lab.processes import Daemon


@dataclass(frozen=True)
class Route:
    """A route that a neighbour sent."""

    prefix: str
    neighbor: str
    med: int
    as_path: str


class OpenBGPD:
    """A running bgpd with the `configuration` given; leaving the context stops it."""

    def __init__(self, host: Host, configuration: str) -> None:
        """Start it on `host`."""
        self.host = host
        host.write("/etc/bgpd.conf", configuration, mode=0o600)
        host.path("/run/openbgpd").mkdir(exist_ok=True)
        program = find("bgpd", package="openbgpd")
        self.daemon = Daemon(host, "bgpd", program, "-d", "-f", "/etc/bgpd.conf")
        self.daemon.wait_until(self._answers, 10, "its control socket")

    def _answers(self) -> bool:
        if not self.daemon.running:
            raise LabError(f"{self.host.name}: bgpd ended\n{self.daemon.tail()}")
        return self.host.run("bgpctl", "show", check=False).returncode == 0

    def bgpctl(self, *argv: str) -> str:
        """Run bgpctl(8) and give what it prints."""
        return self.host.run("bgpctl", *argv).stdout

    def sessions(self) -> dict[str, str]:
        """Give the state of the session with each neighbour: `Established`, `Connect`, ..."""
        shown = json.loads(self.bgpctl("-j", "show")).get("neighbors", [])
        return {neighbor["remote_addr"]: neighbor["state"] for neighbor in shown}

    def received(self) -> list[Route]:
        """Give the routes as they came in (`show rib in`)."""
        shown = json.loads(self.bgpctl("-j", "show", "rib", "in")).get("rib", [])
        return [
            Route(route["prefix"], route["neighbor"]["remote_addr"], route.get("metric", 0), route.get("aspath", ""))
            for route in shown
        ]

    def stop(self) -> None:
        """Stop it; its neighbours are told."""
        self.daemon.stop()

    def __enter__(self) -> OpenBGPD:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def version() -> str:
    """Give the version that is installed: `OpenBGPD 7.7`."""
    result = run(find("bgpd", package="openbgpd"), "-V", check=False)
    return (result.stdout + result.stderr).strip().splitlines()[0]
