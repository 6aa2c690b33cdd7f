"""Netlink messages and attributes (RFC 3549 §2.2, §2.3), as bytes."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH = 28
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWQDISC = 36

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR, NLM_F_DUMP = 0x01, 0x04, 0x10, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800

_TYPE_MASK = 0x3FFF  # without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER
NESTED = 0x8000


def aligned(length: int) -> int:
    """Round `length` up to netlink's alignment of four octets."""
    return (length + 3) & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute, padded."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(aligned(length) - length)


def u8(kind: int, value: int) -> bytes:
    """Encode an attribute of one octet."""
    return attribute(kind, struct.pack("=B", value))


def u32(kind: int, value: int) -> bytes:
    """Encode an attribute of four octets in host order."""
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    """Encode a zero-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Give (type, payload) of each attribute in `data` from `offset` on; stop where the data end or make no sense."""
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            return
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += aligned(length)


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """Give (type, flags, sequence, port, body) of each message in one datagram."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, sequence, port = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > len(data):
            return
        yield kind, flags, sequence, port, data[offset + HEADER.size : offset + length]
        offset += aligned(length)


def number(payload: bytes) -> int:
    """Decode an integer attribute of 1, 2, 4 or 8 octets in host order."""
    return int.from_bytes(payload, "little" if struct.pack("=H", 1)[0] else "big")


def string(payload: bytes) -> str:
    """Decode a zero-terminated string."""
    return payload.split(b"\0", 1)[0].decode(errors="replace")


def address(payload: bytes) -> str:
    """Decode an address of 4 or 16 octets; "" if it is neither."""
    if len(payload) not in {4, 16}:
        return ""
    return str(ipaddress.ip_address(payload))


def packed(value: str) -> tuple[int, bytes]:
    """Give family and octets of an address; ValueError if it is none."""
    parsed = ipaddress.ip_address(value)
    return (socket.AF_INET if parsed.version == 4 else socket.AF_INET6), parsed.packed
