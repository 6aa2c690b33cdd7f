"""Traffic selectors of a route-based tunnel: everything, of both versions of IP (RFC 7296 §2.9).

Many peers carry IPv4 alone and answer so: that is said once and is no fault.  Whatever else a peer narrows them
to is accepted with a warning that names it, since what we route into the tunnel beside it the peer will drop.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from secd.ike.wire.cursor import WireError
from secd.ike.wire.ikev2.iana import NotifyType
from secd.ike.wire.ikev2.message import Chain
from secd.ike.wire.ikev2.payload import Payload
from secd.ike.wire.ikev2.ts import Selector, TrafficSelector, TSiPayload, TSrPayload, any_selector

Family = Literal[4, 6]


def offer(families: Iterable[Family]) -> list[Payload]:
    """TSi and TSr of a request of ours: all of these versions of IP."""
    everything = tuple(any_selector(family) for family in families)
    return [TSiPayload(everything), TSrPayload(everything)]


def agree(chain: Chain, families: Iterable[Family]) -> tuple[TSiPayload, TSrPayload]:
    """TSi and TSr of an answer of ours: what the peer asks for, without what no packet can match.

    `WireError` with TS_UNACCEPTABLE if nothing is left, or no version of IP that both sides have.
    """
    theirs, ours = _usable(chain.one(TSiPayload).selectors), _usable(chain.one(TSrPayload).selectors)
    common = {each.start.version for each in theirs} & {each.start.version for each in ours} & set(families)
    theirs = [each for each in theirs if each.start.version in common]
    ours = [each for each in ours if each.start.version in common]
    if not common:
        raise WireError("no traffic selector can be used", NotifyType.TS_UNACCEPTABLE)
    return TSiPayload(tuple(theirs)), TSrPayload(tuple(ours))


def carried(pair: Sequence[TSiPayload | TSrPayload]) -> tuple[Family, ...]:
    """The versions of IP of which everything passes."""
    return tuple(family for family in _FAMILIES if all(any_selector(family) in each.selectors for each in pair))


def is_one_of(pair: Sequence[TSiPayload | TSrPayload], hosts: Collection[str]) -> bool:
    """Whether one side is narrowed to some of `hosts` and the other is not narrowed."""
    return any(
        all(isinstance(each, TrafficSelector) and each.start == each.end and str(each.start) in hosts for each in own)
        and all(any(any_selector(family) == each for family in _FAMILIES) for each in other)
        for own, other in ((pair[0].selectors, pair[1].selectors), (pair[1].selectors, pair[0].selectors))
    )


def pair_words(pair: Sequence[TSiPayload | TSrPayload]) -> str:
    """Both sides for people: `0.0.0.0/0 <-> 10.0.0.0/8`."""
    return " <-> ".join(words(each.selectors) for each in pair)


def words(selectors: Iterable[Selector]) -> str:
    """Selectors for people: `10.0.0.0/8, 192.0.2.1 protocol 6 port 179`."""
    return ", ".join(_words(each) for each in selectors) or "nothing"


_FAMILIES: tuple[Family, ...] = (4, 6)


def _usable(selectors: Iterable[Selector]) -> list[TrafficSelector]:
    return [each for each in selectors if isinstance(each, TrafficSelector)]


def _words(selector: Selector) -> str:
    if not isinstance(selector, TrafficSelector):
        return f"selector of type {selector.type}"
    try:
        networks = list(ipaddress.summarize_address_range(selector.start, selector.end))
        where = str(networks[0]) if len(networks) == 1 else f"{selector.start}-{selector.end}"
    except (TypeError, ValueError):
        where = f"{selector.start}-{selector.end}"
    if selector.protocol:
        where += f" protocol {selector.protocol}"
    if (selector.start_port, selector.end_port) != (0, 0xFFFF):
        where += f" port {selector.start_port}"
        where += f"-{selector.end_port}" if selector.end_port != selector.start_port else ""
    return where
