"""Inner addresses by the configuration payload, between two speakers of IKEv2."""

from __future__ import annotations

import pytest
from tests.pair.network import Network, Node, start, traffic
from tests.pair.v2_support import pair

from secd.ike.contract import AssignAddress

HUB = (
    ("address", "10.9.0.7"), ("netmask", "255.255.255.0"), ("name-server", "10.9.0.1"), ("name-server", "2001:db8::53"),
    ("address", "2001:db8::7/64"), ("protected-subnet", "10.0.0.0/8"),
)  # fmt: skip


def two(request: tuple[tuple[str, str], ...], provide: tuple[tuple[str, str], ...] = HUB) -> tuple[Network, Node, Node]:
    net, alice, bob = pair({"request": request}, {"provide": provide})
    start(net, alice, bob)
    return net, alice, bob


@pytest.mark.parametrize(("request_", "addresses", "servers"), [
    ((("address", "any"),), ("10.9.0.7/24", "2001:db8::7/64"), ()),
    ((("address", "10.9.0.99"),), ("10.9.0.7/24",), ()),
    ((("address", "any"), ("name-server", "any")), ("10.9.0.7/24", "2001:db8::7/64"), ("10.9.0.1", "2001:db8::53")),
    ((("name-server", "any"),), (), ("10.9.0.1", "2001:db8::53")),
])  # fmt: skip
def test_a_spoke_gets_what_it_asks_for(
    request_: tuple[tuple[str, str], ...], addresses: tuple[str, ...], servers: tuple[str, ...]
) -> None:
    _net, alice, bob = two(request_)
    assert alice.assigned == [AssignAddress("sec0", addresses, servers)]
    assert not bob.assigned
    assert "gives sec0" in alice.said("assigned")[0]


def test_what_is_protected_is_said() -> None:
    _net, alice, _bob = two((("protected-subnet", "any"), ("address", "any")))
    assert "protected-subnet 10.0.0.0/8" in alice.said("assigned")[0]


def test_nothing_is_asked_for_and_nothing_given() -> None:
    _net, alice, _bob = two(())
    assert not alice.assigned


def test_a_hub_without_addresses_says_nothing_and_the_tunnel_is_up() -> None:
    _net, alice, _bob = two((("address", "any"),), ())
    assert not alice.assigned


def test_what_was_given_stays_known_over_rekeys_and_restarts() -> None:
    net, alice, bob = two((("address", "any"),))
    alice.do(lambda: alice.speaker.rekey("sec0", "ike", net.now))
    assert traffic(net, alice, bob, 40) == 0
    alice.restart()
    session = alice.speaker._v2.ctx.newest("sec0")
    assert session is not None
    assert session.sa.assigned["address"][0] == "10.9.0.7/24"
    assert len(alice.assigned) == 1
