"""What can be set on a secN: the values that hostname.secN and `sec ifconfig` come down to.

Each setting states a wanted condition, so that carrying one out twice changes nothing the second time.
"""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

#: sec(4)'s limits, in octets.
MTU_MIN, MTU_MAX, MTU_DEFAULT = 1280, 32768, 1280
#: What Linux keeps of an interface's description (IFALIASZ without its final NUL), in octets.
DESCRIPTION_MAX = 255
_UNIT_MAX = 0xFFFFFFFF
_NAME = re.compile(r"sec(0|[1-9][0-9]{0,9})", re.ASCII)


class InterfaceAddress(Struct, frozen=True):
    """One inside address.  `peer` None: no other end was named, so Linux routes the whole prefix here."""

    local: str
    prefixlen: int
    peer: str | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.local else 4

    @property
    def routed(self) -> InterfaceAddress:
        """The same as Linux has to be given it.

        Linux applies the prefix length to the *peer's* address and routes that prefix into the interface; on OpenBSD
        the mask of a point-to-point address routes nothing but the peer.  Where both ends share the prefix (every
        /30, /31 and /126) the two mean the same hosts; where they do not, only the peer itself may be routed.
        """
        if self.peer is None:
            return self
        network = ipaddress.ip_network(f"{self.local}/{self.prefixlen}", strict=False)
        if ipaddress.ip_address(self.peer) in network:
            return self
        return InterfaceAddress(self.local, network.max_prefixlen, self.peer)


class SetAddress(Struct, frozen=True):
    """Have `address`; with `alias` beside the others, without it in place of the first of its family."""

    address: InterfaceAddress
    alias: bool = False


class RemoveAddress(Struct, frozen=True):
    """Have no address `local`."""

    local: str


class SetMTU(Struct, frozen=True):
    """In octets."""

    mtu: int


class SetUp(Struct, frozen=True):
    """Up, or down."""

    up: bool


class SetDescription(Struct, frozen=True):
    """Text for people; "" takes it away."""

    text: str


class SetRDomain(Struct, frozen=True):
    """The routing domain: on Linux a VRF whose table has this number; 0 is the main one."""

    number: int


class SetOption(Struct, frozen=True):
    """An option that the data plane keeps: `tunneldf` or `mssclamp`."""

    name: str
    on: bool


class RunCommand(Struct, frozen=True):
    """A `!command` line, `$if` replaced; for sh -c."""

    command: str


Setting = SetAddress | RemoveAddress | SetMTU | SetUp | SetDescription | SetRDomain | SetOption | RunCommand


def interface_unit(name: str) -> int | None:
    """Give N of `secN`, or None when `name` is no such name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    unit = int(match.group(1))
    return unit if unit <= _UNIT_MAX else None
