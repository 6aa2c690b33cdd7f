"""What a policy may not say here, why, and what to write instead.

This system is route-based and has no packet filter: whatever iked(8) would do and secd would not is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from secd.conf.addresses import Address
from secd.conf.iked.rules import EAP, Policy

_ROUTE_BASED = "this system is route-based"


def refusals(policy: Policy) -> Iterator[str]:
    """Say what is wrong with `policy`, the most important first."""
    yield from _selectors(policy)
    if policy.satype == "ah":
        yield "ah: there is ESP only: leave it out"
    if policy.transport:
        yield "transport: a tunnel interface needs tunnel mode: leave it out"
    if policy.ipcomp:
        yield "ipcomp: there is no compression here: leave it out"
    if policy.eval == "skip":
        yield "skip: a peer that the policy names may call too: leave it out"
    if policy.eval == "default" and policy.peer is not None:
        yield "default: that is a policy for peers that no other one names: leave peer out"
    if policy.family and policy.local is None and policy.peer is None:
        yield f"inet{'6' if policy.family == 6 else ''}: name a local or peer address of that family instead"
    if policy.rdomain is not None:
        yield f"rdomain: write `rdomain {policy.rdomain}` into /etc/hostname.{policy.iface or 'secN'} instead"
    if isinstance(policy.auth, EAP):
        yield f'eap {policy.auth.type}: there is no EAP here: write psk "..." or use certificates'
    if policy.tag is not None:
        yield f"tag: there is no pf here: match the interface {policy.iface or 'secN'} in the packet filter instead"
    if policy.tap is not None:
        yield f"tap: there is no enc interface here: listen on {policy.iface or 'secN'} instead"
    yield from _ends(policy)


def _ends(policy: Policy) -> Iterator[str]:
    for keyword, address in (("local", policy.local), ("peer", policy.peer)):
        if address is not None and not _is_host(address):
            yield (
                f"{keyword} {address}: a tunnel has one {keyword} address: write it, or `any`"
                f"{' and tell peers apart by dstid' if keyword == 'peer' else ''}"
            )


def _selectors(policy: Policy) -> Iterator[str]:
    if policy.protos or any(end.port for hosts in policy.hosts for end in (hosts.source, hosts.destination)):
        yield f"{_ROUTE_BASED}: leave out proto and port, and let the packet filter choose what may enter secN"
    ends = [end for hosts in policy.hosts for end in (hosts.source, hosts.destination)]
    if any(end.nat for end in ends):
        yield f"{_ROUTE_BASED}: leave out the address in parentheses; NAT on secN is the packet filter's"
    elif any(end.address is None for end in ends):
        yield "dynamic: write `from any to any`; the address that `request address` brings is for the interface"
    elif policy.iface is None or any(end.address and end.address.prefix for end in ends):
        networks = [hosts.destination.address for hosts in policy.hosts if hosts.destination.address]
        routes = _routes([network for network in networks if network.prefix])
        yield f"{_ROUTE_BASED}: write `{_instead(policy)}`{routes}"


def _instead(policy: Policy) -> str:
    words = ["ikev2", "active" if policy.active else "passive", "from any to any"]
    for keyword, address in (("local", policy.local), ("peer", policy.peer)):
        if address is not None and _is_host(address):
            words.append(f"{keyword} {address.address}")
    return " ".join([*words, "..", f"iface {policy.iface or 'secN'}"])


def _routes(networks: list[Address]) -> str:
    if not networks:
        return ", and route into it what shall be encrypted"
    more = " ..." if len(networks) > 1 else ""
    return f", and `ip route add {networks[0]} dev secN`{more}"


def _is_host(address: Address) -> bool:
    return address.prefix == (32 if address.family == 4 else 128)
