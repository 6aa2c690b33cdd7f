"""Dead peers, rebooted peers, and a speaker killed at every step."""

from __future__ import annotations

import pytest
from tests.pair.network import AES, ALICE, BOB, GROUP, Network, Node, connection, matches, pair, start, traffic

from secd.ike.connection import DeadPeerDetection, Phase2Proposal
from secd.ike.contract import SaveCheckpoint
from secd.ike.wire.iana import ExchangeType


def silence(node: Node) -> None:
    """The host is off."""
    node.alive = node.listening = False


def wake(node: Node) -> None:
    """The host is on again."""
    node.alive = node.listening = True


def test_a_dead_peer_is_noticed_within_the_time_configured_and_everything_of_it_goes() -> None:
    net, alice, bob = pair(dpd=DeadPeerDetection(10, 5, 5))
    start(net, alice, bob)
    net.run(60)
    silence(bob)
    net.run(24)
    assert alice.pairs() == 1
    net.run(13)
    assert not alice.sas
    assert "were left unanswered" in alice.said("peer-dead")[0]
    (status,) = alice.speaker.status(net.now)
    assert status.state == "connecting"  # at once


def test_a_peer_that_comes_back_is_met_again_by_itself() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(30)
    silence(bob)
    net.run(3600)
    assert not alice.sas
    wake(bob)
    bob.reboot()
    assert net.run(140, until=lambda: matches(alice, bob))
    net.run(30)
    assert alice.pairs() == bob.pairs() == 1


def test_dead_peer_detection_can_be_turned_off() -> None:
    net, alice, bob = pair(dpd=None)
    start(net, alice, bob)
    net.run(20)
    before = len(alice.sent), len(bob.sent)
    silence(bob)
    net.run(500)
    assert (len(alice.sent), len(bob.sent)) == before
    assert alice.pairs() == 1


def test_a_passive_side_drops_a_dead_peer_and_waits() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    silence(alice)
    net.run(60)
    assert not bob.sas
    (status,) = bob.speaker.status(net.now)
    assert status.state == "waiting"
    assert "does not answer" in status.reason
    sent = len(bob.sent)
    net.run(600)
    assert len(bob.sent) == sent


@pytest.mark.parametrize("passive", [True, False])
@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_a_rebooted_peer_is_back_within_the_time_of_dpd(role: str, passive: bool) -> None:
    net, alice, bob = pair(passive=passive)
    start(net, alice, bob)
    traffic(net, alice, bob, 60)
    rebooted, other = (alice, bob) if role == "initiator" else (bob, alice)
    rebooted.reboot()
    assert net.run(40, until=lambda: matches(alice, bob))
    assert traffic(net, alice, bob, 120) == 0
    assert rebooted.pairs() <= 2
    assert other.pairs() <= 2


def test_a_passive_tunnel_is_tried_once_after_a_start_and_then_waits() -> None:
    net = Network()
    bob = Node(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)
    bob.start()
    net.run(100)
    sent = len(bob.sent)
    assert sent
    net.run(1000)
    assert len(bob.sent) == sent
    assert bob.speaker.status(net.now)[0].state == "waiting"


def test_initial_contact_clears_that_tunnel_only() -> None:
    net = Network()
    bob = Node(net, BOB, [connection(BOB, ALICE, mode="passive"),
                          connection(BOB, "192.0.2.2", name="sec1", iface="sec1", mode="passive")], seed=2)  # fmt: skip
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    carol = Node(net, "192.0.2.2", [connection("192.0.2.2", BOB)], seed=3)
    bob.start(settled=True)
    alice.start()
    carol.start()
    net.run(10)
    kept = bob.outbound("sec1")
    old = bob.outbound("sec0")
    alice.reboot()
    net.run(2)
    assert bob.outbound("sec1") == kept is not None
    assert bob.outbound("sec0") not in (old, None)
    assert bob.pairs() == 2
    assert len(bob.sas) == 4


def test_both_sides_rebooted_at_once_come_back() -> None:
    net, alice, bob = pair(passive=False)
    start(net, alice, bob)
    net.run(30)
    alice.reboot()
    bob.reboot()
    net.run(10)
    assert matches(alice, bob)
    assert traffic(net, alice, bob, 300) == 0


# -- killed and taken up again ----------------------------------------------------------------------------

SCENARIO = 400.0
LIFETIMES = {"phase1_lifetime": 300, "phase2_lifetime": 160}


def scenario(prepare: str = "", at: int = 0) -> tuple[Network, Node, Node]:
    """Come up, rekey both phases, with the node `prepare` killed at one of its batches."""
    net, alice, bob = pair(**LIFETIMES)
    if prepare:
        (alice if prepare == "alice" else bob).kill_at = at
    bob.start(settled=True)
    alice.start()
    return net, alice, bob


def batches(name: str) -> int:
    net, alice, bob = scenario()
    net.run(SCENARIO)
    return (alice if name == "alice" else bob).steps


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_speaker_killed_at_any_step_goes_on_where_it_was(name: str, when: str) -> None:
    net, alice, bob = scenario()
    net.run(SCENARIO + 60)
    usual = (bob if name == "alice" else alice).codes().count("phase1-up")
    for step in range(2, batches(name) + 1):
        survives(name, step if when == "before" else -step, usual)


def survives(name: str, at: int, usual: int) -> None:
    """Both come up, no packet is lost, one pair stays, and the other side sees no more main modes than `usual`."""
    net, alice, bob = scenario(name, at)
    killed, other = (alice, bob) if name == "alice" else (bob, alice)
    assert net.run(40, until=lambda: matches(alice, bob)), f"killed at {at}"
    assert traffic(net, alice, bob, SCENARIO) == 0, f"killed at {at}"
    net.run(60)
    assert matches(alice, bob), f"killed at {at}"
    assert alice.pairs() <= 2, f"killed at {at}"
    assert other.codes().count("phase1-up") <= usual + 1, f"killed at {at}"
    assert {(each.spi, each.direction) for each in killed.speaker.installed()} == set(killed.sas), f"killed at {at}"


def test_a_restored_peer_is_not_told_initial_contact() -> None:
    net, alice, bob = pair(phase1_lifetime=200)
    start(net, alice, bob)
    net.run(20)
    alice.restart()
    (_session,) = alice.speaker._v1.ctx.sessions.values()
    assert traffic(net, alice, bob, 300) == 0
    assert all(not each.sa.initial_contact for each in alice.speaker._v1.ctx.sessions.values())


def test_an_adopted_pair_that_goes_with_the_checkpoint_it_was_made_under_is_made_anew_at_once() -> None:
    """The data plane knows a pair by the ISAKMP SA that made it: if that one kills iked twice, the pair goes too."""
    net, alice, bob = pair(phase1_lifetime=100, phase2_lifetime=3600)
    start(net, alice, bob)
    ((first, _),) = alice.checkpoints.items()
    assert net.run(100, until=lambda: len(alice.checkpoints) == 2)
    assert traffic(net, alice, bob, 1) == 0
    assert {each.sa.checkpoint for each in alice.sas.values()} == {first}, "the pair is the second's by now"
    del alice.checkpoints[first]
    alice.restart()
    for key in list(alice.sas):
        if key in alice.sas:  # the other half of the pair goes with the first
            alice.expire(*key, "deleted")
    assert net.run(3, until=lambda: matches(alice, bob))
    assert traffic(net, alice, bob, 300) == 0
    assert alice.pairs() == 1
    assert {(each.spi, each.direction) for each in alice.speaker.installed()} == set(alice.sas)


def test_a_checkpoint_stays_small_over_a_long_life() -> None:
    net, alice, bob = pair(phase1_lifetime=86400, phase2_lifetime=120)
    sizes: list[int] = []
    keep = alice._one

    def watch(output: object) -> None:
        if isinstance(output, SaveCheckpoint):
            sizes.append(len(output.data))
        keep(output)

    alice._one = watch  # type: ignore[method-assign]
    start(net, alice, bob)
    net.run(20000)
    assert max(sizes) < 8192


def test_there_is_no_pause_between_the_phases_however_long_the_peer_was_away() -> None:
    net, alice, bob = pair()
    bob.start(settled=True)
    bob.listening = False
    alice.start()
    net.run(3000)
    bob.listening = True
    assert net.run(100, until=lambda: "phase1-up" in alice.codes())
    assert net.run(1, until=lambda: matches(alice, bob))


def test_a_quick_mode_that_is_refused_is_tried_again_after_growing_pauses() -> None:
    net, alice, bob = pair()
    bob.connections = [connection(BOB, ALICE, mode="passive", phase2=(Phase2Proposal(AES, "hmac-sha1", GROUP),))]
    bob.start(settled=True)
    alice.start()
    net.run(3600)
    attempts = {send.data[20:24] for send in alice.sent if send.data[18] == ExchangeType.QUICK}
    assert 50 <= len(attempts) <= 90
    assert len(alice.said("proposal-mismatch")) == len(bob.said("proposal-mismatch")) == 1
