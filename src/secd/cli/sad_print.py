"""SAs as OpenBSD's ipsecctl(8) prints them: a line each, and with `-v` a line for each PF_KEY extension.

Every SA here carries everything: its flow is 0.0.0.0/0 to 0.0.0.0/0, as isakmpd(8) installs it for sec(4).
"""

from __future__ import annotations

from collections.abc import Iterator

from secd.sadb.messages import SA, Counters, Entry, Identity, Lifetime

#: flags of PF_KEY: tunnel mode, ESP in UDP, extended sequence numbers.
_FLAGS = ((0x4, "tunnel"), (0x200, "udpencap"), (0x400, "esn"))

_COUNTER_LINES = (
    ("input_packets", "input packet", ""),
    ("output_packets", "output packet", ""),
    ("input_bytes", "input byte", ""),
    ("output_bytes", "output byte", ""),
    ("input_decompressed_bytes", "input byte", ", decompressed"),
    ("output_uncompressed_bytes", "output byte", ", uncompressed"),
    ("input_drops", "packet", " dropped on input"),
    ("output_drops", "packet", " dropped on output"),
)


def sa_line(sa: SA) -> str:
    """Give an SA in ipsec.conf(5)'s words; of udpencap nothing is said, as in OpenBSD."""
    auth = f" auth {sa.auth}" if sa.auth else ""
    encryption = "aes" if sa.encryption == "aes-128" else sa.encryption
    return f"esp tunnel from {sa.source} to {sa.destination} spi 0x{sa.spi:08x}{auth} enc {encryption}"


def sa_lines(entry: Entry, *, with_keys: bool, verbose: int) -> Iterator[str]:
    """Yield the lines of one SA; `verbose` 2 also shows counters that are zero."""
    sa = entry.sa
    line = sa_line(sa)
    if with_keys:
        for keyword, key in (("authkey", sa.auth_key), ("enckey", sa.encryption_key)):
            if key:
                line += f" \\\n\t{keyword} 0x{key.hex()}"
    yield line
    if verbose:
        for extension in _extensions(entry, with_keys=with_keys, all_counters=verbose > 1):
            yield f"\t{extension}"


def _extensions(entry: Entry, *, with_keys: bool, all_counters: bool) -> Iterator[str]:
    sa = entry.sa
    yield _association(entry)
    # Packets are among the counters; what PF_KEY calls allocations does not happen here.
    yield _lifetime("cur", Lifetime(0, entry.current.bytes, entry.current.addtime, entry.current.usetime))
    for name, limit in (("hard", sa.hard), ("soft", sa.soft)):
        if limit != Lifetime():
            yield _lifetime(name, limit)
    yield f"address_src: {sa.source}"
    yield f"address_dst: {sa.destination}"
    if with_keys:
        for name, key in (("key_auth", sa.auth_key), ("key_encrypt", sa.encryption_key)):
            if key:
                yield f"{name}: bits {8 * len(key)}: {key.hex()}"
    for name, identity in (("identity_src", sa.identity_source), ("identity_dst", sa.identity_destination)):
        if identity:
            yield _identity(name, identity)
    yield "src_mask: 0.0.0.0"
    yield "dst_mask: 0.0.0.0"
    yield "protocol: proto 0 flags 0"
    yield f"flow_type: type use direction {sa.direction}"
    yield "src_flow: 0.0.0.0"
    yield "dst_flow: 0.0.0.0"
    if sa.udpencap:
        yield f"udpencap: udpencap port {sa.udpencap.remote_port}"
    if entry.lastuse:
        yield _lifetime("lastuse", Lifetime(usetime=entry.lastuse))
    yield _counters(entry.counters, everything=all_counters)
    if entry.pmtu:
        yield f"mtu: mtu {entry.pmtu}"
    yield f"replay: rpl {entry.rpl}"
    yield f"interface: {sa.iface} direction {sa.direction}"


def _association(entry: Entry) -> str:
    sa = entry.sa
    present = (True, sa.udpencap is not None, sa.esn)
    flags = [flag for flag, there in zip(_FLAGS, present, strict=True) if there]
    number = sum(bit for bit, _ in flags)
    auth = f" auth {sa.auth}" if sa.auth else ""
    return (
        f"sa: spi 0x{sa.spi:08x}{auth} enc {_cipher(sa.encryption)}\n"
        f"\t\tstate {entry.state} replay {sa.replay} flags 0x{number:x}<{','.join(name for _, name in flags)}>"
    )


def _cipher(encryption: str) -> str:
    """Give the cipher without its key length."""
    words = [word for word in encryption.split("-") if not word.isdigit()]
    return "-".join(words) if encryption.startswith("aes") else encryption


def _lifetime(name: str, lifetime: Lifetime) -> str:
    return (
        f"lifetime_{name}: alloc {lifetime.allocations} bytes {lifetime.bytes} "
        f"add {lifetime.addtime} first {lifetime.usetime}"
    )


def _identity(name: str, identity: Identity) -> str:
    return f"{name}: type {identity.type} id 0: {identity.text}"


def _counters(counters: Counters, *, everything: bool) -> str:
    """Give the block of counters, which ends with an empty line."""
    lines = ["counter:"]
    for field, noun, suffix in _COUNTER_LINES:
        value: int = getattr(counters, field)
        if value or everything:
            lines.append(f"\t\t{value} {noun}{'' if value == 1 else 's'}{suffix}")
    return "\n".join([*lines, ""])
