"""MOBIKE (RFC 4555) between two speakers: the initiator's address changes, and the tunnel goes along."""

from __future__ import annotations

import pytest
from tests.pair.network import ALICE, BOB, Nat, Network, Node, matches, start, traffic
from tests.pair.v2_support import connection

from secd.ike.connection import DeadPeerDetection
from secd.sadb.messages import Datagram, PathChange

ELSEWHERE = "192.0.2.200"
DPD = DeadPeerDetection(interval=5, wait=2, tries=6)


def two(**bob: object) -> tuple[Network, Node, Node]:
    """Alice, whose rule fixes no address of hers, and Bob, who takes her from anywhere."""
    net = Network()
    one = Node(net, ALICE, [connection(None, BOB, dpd=DPD)], seed=1)
    other = Node(net, BOB, [connection(BOB, None, mode="passive", dpd=None, **bob)], seed=2)
    start(net, one, other)
    return net, one, other


def two_behind_nat(**bob: object) -> tuple[Network, Node, Node]:
    """The same, and Alice is behind a NAT."""
    net, one, other = two(**bob)
    move(net, one, "10.0.0.5")
    net.nats["10.0.0.5"] = Nat("10.0.0.5", "203.0.113.5")
    assert net.run(120, lambda: other.outbound() is not None and other.outbound().destination == "203.0.113.5")
    return net, one, other


def move(net: Network, alice: Node, to: str) -> None:
    """Alice has another address; what is sent from the old one is lost."""
    alice.address = to
    net.drop = lambda number, send: send.local == ALICE


@pytest.mark.parametrize("rekeyed", [False, True])
def test_the_tunnel_follows_the_initiator_to_another_address(rekeyed: bool) -> None:
    net, alice, bob = two()
    if rekeyed:
        bob.do(lambda: bob.speaker.rekey("sec0", "ike", net.now))
        net.run(40)
    spi = alice.outbound().spi
    move(net, alice, ELSEWHERE)
    assert net.run(30, lambda: bob.outbound().destination == ELSEWHERE)
    net.run(1)
    assert alice.outbound().spi == spi
    assert {each.sa.source if key[1] == "out" else each.sa.destination for key, each in alice.sas.items()} == {
        ELSEWHERE
    }
    assert alice.said("moved") == [f"our address is {ELSEWHERE} now, it was {ALICE}"]
    assert "peer-moved" in bob.codes()
    for what in ("ike", "child"):
        alice.do(lambda what=what: alice.speaker.rekey("sec0", what, net.now))  # type: ignore[misc]
        assert traffic(net, alice, bob, 40) == 0
    assert matches(alice, bob)


def test_a_move_behind_a_nat_makes_udp_of_it() -> None:
    net, alice, bob = two()
    assert alice.outbound().udpencap is None
    move(net, alice, "10.0.0.5")
    net.nats["10.0.0.5"] = Nat("10.0.0.5", "203.0.113.5")
    assert net.run(30, lambda: bob.outbound().destination == "203.0.113.5")
    net.run(1)
    assert alice.outbound().udpencap is not None
    assert bob.outbound().udpencap is not None
    assert bob.outbound().udpencap.remote_port >= 20000


def test_the_responder_asks_at_the_new_address_with_a_cookie() -> None:
    net, alice, bob = two()
    sent = len(bob.sent)
    move(net, alice, ELSEWHERE)
    assert net.run(30, lambda: bob.outbound().destination == ELSEWHERE)
    net.run(2)
    asked = [each for each in bob.sent[sent:] if not each.data[19] & 0x20 and each.remote == ELSEWHERE]
    assert asked


def test_without_mobike_on_one_side_the_tunnel_is_made_anew() -> None:
    net, alice, bob = two(mobike=False)
    spi = alice.outbound().spi
    move(net, alice, ELSEWHERE)
    assert not net.run(12, lambda: bob.outbound() is not None and bob.outbound().destination == ELSEWHERE)
    net.drop = lambda number, send: False
    assert net.run(120, lambda: matches(alice, bob) and alice.outbound().spi != spi)


def test_what_the_data_plane_says_of_ways_is_followed_at_once() -> None:
    net, alice, bob = two()
    move(net, alice, ELSEWHERE)
    alice.do(lambda: alice.speaker.event(PathChange(), net.now))
    assert net.run(0.5, lambda: {alice.outbound().source, bob.outbound().destination} == {ELSEWHERE})


def test_while_a_request_waits_for_its_answer_that_one_looks_for_the_new_way() -> None:
    net, alice, bob = two()
    net.drop = lambda number, send: send.local == ALICE
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(0.1)
    move(net, alice, ELSEWHERE)
    alice.do(lambda: alice.speaker.event(PathChange(), net.now))
    assert net.run(1, lambda: {alice.outbound().source, bob.outbound().destination} == {ELSEWHERE})
    assert net.run(90, lambda: matches(alice, bob) and len(alice.sas) == 2)


@pytest.mark.parametrize(("local", "questions"), [(None, 1), (ALICE, 0)], ids=["any address", "this address"])
def test_ways_that_change_and_leave_our_address_cost_a_question_at_most(local: str | None, questions: int) -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(local, BOB, dpd=DPD)], seed=1)
    start(net, alice, Node(net, BOB, [connection(BOB, None, mode="passive", dpd=None)], seed=2))
    sent = len(alice.sent)
    alice.do(lambda: alice.speaker.event(PathChange(), net.now))
    net.run(1)
    assert len(alice.sent) == sent + questions
    assert alice.said("moved") == []


@pytest.mark.parametrize("rekeyed", [False, True])
def test_a_nat_before_us_that_changes_is_found_out_by_a_question(rekeyed: bool) -> None:
    net, alice, bob = two()
    move(net, alice, "10.0.0.5")
    net.nats["10.0.0.5"] = Nat("10.0.0.5", "203.0.113.5")
    assert net.run(30, lambda: bob.outbound().destination == "203.0.113.5")
    if rekeyed:
        alice.do(lambda: alice.speaker.rekey("sec0", "ike", net.now))
    net.run(20)
    spi, port = alice.outbound().spi, bob.outbound().udpencap.remote_port
    net.nats["10.0.0.5"].rebind()
    assert net.run(15, lambda: bob.outbound().udpencap.remote_port not in (port, None))
    assert alice.outbound().spi == spi
    assert "moved" in alice.codes()


def test_behind_a_nat_a_message_from_elsewhere_moves_nobody_either() -> None:
    net, alice, bob = two()
    move(net, alice, "10.0.0.5")
    net.nats["10.0.0.5"] = Nat("10.0.0.5", "203.0.113.5")
    assert net.run(30, lambda: bob.outbound().destination == "203.0.113.5")
    net.nats["10.0.0.5"].rebind()
    where = bob.outbound()
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(0.5)
    assert {(each.destination, each.udpencap) for each in (where, bob.outbound())} == {
        (where.destination, where.udpencap)
    }


@pytest.mark.parametrize("port", [500, 4500])
def test_without_mobike_a_message_follows_the_peers_nat_only_by_the_port_of_esp(port: int) -> None:
    net, alice, bob = two_behind_nat(mobike=False)
    net.drop = lambda number, send: True
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(0.1)
    elsewhere = Datagram(BOB, port, "198.18.0.9", 7000, alice.sent[-1].data)
    bob.do(lambda: bob.speaker.receive(elsewhere, net.now))
    assert (bob.outbound().destination == "198.18.0.9") == (port == 4500)


def test_a_message_from_elsewhere_moves_nobody_without_an_update() -> None:
    net, alice, bob = two()
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    request = alice.sent[-1]
    stolen = Datagram(BOB, request.remote_port, "198.18.0.9", 4500, request.data)
    bob.do(lambda: bob.speaker.receive(stolen, net.now))
    net.run(5)
    assert bob.outbound().destination == ALICE


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_speaker_killed_at_any_step_of_a_move_ends_where_the_peer_is(name: str, when: str) -> None:
    for step in range(1, 6):
        net, alice, bob = two()
        move(net, alice, ELSEWHERE)
        node = alice if name == "alice" else bob
        node.kill_at = (node.steps + step) * (1 if when == "before" else -1)
        alice.do(lambda alice=alice, net=net: alice.speaker.event(PathChange(), net.now))  # type: ignore[misc]
        assert net.run(60, lambda a=alice, b=bob: {a.outbound().source, b.outbound().destination} == {ELSEWHERE}), step  # type: ignore[misc]
        net.run(5)
        assert matches(alice, bob)
