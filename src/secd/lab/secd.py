"""secd in a host: started as init would, asked with its own commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from secd.lab.commands import CommandError, LabError, scripts_directory
from secd.lab.namespaces import Host
from secd.lab.processes import Daemon

#: Seconds that the three processes may take to serve.
START_TIMEOUT = 20.0


class Secd:
    """A running secd, its children under it; leaving the context stops it.

    The host's /etc and /run are its own, so it runs with its usual paths and without options.
    """

    def __init__(
        self, host: Host, ipsec_conf: str = "", hostnames: Mapping[str, str] | None = None, *options: str,
        env: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Write /etc/ipsec.conf and /etc/hostname.secN, as `hostnames` has them, and start it."""
        self.host = host
        host.write(
            "/etc/ipsec.conf", ipsec_conf, mode=0o600
        )  # if empty, to hide the machine's, which may be strongSwan's
        for interface, text in (hostnames or {}).items():
            host.write(f"/etc/hostname.{interface}", text, mode=0o640)
        program = scripts_directory() / "secd"
        if not program.exists():
            raise LabError(f"{program} is missing: run `make build`")
        self.daemon = Daemon(host, "secd", str(program), *options, env=env)
        try:
            self.wait_ready()
        except LabError:
            self.daemon.stop()
            raise

    def wait_ready(self, *, after: int = 0) -> None:
        """Wait until its log, from offset `after` on, says that all three processes serve and the boot files are in."""
        self.daemon.wait_for(rf"^secd\[{self.daemon.pid}\]: ready$", START_TIMEOUT, after=after)

    def ipsecctl(self, *argv: str, text: str | None = None) -> str:
        """Run ipsecctl(8) and give what it prints."""
        return self.host.run("ipsecctl", *argv, text=text).stdout

    def sec(self, *argv: str) -> str:
        """Run sec(8) and give what it prints; `sec status` exits with 1 when a tunnel is down, which is no error."""
        result = self.host.run("sec", *argv, check=False)
        if result.returncode not in ({0, 1} if argv[0] == "status" else {0}):
            raise CommandError(["sec", *argv], result)
        return result.stdout

    def status(self) -> dict[str, Any]:
        """Give every tunnel's status by its interface, as `sec status --json` has it."""
        return {tunnel["iface"]: tunnel for tunnel in json.loads(self.sec("status", "--json"))["tunnels"]}

    def sas(self) -> list[dict[str, Any]]:
        """Give every SA as `ipsecctl -sa --json` has it, what it is and how it stands in one dictionary."""
        entries = json.loads(self.ipsecctl("-sa", "--json"))["sas"]
        return [{**entry, **entry["sa"]} for entry in entries]

    def processes(self) -> dict[str, int]:
        """Give the pids of the children, `sadb` and `iked`."""
        return {
            name: pid
            for title, pid in self.daemon.children().items()
            for name in ("sadb", "iked")
            if name in title
        }  # fmt: skip

    def wait_up(self, *interfaces: str, timeout: float = 20) -> None:
        """Wait until each of `interfaces` has an SA in each direction."""

        def up() -> bool:
            has = {(sa["iface"], sa["direction"]) for sa in self.sas() if sa["state"] in {"mature", "dying"}}
            return all((name, way) in has for name in interfaces for way in ("in", "out"))

        self.daemon.wait_until(up, timeout, f"SAs of {', '.join(interfaces)}")

    def stop(self) -> None:
        """Stop it; the peers are told."""
        self.daemon.stop(grace=5)

    def __enter__(self) -> Secd:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def version() -> str:
    """Give our version: `secd 0.1.0, Python 3.11.2`."""
    from secd import __version__  # noqa: PLC0415

    return f"secd {__version__}, Python {'.'.join(map(str, sys.version_info[:3]))}"
