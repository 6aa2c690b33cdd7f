"""Encrypted fragments of IKEv2 (RFC 7383) on the wire, seen and lost by nftables on secd's host.

They are payload 53 behind an IKE header on port 4500, and begin with their number.
"""

from __future__ import annotations

import re

from secd.lab.namespaces import Host

#: Bits from the UDP header: eight octets of its own, four of zeros, then IKE's header with the type of what follows.
_IKE = (8 + 4) * 8
_FRAGMENT = f"udp sport 4500 udp dport 4500 @th,64,32 0 @th,{_IKE + 16 * 8},8 53"
_NUMBER = f"@th,{_IKE + 32 * 8},16"
_LOSE = 'counter name "lost" drop'


class Wire:
    """What a host sends and receives of fragments, and loses of them."""

    def __init__(self, host: Host) -> None:
        """Watch `host`; nothing is lost yet."""
        self._host = host
        self.lose()

    def lose(self, *, sent: int = 0, received: int = 0) -> None:
        """Count anew; lose the first fragment with this number that the host sends, and that it receives."""
        chains = "".join(
            f"""
            counter {name} {{ }}
            chain {hook} {{
                type filter hook {hook} priority 0;
                {_FRAGMENT} counter name "{name}"
                {f"{_FRAGMENT} {_NUMBER} {lost} limit rate 1/day burst 1 packets {_LOSE}" if lost else ""}
            }}"""
            for name, hook, lost in (("sent", "output", sent), ("received", "input", received))
        )
        self._host.run(
            "nft",
            "-f",
            "-",
            text=f"table ip watch\ndelete table ip watch\ntable ip watch {{ counter lost {{ }} {chains}\n}}\n",
        )

    def fragments(self) -> tuple[int, int]:
        """Give how many were sent, lost ones included, and how many came."""
        return self._count("sent"), self._count("received")

    def lost(self) -> int:
        """Give how many were lost."""
        return self._count("lost")

    def _count(self, name: str) -> int:
        said = self._host.run("nft", "list", "counter", "ip", "watch", name).stdout
        found = re.search(r"packets (\d+)", said)
        assert found, said
        return int(found[1])
