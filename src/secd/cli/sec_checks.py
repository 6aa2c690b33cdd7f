"""What `sec doctor` looks at: each check yields findings, and each bad one says what to do."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

from secd.cli.sec_show import Shown
from secd.cli.sec_tunnels import ESP, Tunnel
from secd.conf.diagnostics import Diagnostic
from secd.conf.hostname import HostnameError, read_hostname
from secd.conf.hostname_settings import MTU_MIN, interface_unit
from secd.conf.ipsec.compile import compile_rules
from secd.conf.ipsec.grammar import parse_file
from secd.parent import tun

_CAPABILITIES = {10: "CAP_NET_BIND_SERVICE", 12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW"}
_IP_MTU, _IPV6_MTU = 14, 24
_TIME_ERROR = 5
#: No clock that is right shows a time before this version was written (2026-01-01).
_EPOCH_OF_RELEASE = 1_767_225_600
#: Octets of IV and ICV, and the block that ESP pads to (RFC 4303 §2.4; 4106, 7634, 3602, 4868).
_IV_ICV_BLOCK = {
    "aes-128-gcm": (8, 16, 4), "aes-192-gcm": (8, 16, 4), "aes-256-gcm": (8, 16, 4), "chacha20-poly1305": (8, 16, 4),
    "aes-128": (16, 0, 16), "aes-192": (16, 0, 16), "aes-256": (16, 0, 16), "null": (0, 0, 4),
}  # fmt: skip
_ICV = {"": 0, "hmac-sha1": 12, "hmac-sha2-256": 16, "hmac-sha2-384": 24, "hmac-sha2-512": 32}


class Finding(Struct, frozen=True):
    """`bad` keeps tunnels from working, `note` is worth knowing; `advice` says what to do about it."""

    level: Literal["ok", "note", "bad"]
    subject: str
    text: str
    advice: str = ""


def tun_device() -> Iterator[Finding]:
    """The device that every sec interface is made of."""
    fault = tun.fault()
    if fault:
        yield Finding("bad", tun.DEVICE, fault.text, fault.advice)
    else:
        yield Finding("ok", tun.DEVICE, "there, with queues and offloads")


def rights() -> Iterator[Finding]:
    """The capabilities that the data plane needs, as this command has them."""
    status = Path("/proc/self/status").read_text()
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    effective = int(match.group(1), 16) if match else 0
    missing = [name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        names = ", ".join(missing)
        yield Finding(
            "bad", "rights", f"without {names}", "become root; in a container: docker run --cap-add NET_ADMIN"
        )
    else:
        yield Finding("ok", "rights", ", ".join(_CAPABILITIES.values()))


def kernel() -> Iterator[Finding]:
    """Features that not every kernel has."""
    release = platform.release()
    match = re.match(r"(\d+)\.(\d+)", release)
    version = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
    if version >= (6, 2):
        yield Finding("ok", "kernel", f"Linux {release}: TUN segments UDP (USO)")
    else:
        text = f"Linux {release}: TUN does not segment UDP (USO), so large UDP flows cost more"
        yield Finding("note", "kernel", text, "Linux 6.2 or newer has it")
    command = ["unshare", "-n", "ip", "link", "add", "vrf0", "type", "vrf", "table", "10"]
    try:
        tried = subprocess.run(command, capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("note", "VRF", f"could not be tried: {error}", "install iproute2 and util-linux")
        return
    if tried.returncode == 0:
        yield Finding("ok", "VRF", "the kernel has it: `rdomain` works")
    else:
        yield Finding("note", "VRF", "the kernel has none: `rdomain` is refused", "modprobe vrf; nothing, if unused")


# -- the ports --------------------------------------------------------------------------------------------


def ports(own: set[int]) -> Iterator[Finding]:
    """Who holds UDP 500 and 4500; `own` are the process ids of secd."""
    for port in (500, 4500):
        inodes = _bound(port)
        if not inodes:
            yield Finding("note" if own else "ok", f"UDP {port}", "nobody listens", "see secd's log" if own else "")
            continue
        strangers = [(pid, name) for pid, name in _holders(inodes) if pid not in own]
        for pid, name in strangers:
            advice = "stop it: two IKE daemons cannot share a host's ports (use a network namespace for one)"
            yield Finding("bad", f"UDP {port}", f"held by {name} (process {pid})", advice)
        if not strangers:
            yield Finding("ok", f"UDP {port}", "held by secd" if own else "held by a process in sight of root only")


def _bound(port: int) -> set[str]:
    """Inodes of the UDP sockets bound to `port`, IPv4 and IPv6."""
    found: set[str] = set()
    for name in ("udp", "udp6"):
        path = Path("/proc/net") / name
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        fields = (line.split() for line in lines)
        found.update(f[9] for f in fields if len(f) > 9 and int(f[1].rpartition(":")[2], 16) == port)
    return found


def _holders(inodes: set[str]) -> Iterator[tuple[int, str]]:
    """Processes with one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(fd) in wanted for fd in (process / "fd").iterdir()):
                yield int(process.name), (process / "comm").read_text().strip()
        except OSError:  # it has ended, or is another user's
            continue


# -- system settings --------------------------------------------------------------------------------------


def _sysctl(name: str) -> int | None:
    try:
        return int((Path("/proc/sys") / name).read_text())
    except (OSError, ValueError):
        return None


def reverse_path(interfaces: Sequence[Shown]) -> Iterator[Finding]:
    """rp_filter 1 drops what comes back by another tunnel than it went out by (RFC 3704)."""
    everywhere = _sysctl("net/ipv4/conf/all/rp_filter") or 0
    for shown in interfaces:
        value = max(everywhere, _sysctl(f"net/ipv4/conf/{shown.name}/rp_filter") or 0)
        if value == 1:
            text = "rp_filter is strict: packets that come back by another tunnel are dropped"
            yield Finding("bad", shown.name, text, f"sysctl -w net.ipv4.conf.{shown.name}.rp_filter=2")
        else:
            yield Finding("ok", shown.name, "rp_filter lets asymmetric tunnels through")


def forwarding() -> Iterator[Finding]:
    """Whether this host routes for others at all."""
    if _sysctl("net/ipv4/ip_forward") == 0:
        text = "IPv4 is not forwarded: only this host itself can use the tunnels"
        yield Finding("note", "forwarding", text, "sysctl -w net.ipv4.ip_forward=1, if it is a gateway for others")
    else:
        yield Finding("ok", "forwarding", "IPv4 is forwarded")


def time_of_day() -> Iterator[Finding]:
    """Certificates and logs go by the clock."""
    now = time.time()
    if now < _EPOCH_OF_RELEASE:
        text = f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(now))}: certificates will not be valid"
        yield Finding("bad", "time", text, "set it (date -s), and run an NTP client (apt install chrony)")
    elif ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)) == _TIME_ERROR:
        text = "the clock is not synchronised; pre-shared keys do not mind, certificates and logs may"
        yield Finding("note", "time", text, "run an NTP client (apt install chrony)")
    else:
        yield Finding("ok", "time", "the clock is synchronised")


def files(directory: str = "/etc") -> Iterator[Finding]:
    """Each hostname.secN can be read, and sets its interface up."""
    for path in sorted(Path(directory).glob("hostname.sec*")):
        interface = path.name.removeprefix("hostname.")
        if interface_unit(interface) is None:
            continue
        try:
            file, _ = read_hostname(str(path), interface=interface)
        except HostnameError as error:
            yield from (
                Finding("bad", path.name, line, "put it right, then sec netstart") for line in str(error).split("\n")
            )
            continue
        if file.goes_up:
            yield Finding("ok", path.name, "understood")
        else:
            yield Finding("note", path.name, f"it does not set {interface} up", "add a line `up`")


def rules(directory: str = "/etc") -> Iterator[Finding]:
    """ipsec.conf and iked.conf can be loaded."""
    path = Path(directory) / "ipsec.conf"
    if path.exists():
        from secd.conf.iked.certificates import Store

        parsed = parse_file(str(path))
        rules = compile_rules(parsed.rules, open_store=lambda: Store(Path(directory) / "isakmpd"))
        found = [*parsed.diagnostics.all, *rules.diagnostics.all]
        yield from _understood(path, found, f"ipsecctl -f {path}")
    path = Path(directory) / "iked.conf"
    if path.exists():
        from secd.conf.iked.certificates import Store
        from secd.conf.iked.compile import compile_policies
        from secd.conf.iked.grammar import parse_file as parse_policies

        policies = parse_policies(str(path))
        compiled = compile_policies(policies, lambda: Store(Path(directory) / "iked"))
        yield from _understood(path, [*policies.diagnostics.all, *compiled.diagnostics.all], f"ikectl load {path}")


def _understood(path: Path, found: list[Diagnostic], command: str) -> Iterator[Finding]:
    if not found:
        yield Finding("ok", path.name, "understood")
    for diagnostic in found:
        level: Literal["note", "bad"] = "bad" if diagnostic.severity == "error" else "note"
        yield Finding(level, path.name, str(diagnostic), diagnostic.hint or f"put it right, then {command}")


# -- packet sizes -----------------------------------------------------------------------------------------


def inner_mtu(path_mtu: int, sa: ESP) -> int:
    """Give the largest inside packet whose ESP packet fits `path_mtu` octets (RFC 4303 §2.4)."""
    iv, icv, block = _IV_ICV_BLOCK.get(sa.encryption, (16, 16, 16))
    outer = 40 if ":" in sa.destination else 20
    room = path_mtu - outer - (8 if sa.udpencap else 0) - 8 - iv - (icv or _ICV.get(sa.auth, 32))
    return room - room % block - 2


def path_mtu(destination: str) -> int | None:
    """Give the largest packet that the kernel believes to reach `destination` whole; None when there is no route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 4500))  # sends nothing
            return probe.getsockopt(level, option)
        except OSError:
            return None


def packet_sizes(tunnels: Sequence[Tunnel], interfaces: Sequence[Shown]) -> Iterator[Finding]:
    """Compare each interface's MTU with what its peer's path leaves room for."""
    mtus = {shown.name: shown.mtu for shown in interfaces}
    for tunnel in tunnels:
        sas = [sa for sa in tunnel.esp if sa.direction == "out"]
        mtu = mtus.get(tunnel.iface)
        if not sas or mtu is None:
            continue
        outer = sas[-1].path_mtu or path_mtu(sas[-1].destination)
        if outer is None:
            text = f"no route to {sas[-1].destination}"
            yield Finding("bad", tunnel.iface, text, f"ip route get {sas[-1].destination}: give this host a route")
            continue
        best = inner_mtu(outer, sas[-1])
        if mtu <= best:
            yield Finding("ok", tunnel.iface, f"MTU {mtu}; the path (MTU {outer}) has room for {best}")
        else:
            advice = (
                f"sec ifconfig {tunnel.iface} mtu {best}, and the same line in /etc/hostname.{tunnel.iface}"
                if best >= MTU_MIN
                else "let the underlay carry larger packets; until then the outer packets are fragmented"
            )
            text = f"MTU {mtu}, but the path (MTU {outer}) has room for {best}: outer packets are fragmented or lost"
            yield Finding("bad" if best >= MTU_MIN else "note", tunnel.iface, text, advice)
