"""Rules as `ipsecctl -nv` prints them: flows and SAs in the words of ipsec.conf(5)."""

from __future__ import annotations

from secd.conf import services
from secd.conf.addresses import Address
from secd.conf.ipsec.rules import BundleRule, FlowRule, SaRule


def flow_line(rule: FlowRule) -> str:
    """Give a policy as a line."""
    words = [f"flow {rule.satype} {rule.direction}"]
    if rule.proto:
        words.append(f"proto {services.protocol_name(rule.proto)}")
    words.append(f"from {_end(rule.source, rule.source_port, rule.proto)}")
    words.append(f"to {_end(rule.destination, rule.destination_port, rule.proto)}")
    for keyword, value in (
        ("local", rule.local), ("peer", rule.peer), ("srcid", rule.ids.source), ("dstid", rule.ids.destination),
    ):  # fmt: skip
        if value is not None:
            words.append(f"{keyword} {value}")
    words.append(f"type {rule.type}")
    return " ".join(words)


def _end(address: Address, port: int, proto: int) -> str:
    return f"{address} port {services.port_name(port, proto)}" if port else str(address)


def sa_lines(rule: SaRule, *, with_keys: bool) -> str:
    """Give an SA as a line, continued by one for each key if these are to be seen."""
    words = [rule.satype]
    if rule.iface is not None:
        words.append(f"interface sec{rule.iface}")
    elif rule.satype not in ("ipip", "tcpmd5"):
        words.append(rule.mode)
    words.append(f"from {rule.source} to {rule.destination} spi 0x{rule.spi:08x}")
    if rule.udpencap:
        words.append(f"udpencap port {rule.udpencap.port}" if rule.udpencap.port else "udpencap")
    transforms = rule.transforms
    for keyword, transform in (("auth", transforms.auth), ("enc", transforms.enc), ("comp", transforms.comp)):
        if transform:
            words.append(f"{keyword} {transform.name}")
    text = " ".join(words)
    if with_keys:
        separator = " " if rule.satype == "tcpmd5" else " \\\n\t"
        for keyword, key in (("authkey", rule.authkey), ("enckey", rule.enckey)):
            if key:
                text += f"{separator}{keyword} 0x{key.octets.hex()}"
    return text


def bundle_line(rule: BundleRule) -> str:
    """Give a bundle as a line."""
    first, second = rule.first, rule.second
    return (
        f"[bundle {first.satype} to {first.destination} spi 0x{first.spi:08x} "
        f"with {second.satype} to {second.destination} spi 0x{second.spi:08x}]"
    )
