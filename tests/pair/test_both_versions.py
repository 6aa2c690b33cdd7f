"""What holds of both versions of IKE in the same words: proof of life, and being killed and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.pair import network, v2_support
from tests.pair.network import ALICE, BOB, Network, Node, matches, start, traffic

from secd.ike.connection import Connection
from secd.ike.speaker import Speaker


@dataclass(frozen=True)
class Version:
    """How one makes its tunnels; `other_lifetime` is a change of a rule that its SAs do not survive."""

    pair: Callable[[], tuple[Network, Node, Node]]
    connection: Callable[..., Connection]
    other_lifetime: str


VERSIONS = {
    "ikev1": Version(network.pair, network.connection, "phase2_lifetime"),
    "ikev2": Version(v2_support.pair, v2_support.connection, "lifetime"),
}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Version:
    """Each in turn."""
    return VERSIONS[request.param]


@pytest.fixture
def up(version: Version) -> tuple[Network, Node, Node]:
    """A network with Alice and Bob on it, and a tunnel between them."""
    net, alice, bob = version.pair()
    start(net, alice, bob)
    return net, alice, bob


def test_traffic_is_proof_of_life_and_no_question_is_asked(up: tuple[Network, Node, Node]) -> None:
    net, alice, bob = up
    assert traffic(net, alice, bob, 10) == 0  # until the pair is seen to be used, what made it may be said again
    before = len(alice.sent), len(bob.sent)
    assert traffic(net, alice, bob, 300, step=5.0) == 0
    assert (len(alice.sent), len(bob.sent)) == before


def test_an_idle_peer_is_asked_and_answers(up: tuple[Network, Node, Node]) -> None:
    net, alice, bob = up
    before = len(alice.sent), len(bob.sent)
    net.run(300)
    assert len(alice.sent) > before[0] + 10
    assert len(bob.sent) > before[1] + 10
    assert matches(alice, bob)
    assert alice.pairs() == bob.pairs() == 1


def test_ten_kills_in_a_row_cause_no_renegotiation(up: tuple[Network, Node, Node]) -> None:
    net, alice, bob = up
    first, said = alice.outbound(), (len(alice.logs), len(bob.logs))
    for _ in range(10):
        assert traffic(net, alice, bob, 7) == 0
        alice.restart()
        bob.restart()
    assert traffic(net, alice, bob, 60) == 0
    assert alice.outbound() == first
    assert (len(alice.logs), len(bob.logs)) == said


def test_checkpoints_may_come_before_or_after_the_configuration(up: tuple[Network, Node, Node]) -> None:
    net, alice, bob = up
    alice.speaker = Speaker(alice.rng.randbytes)
    alice.start()
    for key, data in dict(alice.checkpoints).items():
        alice.do(lambda key=key, data=data: alice.speaker.restore(key, data, net.now))  # type: ignore[misc]
    before = alice.outbound()
    assert traffic(net, alice, bob, 60) == 0
    assert alice.outbound() == before
    assert len(alice.checkpoints) == 1


def test_what_has_changed_is_made_anew_after_a_restart(version: Version, up: tuple[Network, Node, Node]) -> None:
    net, alice, bob = up
    before = alice.outbound()
    alice.connections = [version.connection(ALICE, BOB, **{version.other_lifetime: 900})]
    alice.restart()
    net.run(5)
    assert matches(alice, bob)
    assert alice.outbound() != before
    assert alice.pairs() == bob.pairs() == 1


def test_what_is_not_configured_any_more_is_ended_properly_after_a_restart(up: tuple[Network, Node, Node]) -> None:
    net, alice, bob = up
    alice.connections = []
    alice.restart()
    net.run(5)
    assert not alice.sas
    assert not bob.pairs()
    assert not alice.checkpoints


def test_an_abandoned_sa_is_forgotten_and_can_be_restored(up: tuple[Network, Node, Node]) -> None:
    net, alice, bob = up
    ((key, data),) = alice.checkpoints.items()
    alice.speaker.abandon(key, net.now)
    assert not alice.speaker.installed()
    alice.speaker.outputs()
    alice.do(lambda: alice.speaker.restore(key, data, net.now))
    assert traffic(net, alice, bob, 60) == 0
    assert len(alice.added) == 2
    alice.speaker.abandon("unknown", net.now)


def test_the_speaker_says_which_sa_it_works_on_before_it_does(version: Version) -> None:
    told: list[str | None] = []
    net, alice, bob = version.pair()
    alice.speaker = Speaker(alice.rng.randbytes, told.append)
    start(net, alice, bob)
    assert {key for key in told if key} >= set(alice.checkpoints)
