"""IKE daemons in a guest, over its kernel's ESP: strongSwan with a VTI, libreswan with plain 0.0.0.0/0 policies."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from secd.lab.commands import LabError
from secd.lab.guest import Guest
from secd.lab.strongswan import IkeSA, Tunnel, Value, parse_sas, strongswan_conf, swanctl_conf

MARK = 7
DEVICE = "sec0"
#: What libreswan says of an ESP pair, by version of IKE.
_ESTABLISHED = re.compile("IPsec SA established|established Child SA")


class GuestCharon:
    """charon in a guest; its tunnel comes out of the VTI `sec0`, numbered `inner` -> `inner_peer`."""

    def __init__(
        self, guest: Guest, tunnel: Tunnel, inner: str, inner_peer: str, *, charon: Mapping[str, Value] | None = None
    ) -> None:
        """Start it and load `tunnel`."""
        self.guest = guest
        tunnel = replace(tunnel, mark=MARK)
        guest.write("/etc/strongswan.conf", strongswan_conf("netlink", 2, charon or {}))
        guest.write("/etc/swanctl/swanctl.conf", swanctl_conf([tunnel]), mode=0o600)
        guest.shell(f"""
            ip link add {DEVICE} type vti local {tunnel.local} remote {tunnel.remote} key {MARK}
            ip address add {inner} peer {inner_peer} dev {DEVICE}
            ip link set {DEVICE} mtu 1400 up
            sysctl -qw net.ipv4.conf.{DEVICE}.disable_policy=1
            setsid /usr/lib/ipsec/charon >/mnt/share/charon.log 2>&1 </dev/null &
            for i in $(seq 100); do [ -S /run/charon.vici ] && break; sleep 0.1; done
            swanctl --load-all
        """)

    def swanctl(self, *argv: str, check: bool = True) -> str:
        """Run swanctl(8) in the guest."""
        return self.guest.run("swanctl", *argv, check=check).stdout

    def initiate(self, name: str = DEVICE) -> None:
        """Bring the tunnel up."""
        self.swanctl("--initiate", "--child", name, "--timeout", "20")

    def list_sas(self) -> list[IkeSA]:
        """Give its SAs."""
        return parse_sas(self.swanctl("--list-sas", "--raw"))

    def log(self) -> str:
        """Give its log."""
        return (self.guest.share / "charon.log").read_text(errors="replace")

    def stop(self) -> None:
        """Stop it and take the interface away."""
        self.guest.shell(f"kill $(cat /run/charon.pid); sleep 0.5; ip link del {DEVICE}; ip xfrm state flush; true")


class Pluto:
    """libreswan in a guest made from `LIBRESWAN_TREE`; the inside address is on its loopback interface."""

    def __init__(
        self, guest: Guest, tunnel: Tunnel, inner: str, *, encapsulation: Literal["yes", "no", "auto"] = "auto",
        extra: Mapping[str, str] | None = None, keys: str = "",
    ) -> None:  # fmt: skip
        """Start it with `tunnel`, proposals in libreswan's syntax; `keys` is what puts keys into its store."""
        self.guest, self.name = guest, tunnel.name
        ours, theirs = tunnel.local_id or tunnel.local, tunnel.remote_id or tunnel.remote
        connection = {
            "left": tunnel.local, "right": tunnel.remote, "leftsubnet": "0.0.0.0/0", "rightsubnet": "0.0.0.0/0",
            "leftid": ours, "rightid": theirs,
            "ikev2": "no" if tunnel.version == 1 else "insist", "aggressive": "yes" if tunnel.aggressive else "no",
            "ike": tunnel.ike, "esp": tunnel.esp, "esn": "no", "encapsulation": encapsulation, "authby": "secret",
            "auto": "add", **(extra or {}),
        }  # fmt: skip
        lines = "".join(f"    {key}={value}\n" for key, value in connection.items())
        guest.write("/etc/ipsec.conf", f"config setup\n    ikev1-policy=accept\nconn {tunnel.name}\n{lines}")
        guest.write("/etc/ipsec.secrets", f'{ours} {theirs} : PSK "{tunnel.psk}"\n', mode=0o600)
        started = guest.shell(f"""
            ip address add {inner}/32 dev lo
            ip route replace default via {tunnel.remote}
            : >/etc/resolv.conf
            mkdir -p /run/pluto /var/lib/ipsec/nss
            certutil -N -d sql:/var/lib/ipsec/nss --empty-password
            {keys or "true"}
            setsid /usr/libexec/ipsec/pluto --nofork --config /etc/ipsec.conf \\
                --logfile /mnt/share/pluto.log \\
                </dev/null >/mnt/share/pluto.out 2>&1 &
            for i in $(seq 100); do
                /usr/libexec/ipsec/whack --briefstatus >/dev/null 2>&1 && break
                sleep 0.1
            done
            /usr/libexec/ipsec/addconn {tunnel.name}
        """, check=False)  # fmt: skip
        if started.returncode:
            raise LabError(f"libreswan does not take the connection: {started.stdout}{self.log()[-1000:]}")

    def initiate(self) -> str:
        """Bring the tunnel up; give what whack(8) says."""
        said = self.guest.shell(f"timeout 40 /usr/libexec/ipsec/whack --initiate --name {self.name}", check=False)
        if not _ESTABLISHED.search(said.stdout):
            raise LabError(f"libreswan: {said.stdout[-1000:]}")
        return said.stdout

    def established(self) -> bool:
        """Whether it has an IPsec SA."""
        status = self.guest.shell("/usr/libexec/ipsec/whack --status", check=False).stdout
        return bool(_ESTABLISHED.search(status))

    def log(self) -> str:
        """Give its log."""
        return _read(self.guest.share / "pluto.log") + _read(self.guest.share / "pluto.out")

    def version(self) -> str:
        """Give its version: `Libreswan 4.10`."""
        return self.guest.run("/usr/sbin/ipsec", "--version").stdout.strip()


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if os.path.exists(path) else ""
