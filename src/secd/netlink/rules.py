"""Routing policy rules: ip-rule(8)."""

from __future__ import annotations

import socket
import struct

from msgspec import Struct

from secd.netlink import wire
from secd.netlink.socket import Netlink

TABLE_MAIN, TABLE_LOCAL = 254, 255
ACTION_LOOKUP, ACTION_NOTHING, ACTION_UNREACHABLE = 1, 3, 7

_HEADER = struct.Struct("=BBBBBxxBI")  # family, dst_len, src_len, tos, table, action, flags
_IIFNAME, _PRIORITY, _SUPPRESS_IFGROUP, _TABLE, _PROTOCOL, _IP_PROTO, _SPORT_RANGE = 3, 6, 13, 15, 21, 22, 23
_NO_GROUP = 0xFFFFFFFF


class Rule(Struct, frozen=True):
    """One rule of the shapes that secd makes; a foreign rule decodes to what of it fits here.

    `suppress_group`: a route over an interface of this link group is no match.  `incoming` "lo": packets of this
    host itself.  `owner`: who installed the rule (the `proto` of ip-rule(8)).
    """

    family: int
    priority: int
    table: int = 0
    action: int = ACTION_LOOKUP
    ip_protocol: int = 0
    source_port: int = 0
    incoming: str = ""
    suppress_group: int | None = None
    owner: int = 0


def list_all(netlink: Netlink, family: int) -> list[Rule]:
    """List the rules of a family in order of priority."""
    bodies = netlink.entries(wire.RTM_GETRULE, _HEADER.pack(family, 0, 0, 0, 0, 0, 0))
    return sorted((_decode(body) for body in bodies if len(body) >= _HEADER.size), key=lambda rule: rule.priority)


def add(netlink: Netlink, rule: Rule) -> None:
    """Add a rule; EEXIST when it is there."""
    netlink.request(wire.RTM_NEWRULE, _encode(rule), wire.NLM_F_CREATE | wire.NLM_F_EXCL)


def delete(netlink: Netlink, rule: Rule) -> None:
    """Take a rule away; ENOENT when it is not there."""
    netlink.request(wire.RTM_DELRULE, _encode(rule))


def _decode(body: bytes) -> Rule:
    family, _, _, _, table, action, _ = _HEADER.unpack_from(body)
    found = dict(wire.attributes(body, _HEADER.size))
    group = wire.number(found[_SUPPRESS_IFGROUP]) if _SUPPRESS_IFGROUP in found else _NO_GROUP
    return Rule(
        family=family,
        priority=wire.number(found.get(_PRIORITY, b"")),
        table=wire.number(found[_TABLE]) if _TABLE in found else table,
        action=action,
        ip_protocol=wire.number(found.get(_IP_PROTO, b"")),
        source_port=wire.number(found.get(_SPORT_RANGE, b"")[:2]),
        incoming=wire.string(found.get(_IIFNAME, b"")),
        suppress_group=None if group == _NO_GROUP else group,
        owner=wire.number(found.get(_PROTOCOL, b"")),
    )


def _encode(rule: Rule) -> bytes:
    body = _HEADER.pack(rule.family, 0, 0, 0, rule.table if rule.table < 256 else 0, rule.action, 0)
    body += wire.u32(_PRIORITY, rule.priority)
    if rule.table:
        body += wire.u32(_TABLE, rule.table)
    if rule.ip_protocol:
        body += wire.u8(_IP_PROTO, rule.ip_protocol)
    if rule.source_port:
        body += wire.attribute(_SPORT_RANGE, struct.pack("=HH", rule.source_port, rule.source_port))
    if rule.incoming:
        body += wire.text(_IIFNAME, rule.incoming)
    if rule.suppress_group is not None:
        body += wire.u32(_SUPPRESS_IFGROUP, rule.suppress_group)
    return body + (wire.u8(_PROTOCOL, rule.owner) if rule.owner else b"")


FAMILIES = (socket.AF_INET, socket.AF_INET6)
