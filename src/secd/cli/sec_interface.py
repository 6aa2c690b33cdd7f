"""Sec interfaces as they are, and as settings make them: what netstart, ifconfig, up and down have in common."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from secd.cli.output import CommandError
from secd.cli.sec_seam import set_option
from secd.cli.sec_show import Shown
from secd.conf.hostname_settings import (
    InterfaceAddress,
    RemoveAddress,
    RunCommand,
    SetAddress,
    SetDescription,
    SetMTU,
    SetOption,
    SetRDomain,
    Setting,
    SetUp,
    interface_unit,
)
from secd.netlink import Netlink, NetlinkError, addresses, links
from secd.netlink.links import Link


def read_interfaces() -> list[Shown]:
    """Every sec interface in this network namespace, in order of index."""
    with Netlink() as netlink:
        return [_shown(netlink, link) for link in links.list_all(netlink) if _is_ours(link)]


def read_interface(name: str) -> Shown | None:
    """One of them."""
    with Netlink() as netlink:
        link = links.find(netlink, name)
        return _shown(netlink, link) if link and _is_ours(link) else None


def _is_ours(link: Link) -> bool:
    return interface_unit(link.name) is not None and link.kind == "tun"


def _shown(netlink: Netlink, link: Link) -> Shown:
    found = addresses.list_all(netlink, link.index)
    return Shown(
        name=link.name,
        index=link.index,
        flags=link.flags,
        mtu=link.mtu,
        description=link.alias,
        rdomain=_rdomain(link.name),
        addresses=tuple(InterfaceAddress(a.address, a.prefix_length, a.peer) for a in found),
    )


def _rdomain(name: str) -> int:
    """The number of the VRF `vrfN` that the interface is in; 0 for the main table."""
    with suppress(OSError):
        match = re.fullmatch(r"vrf([0-9]{1,9})", os.path.basename(os.readlink(f"/sys/class/net/{name}/master")))
        return int(match.group(1)) if match else 0
    return 0


class Changer:
    """Carries settings out on one interface.  Each call tells what it changed; [] when all was right already."""

    def __init__(self, netlink: Netlink, name: str) -> None:
        """Find `name`; CommandError when it is not there."""
        link = links.find(netlink, name)
        if link is None:
            raise CommandError(f"{name}: no such interface: sec ifconfig {name} create, or sec netstart {name}")
        if not _is_ours(link):
            raise CommandError(f"{name}: there is an interface of this name, but secd did not make it")
        self._netlink, self._name, self._index = netlink, name, link.index

    def apply(self, setting: Setting) -> list[str]:
        """Carry out one setting; CommandError says why that cannot be."""
        try:
            return self._apply(setting)
        except NetlinkError as error:
            raise CommandError(f"{self._name}: {_words(setting)}: {error.strerror}") from error

    def keep_only(self, wanted: Iterable[InterfaceAddress], *, version: int | None = None) -> list[str]:
        """Take away every address (of an IP version) that is not wanted.

        Link-local ones of IPv6, and what a peer has given by IKEv2, are left alone.
        """
        kept = set(wanted)
        changed: list[str] = []
        for present in self._addresses(given=False):
            foreign = version not in (None, present.version)
            if present not in kept and not foreign and not present.local.startswith("fe80:"):
                self._delete(present)
                changed.append(f"address {_text(present)} removed")
        return changed

    def _apply(self, setting: Setting) -> list[str]:
        if isinstance(setting, SetAddress):
            return self._set_address(setting)
        if isinstance(setting, RemoveAddress):
            return self._remove_address(setting.local)
        if isinstance(setting, SetOption):
            return self._set_option(setting)
        if isinstance(setting, SetRDomain):
            return self._set_rdomain(setting.number)
        if isinstance(setting, RunCommand):
            return self._run(setting.command)
        return self._set_link(setting)

    def _set_link(self, setting: SetMTU | SetUp | SetDescription) -> list[str]:
        link = links.find(self._netlink, self._name)
        if link is None:
            raise CommandError(f"{self._name}: it has gone")
        if isinstance(setting, SetMTU) and link.mtu != setting.mtu:
            links.change(self._netlink, self._index, mtu=setting.mtu)
            return [f"mtu {setting.mtu}"]
        if isinstance(setting, SetDescription) and link.alias != setting.text:
            links.change(self._netlink, self._index, alias=setting.text)
            return [f"description: {setting.text}" if setting.text else "no description"]
        if isinstance(setting, SetUp) and link.up != setting.up:
            links.change(self._netlink, self._index, up=setting.up)
            return ["up" if setting.up else "down"]
        return []

    # -- addresses ----------------------------------------------------------------------------------------

    def _addresses(self, *, given: bool = True) -> list[InterfaceAddress]:
        found = addresses.list_all(self._netlink, self._index)
        return [
            InterfaceAddress(a.address, a.prefix_length, a.peer)
            for a in found
            if given or a.protocol != addresses.PROTOCOL_GIVEN
        ]

    def _set_address(self, setting: SetAddress) -> list[str]:
        wanted = setting.address.routed
        changed: list[str] = []
        if not setting.alias and wanted.version == 4:
            changed += self.keep_only([wanted], version=4)
        present = self._addresses()
        if wanted in present:
            return changed
        for other in present:
            if other.local == wanted.local:  # the same address with another mask or peer
                self._delete(other)
                changed.append(f"address {_text(other)} removed")
        if wanted.version == 6:  # Linux forgets IPv6 addresses when a link goes down, unless told to keep them
            with suppress(OSError):
                Path(f"/proc/sys/net/ipv6/conf/{self._name}/keep_addr_on_down").write_text("1")
        addresses.add(self._netlink, self._index, wanted.local, wanted.prefixlen, peer=wanted.peer)
        return [*changed, f"address {_text(wanted)} added"]

    def _remove_address(self, local: str) -> list[str]:
        present = [address for address in self._addresses() if address.local == local]
        if not present:
            raise CommandError(f"{self._name}: it has no address {local}")
        for address in present:
            self._delete(address)
        return [f"address {_text(address)} removed" for address in present]

    def _delete(self, address: InterfaceAddress) -> None:
        addresses.delete(self._netlink, self._index, address.local, address.prefixlen, peer=address.peer)

    # -- what netlink does not do -------------------------------------------------------------------------

    def _set_option(self, setting: SetOption) -> list[str]:
        changed = set_option(self._name, setting.name, on=setting.on)
        return [setting.name if setting.on else f"-{setting.name}"] if changed else []

    def _set_rdomain(self, number: int) -> list[str]:
        if _rdomain(self._name) == number:
            return []
        if number == 0:
            self._ip("link", "set", self._name, "nomaster")
            return ["rdomain 0"]
        vrf = f"vrf{number}"
        if links.find(self._netlink, vrf) is None:
            self._ip("link", "add", vrf, "type", "vrf", "table", str(number))
        self._ip("link", "set", vrf, "up")
        self._ip("link", "set", self._name, "master", vrf)
        return [f"rdomain {number}"]

    def _ip(self, *arguments: str) -> None:
        try:
            done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        except OSError as error:
            raise CommandError(f"{self._name}: rdomain: cannot run ip(8): {error.strerror}") from error
        if done.returncode == 0:
            return
        said = done.stderr.strip().rpartition("\n")[2]
        if "add" in arguments and ("Unknown device type" in done.stderr or "not supported" in done.stderr):
            said = "this kernel has no VRF (CONFIG_NET_VRF), which is what a routing domain is on Linux"
        raise CommandError(f"{self._name}: rdomain: {said}")

    def _run(self, command: str) -> list[str]:
        done = subprocess.run(["sh", "-c", command], check=False)
        if done.returncode:
            how = f"status {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
            raise CommandError(f"{self._name}: the command `{command}` ended with {how}")
        return []


def _text(address: InterfaceAddress) -> str:
    peer = f" --> {address.peer}" if address.peer else ""
    return f"{address.local}{peer}/{address.prefixlen}"


def _words(setting: Setting) -> str:
    """Name a setting in an error."""
    if isinstance(setting, SetAddress):
        return f"address {_text(setting.address)}"
    return {SetMTU: "mtu", SetUp: "up or down", SetDescription: "description"}.get(type(setting), "address")
