"""strongSwan 6, which has ML-KEM and several key exchanges (RFC 9370), out of the tree of `tools/install strongswan6`.

Only charon itself comes from there, by chroot; it meets its configuration and the machine's own swanctl under /run,
which is the host's in the tree too.
"""

from __future__ import annotations

from collections.abc import Mapping

from secd.lab.commands import LabError, run
from secd.lab.guest import BUILT
from secd.lab.namespaces import Host
from secd.lab.strongswan import CHARON, PLUGINS, Charon, Tunnel, Value

TREE = BUILT / "strongswan6"
_CONFIGURATION = "/run/strongswan.conf"


class Charon6(Charon):
    """A running charon of version 6; leaving the context stops it."""

    def __init__(
        self, host: Host, *tunnels: Tunnel, log_level: int = 1, charon: Mapping[str, Value] | None = None
    ) -> None:  # fmt: skip
        """Start it on `host` and load `tunnels`; see `Charon`."""
        if not (TREE / CHARON.removeprefix("/")).exists():
            raise LabError(f"{TREE} is missing: run `tools/install strongswan6`")
        for part in ("run", "dev", "proc", "sys"):  # in the host's mount namespace alone
            host.run("mount", "--rbind", f"/{part}", f"{TREE}/{part}")
        plugins = PLUGINS.format(kernel="kernel-libipsec kernel-netlink") + " ml"
        super().__init__(host, *tunnels, log_level=log_level, charon={"load": plugins, **(charon or {})})

    def command(self) -> list[str]:
        """Give the command line that is charon's."""
        text = self.host.path("/etc/strongswan.conf").read_text()
        self.host.write(_CONFIGURATION, text)
        return ["env", f"STRONGSWAN_CONF={_CONFIGURATION}", "chroot", str(TREE), CHARON]


def version() -> str:
    """Give the tree's version: `strongSwan 6.1.0`."""
    return run("chroot", str(TREE), CHARON, "--version").stdout.strip().removeprefix("Linux ")
