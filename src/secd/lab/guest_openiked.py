"""OpenIKED in a guest, over its kernel's ESP by PF_KEY; the inside address is on its loopback interface.

Debian's build offers for ESP what PF_KEY has on Linux: AES-CBC with SHA1, SHA2-384 or SHA2-512, without extended
sequence numbers.  It is policy-based: what goes from inside address to inside address is encrypted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from secd.lab.commands import LabError, WaitTimeout, wait_until
from secd.lab.guest import Guest

CONFIGURATION, SOCKET = "/etc/iked.conf", "/run/iked.sock"


class OpenIKED:
    """Its iked in a guest made from `LIBRESWAN_TREE`, with one policy for everything."""

    def __init__(
        self, guest: Guest, inner: str, *, local: str, remote: str, mode: Literal["active", "passive"], ikesa: str,
        childsa: str, psk: str = "", ids: str = "", files: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Start it; transforms are in its own words, as `ids` (srcid and dstid, the addresses if not given).

        Without `psk` it authenticates by the keys and certificates among `files`, which go under /etc/iked.
        """
        self.guest = guest
        for path, text in (files or {}).items():
            guest.write(f"/etc/iked/{path}", text, mode=0o600 if path.startswith("private/") else 0o644)
        guest.write(
            CONFIGURATION,
            f'ikev2 "sec0" {mode} esp from 0.0.0.0/0 to 0.0.0.0/0 local {local} peer {remote} \\\n'
            f"    ikesa {ikesa} childsa {childsa} {ids or f'srcid {local} dstid {remote}'}"
            + (f' psk "{psk}"' if psk else "")
            + "\n",
            mode=0o600,
        )  # fmt: skip
        guest.shell(f"""
            ip address add {inner}/32 dev lo
            ip route replace default via {remote}
            setsid /usr/sbin/iked -dvv -f {CONFIGURATION} -s {SOCKET} </dev/null >/mnt/share/iked.log 2>&1 &
        """)
        # Its socket is there before its policies; what comes in between makes an SA that the load then takes away.
        try:
            wait_until(lambda: "config_getstatic: no stickyaddress" in self.log(), 30, "OpenIKED's policies")
        except WaitTimeout as error:
            raise LabError(f"{error}: {self.log()[-1000:]}") from error

    def show(self) -> str:
        """Give its SAs as ikectl(8) there prints them."""
        return self.guest.run("ikectl", "-s", SOCKET, "show", "sa", check=False).stdout

    def log(self) -> str:
        """Give its log."""
        log = self.guest.share / "iked.log"
        return log.read_text(errors="replace") if log.exists() else ""
