"""A peer that is silent for long is asked for steadily: whenever it comes back, it hears of us soon."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.pair.network import ALICE, BOB, Network, Node, connection, matches, pair

from secd.ike.contract import Send

#: Seconds in which a peer that is back must be met; ten between first messages, a quarter more by jitter, and a bit.
SOON = 15.0


def sleeping(exchange: str) -> tuple[Network, Node, Node]:
    """Alice asks for Bob, who is off."""
    net, alice, bob = pair(exchange=exchange, aggressive_psk=True)
    bob.alive = bob.listening = False
    alice.start()
    return net, alice, bob


@pytest.mark.parametrize("exchange", ["main", "aggressive"])
@pytest.mark.parametrize("phase", range(0, 130, 7))
def test_a_peer_that_comes_back_at_any_time_is_met_within_fifteen_seconds(exchange: str, phase: int) -> None:
    net, alice, bob = sleeping(exchange)
    net.run(1800 + phase)
    bob.alive = bob.listening = True
    bob.start(settled=True)
    assert net.run(SOON, until=lambda: matches(alice, bob))


def test_first_messages_to_a_silent_peer_are_few_jittered_and_never_far_apart() -> None:
    net, alice, _ = sleeping("main")
    times: list[float] = []
    net.drop = lambda number, send: times.append(net.now) or True  # type: ignore[func-returns-value]
    net.run(7200)
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) <= 12.6
    assert min(gaps) >= 1.4
    assert len({round(gap, 3) for gap in gaps}) > len(gaps) / 2
    assert len(times) < 7200 / 7
    assert alice.codes() == ["no-answer"]
    assert len(alice.checkpoints) <= 1


def test_a_passive_tunnel_asks_a_silent_peer_for_one_attempt_and_no_longer() -> None:
    net = Network()
    bob = Node(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)
    bob.start()
    net.run(100)
    sent = len(bob.sent)
    net.run(1000)
    assert 0 < len(bob.sent) == sent <= 8


@pytest.mark.parametrize("kind", ["message 3", "message 5"])
def test_a_peer_that_falls_silent_in_the_middle_is_given_up_within_forty_seconds(kind: str) -> None:
    """It may have rebooted, and then knows nothing of the exchange."""
    net, alice, bob = pair()
    cut = {"message 3": 2, "message 5": 4}[kind]
    silent = [True]
    net.drop = lambda number, send: silent[0] and number > cut and _main_mode(send)
    bob.start(settled=True)
    alice.start()
    net.run(20)
    bob.reboot()
    bob.do(lambda: bob.speaker.configure([], net.now - 20.0))
    bob.start(settled=True)
    silent[0] = False
    assert net.run(40, until=lambda: matches(alice, bob))


def _main_mode(send: Send) -> bool:
    return len(send.data) > 28 and send.data[18] == 2
