"""Main mode and quick mode between two speakers."""

from __future__ import annotations

from tests.pair.network import matches, pair, start


def test_an_initiator_and_a_responder_come_up_with_one_pair_each() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(30)
    assert alice.pairs() == bob.pairs() == 1
    assert matches(alice, bob)
