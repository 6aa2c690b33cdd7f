"""A sec interface as ifconfig(8) prints it."""

from __future__ import annotations

import ipaddress

from msgspec import Struct

from secd.conf.hostname_settings import InterfaceAddress

# net/if.h of Linux, and the same of OpenBSD in the order in which its ifconfig names them.
LINUX_UP, LINUX_RUNNING = 0x1, 0x40
_FLAGS = (
    # name, Linux, OpenBSD
    ("UP", LINUX_UP, 0x1),
    ("POINTOPOINT", 0x10, 0x10),
    ("RUNNING", LINUX_RUNNING, 0x40),
    ("PROMISC", 0x100, 0x100),
    ("ALLMULTI", 0x200, 0x200),
    ("MULTICAST", 0x1000, 0x8000),
)


class Shown(Struct, frozen=True, omit_defaults=False):
    """One interface.  `flags` are Linux's; `tunneldf` and `mssclamp` are None when the data plane was not asked."""

    name: str
    index: int
    flags: int
    mtu: int
    description: str = ""
    groups: tuple[str, ...] = ("sec",)
    rdomain: int = 0
    addresses: tuple[InterfaceAddress, ...] = ()
    tunneldf: bool | None = None
    mssclamp: bool | None = None

    @property
    def up(self) -> bool:
        """Whether it was set up."""
        return bool(self.flags & LINUX_UP)


def flag_names(flags: int) -> list[str]:
    """Name Linux's flags as ifconfig does."""
    return [name for name, linux, _ in _FLAGS if flags & linux]


def openbsd_flags(flags: int) -> int:
    """Give the number that OpenBSD has for these of Linux's flags."""
    return sum(openbsd for _, linux, openbsd in _FLAGS if flags & linux)


def ifconfig_lines(shown: Shown) -> list[str]:
    """Print one interface, line by line."""
    flags = f"{openbsd_flags(shown.flags):x}<{','.join(flag_names(shown.flags))}>"
    rdomain = f"rdomain {shown.rdomain} " if shown.rdomain else ""
    lines = [f"{shown.name}: flags={flags} {rdomain}mtu {shown.mtu}"]
    if shown.description:
        lines.append(f"\tdescription: {shown.description}")
    lines.append(f"\tindex {shown.index} priority 0 llprio 3")
    lines.append(f"\tgroups: {' '.join(shown.groups)}")
    lines += [f"\t{_address(shown, address)}" for address in shown.addresses]
    return lines


def _address(shown: Shown, address: InterfaceAddress) -> str:
    if address.version == 4:
        mask = 0xFFFFFFFF << (32 - address.prefixlen) & 0xFFFFFFFF
        return f"inet {address.local} --> {address.peer or '0.0.0.0'} netmask 0x{mask:08x}"  # noqa: S104 - as ifconfig
    line = f"inet6 {_scoped(address.local, shown)} --> {_scoped(address.peer, shown)} prefixlen {address.prefixlen}"
    return f"{line} scopeid 0x{shown.index:x}" if ipaddress.ip_address(address.local).is_link_local else line


def _scoped(text: str | None, shown: Shown) -> str:
    if text is None:
        return ""
    return f"{text}%{shown.name}" if ipaddress.ip_address(text).is_link_local else text
