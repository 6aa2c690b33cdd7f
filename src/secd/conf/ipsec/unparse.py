"""Rules back to ipsec.conf(5): what was left to a default is said, and what is printed parses to the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secd.conf.addresses import Address
from secd.conf.ipsec.keywords import KEYWORDS
from secd.conf.ipsec.phrases import AGGRESSIVE_PSK
from secd.conf.ipsec.rules import FlowRule, IkeRule, Phase, Rule, SaRule
from secd.conf.quoting import quote


def rules_text(rules: Iterable[Rule], *, with_keys: bool) -> Iterator[str]:
    """Yield each rule as text; without `with_keys`, `...` stands for secrets (and does not parse)."""
    waiting: SaRule | None = None
    for rule in rules:
        if isinstance(rule, IkeRule):
            yield ike_text(rule, with_keys=with_keys)
        elif isinstance(rule, FlowRule):
            yield flow_text(rule)
        elif isinstance(rule, SaRule):
            if rule.iface is not None and rule.direction == "out":
                waiting = rule  # its other direction comes next
            else:
                yield sa_text(waiting or rule, rule if waiting else None, with_keys=with_keys)
                waiting = None


def ike_text(rule: IkeRule, *, with_keys: bool) -> str:
    """Give a connection."""
    words = [f"ike {rule.mode}"]
    if rule.iface is not None:
        words.append(f"interface sec{rule.iface}")
    else:
        words += [rule.satype, rule.tunnel, *_selectors(rule)]
    if rule.local:
        words.append(f"local {rule.local}")
    words.append(f"peer {rule.peer or 'any'}")
    words += [_phase(rule.phase1), _phase(rule.phase2)]
    if rule.ids.source is not None:
        words.append(f"srcid {quote(rule.ids.source, KEYWORDS)}")
    if rule.ids.destination is not None:
        words.append(f"dstid {quote(rule.ids.destination, KEYWORDS)}")
    if rule.psk is None:
        words.append("rsa")
    else:
        words.append(f"psk {quote(rule.psk.text, KEYWORDS) if with_keys else '...'}")
        if rule.psk.aggressive:
            words.append(AGGRESSIVE_PSK)
    if rule.tag is not None:
        words.append(f"tag {quote(rule.tag, KEYWORDS)}")
    return " ".join(words)


def flow_text(rule: FlowRule) -> str:
    """Give a flow in one direction."""
    words = [f"flow {rule.satype} {rule.direction}", *_selectors(rule)]
    if rule.local:
        words.append(f"local {rule.local}")
    if rule.type not in ("deny", "bypass"):
        words.append(f"peer {rule.peer or 'any'}")
    if rule.ids.source is not None:
        words.append(f"srcid {quote(rule.ids.source, KEYWORDS)}")
    if rule.ids.destination is not None:
        words.append(f"dstid {quote(rule.ids.destination, KEYWORDS)}")
    return " ".join([*words, f"type {rule.type}"])


def sa_text(rule: SaRule, reverse: SaRule | None, *, with_keys: bool) -> str:
    """Give an SA, or the two of a tunnel."""
    words = [rule.satype]
    if rule.iface is not None:
        words.append(f"interface sec{rule.iface}")
    elif rule.satype != "tcpmd5":
        words.append(rule.mode)
    spis = f"0x{rule.spi:08x}" + (f":0x{reverse.spi:08x}" if reverse else "")
    words.append(f"from {rule.source} to {rule.destination} spi {spis}")
    if rule.udpencap:
        words.append(f"udpencap port {rule.udpencap.port}" if rule.udpencap.port else "udpencap")
    for keyword, transform in (
        ("auth", rule.transforms.auth), ("enc", rule.transforms.enc), ("comp", rule.transforms.comp),
    ):  # fmt: skip
        if transform:
            words.append(f"{keyword} {transform.name}")
    for keyword, keys in (
        ("authkey", (rule.authkey, reverse.authkey if reverse else None)),
        ("enckey", (rule.enckey, reverse.enckey if reverse else None)),
    ):
        shown = [f"0x{key.octets.hex()}" if with_keys else "..." for key in keys if key]
        if shown:
            words.append(f"{keyword} {':'.join(shown)}")
    if rule.bundle is not None:
        words.append(f"bundle {quote(rule.bundle, KEYWORDS)}")
    return " ".join(words)


def _selectors(rule: IkeRule | FlowRule) -> Iterator[str]:
    if rule.proto:
        yield f"proto {rule.proto}"
    yield f"from {_end(rule.source, rule.source_port)}"
    yield f"to {_end(rule.destination, rule.destination_port)}"


def _end(address: Address, port: int) -> str:
    nat = f" ({address.nat})" if address.nat else ""
    return f"{address}{nat}" + (f" port {port}" if port else "")


def _phase(phase: Phase) -> str:
    words: list[str] = [phase.exchange]
    transforms = phase.transforms
    for keyword, transform in (("auth", transforms.auth), ("enc", transforms.enc), ("group", transforms.group)):
        if transform:
            words.append(f"{keyword} {transform.name}")
    if phase.lifetime is not None:
        words.append(f"lifetime {phase.lifetime}")
    return " ".join(words)
