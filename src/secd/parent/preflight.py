"""What is missing on this machine, one line each, found before anything is started."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from secd.parent import tun

_CAPABILITIES = {6: "CAP_SETGID", 7: "CAP_SETUID", 12: "CAP_NET_ADMIN"}
_NET_BIND_SERVICE = (10, "CAP_NET_BIND_SERVICE")


def missing(ike_port: int, natt_port: int) -> list[str]:
    """List what is missing, as lines for a person; empty when all is there."""
    lines = [str(tun.fault() or ""), *_capabilities(low_port=min(ike_port, natt_port) < _first_unprivileged_port())]
    if not any(lines):
        lines += [_port(port) for port in (ike_port, natt_port)]
    return [line for line in lines if line]


def _capabilities(*, low_port: bool) -> list[str]:
    held = _effective()
    wanted = dict(_CAPABILITIES)
    if low_port:
        wanted |= dict([_NET_BIND_SERVICE])
    return [
        f"{name} is missing: run as root (in a container: `--cap-add {name.removeprefix('CAP_')}`)"
        for bit, name in wanted.items()
        if not held >> bit & 1
    ]


def _effective() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _first_unprivileged_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _port(port: int) -> str:
    """Try to bind `port` on both families, without SO_REUSEPORT: a stale group shows."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 (that is what is tested)
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and family == socket.AF_INET6:
                continue  # a kernel without IPv6
            if error.errno == errno.EADDRINUSE:
                return (
                    f"UDP port {port} is in use by another key-exchange daemon: `ss -ulpn sport = :{port}` shows "
                    "which; stop it first"
                )
            return f"UDP port {port} cannot be bound: {error.strerror}"
    return ""
