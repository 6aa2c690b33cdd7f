"""Names of protocols and ports.  The system's lists are asked too, but a small system may have none."""

from __future__ import annotations

import socket

_PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
    "ipv6-icmp": 58, "ospf": 89, "etherip": 97, "ipcomp": 108, "carp": 112, "l2tp": 115, "sctp": 132, "pfsync": 240,
}  # fmt: skip
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOLS.items()}

_PORTS = {
    "ssh": 22, "smtp": 25, "domain": 53, "tftp": 69, "http": 80, "ntp": 123, "snmp": 161, "bgp": 179, "https": 443,
    "isakmp": 500, "syslog": 514, "ipsec-nat-t": 4500,
}  # fmt: skip

TCP, UDP = 6, 17


def protocol_number(name: str) -> int | None:
    """Give the number of a protocol."""
    if name in _PROTOCOLS:
        return _PROTOCOLS[name]
    try:
        return socket.getprotobyname(name)
    except (OSError, ValueError):
        return None


def protocol_name(number: int) -> str:
    """Give the name of a protocol, or its number."""
    return _PROTOCOL_NAMES.get(number, str(number))


def port_number(name: str) -> int | None:
    """Give the number of a service's port."""
    for protocol in ("tcp", "udp"):
        try:
            return socket.getservbyname(name, protocol)
        except (OSError, ValueError):
            continue
    return _PORTS.get(name)


def port_name(number: int, protocol: int) -> str:
    """Give the name of the service at a port, or its number."""
    try:
        return socket.getservbyport(number, "tcp" if protocol == TCP else "udp")
    except (OSError, OverflowError):
        return next((name for name, known in _PORTS.items() if known == number), str(number))
