"""What to write here instead of a rule that selects packets by policy."""

from __future__ import annotations

from secd.conf.addresses import Address
from secd.conf.ipsec.rules import FlowRule, IkeRule, SaRule

_ROUTE_BASED = "this system is route-based"


def instead_of(rule: FlowRule | SaRule | IkeRule) -> str:
    """Say why `rule` is refused and what does the same."""
    if isinstance(rule, IkeRule):
        if rule.satype == "ah":
            return f"{_ROUTE_BASED} and has ESP only: write `{_ike(rule.local, rule.peer)}`{_route(rule.destination)}"
        return f"{_ROUTE_BASED}: write `{_ike(rule.local, rule.peer)}`{_route(rule.destination)}"
    if isinstance(rule, FlowRule):
        if rule.type in ("deny", "bypass"):
            return (
                f"{_ROUTE_BASED} and has no flows: what is routed to secN is encrypted, the rest is the packet filter's"
            )
        network = rule.source if rule.direction == "in" else rule.destination
        return f"{_ROUTE_BASED} and has no flows: write `{_ike(rule.local, rule.peer)}`{_route(network)}"
    if rule.satype == "esp":
        spis = f"0x{rule.spi:08x}:..."
        return (
            f"{_ROUTE_BASED}: write `esp interface secN from {rule.source} to {rule.destination} spi {spis} "
            "authkey ...:... enckey ...:...`, and route into secN"
        )
    if rule.satype == "tcpmd5":
        return f"{_ROUTE_BASED} and does not sign TCP segments: set the MD5 password in the BGP daemon"
    return (
        f"{_ROUTE_BASED} and has no {rule.satype}: write `{_ike(rule.source, rule.destination)}`, and route into secN"
    )


def _ike(local: Address | None, peer: Address | None) -> str:
    words = ["ike interface secN"]
    for keyword, address in (("local", local), ("peer", peer)):
        if address and not address.network:
            words.append(f"{keyword} {address}")
    return " ".join([*words, 'psk "..."'])


def _route(network: Address) -> str:
    if network.network and network.prefix == 0:
        return ", and route into secN what shall be encrypted"
    return f", and `ip route add {network} dev secN`"
