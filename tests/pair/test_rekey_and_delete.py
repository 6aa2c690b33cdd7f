"""Lifetimes, rekeys of both phases, deletes, and what the data plane reports."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.pair.network import ALICE, BOB, Network, Node, connection, matches, pair, start, traffic

from secd.ike.contract import AddSA, Send
from secd.ike.v1 import informational
from secd.ike.wire.iana import ExchangeType
from secd.sadb.messages import SA


def test_phase_2_is_rekeyed_before_its_lifetime_ends_and_no_packet_is_lost() -> None:
    net, alice, bob = pair(phase2_lifetime=120)
    start(net, alice, bob)
    first = alice.outbound()
    assert traffic(net, alice, bob, 1000) == 0
    assert alice.outbound() != first
    assert len([sa for sa in alice.added if sa.direction == "out"]) in range(9, 12)
    assert alice.pairs() == bob.pairs() == 1


def test_phase_1_is_rekeyed_and_the_children_go_on() -> None:
    net, alice, bob = pair(phase1_lifetime=200, phase2_lifetime=3600)
    start(net, alice, bob)
    first = alice.outbound()
    assert traffic(net, alice, bob, 1000) == 0
    assert alice.outbound() == first
    assert alice.codes().count("phase1-up") in range(5, 8)
    assert len(alice.checkpoints) == len(bob.checkpoints) == 1


def test_a_responder_rekeys_both_phases_when_the_initiator_does_not() -> None:
    net, alice, bob = pair(phase1_lifetime=300, phase2_lifetime=200)
    start(net, alice, bob)
    for session in alice.speaker._v1.ctx.sessions.values():
        session.sa.rekey_at = None
        session.sa.children[0].rekey_at = None
    alice.speaker._v1.ctx.touch(session)
    assert traffic(net, alice, bob, 290) == 0
    assert bob.codes().count("phase2-rekeyed") >= 1
    assert any("finished as initiator" in text for text in bob.said("phase1-up"))
    assert alice.pairs() == bob.pairs() == 1


def test_simultaneous_rekeys_leave_both_pairs_and_the_next_rekey_ends_with_one() -> None:
    net, alice, bob = pair(phase2_lifetime=300)
    start(net, alice, bob)
    pair_of = alice.outbound().spi, bob.outbound().spi
    for node, spi in ((alice, pair_of[0]), (bob, pair_of[1])):
        node.expire(spi, "out", "soft")
    assert traffic(net, alice, bob, 3) == 0
    assert alice.pairs() == bob.pairs() == 3
    assert traffic(net, alice, bob, 60) == 0
    assert alice.pairs() == bob.pairs() == 2
    assert traffic(net, alice, bob, 600) == 0
    assert alice.pairs() == bob.pairs() == 1


def test_simultaneous_rekeys_of_phase_1_lose_nothing() -> None:
    net, alice, bob = pair(phase1_lifetime=300, phase2_lifetime=3600)
    start(net, alice, bob)
    for node in (alice, bob):
        for session in node.speaker._v1.ctx.sessions.values():
            session.sa.rekey_at = net.now + 1
            node.speaker._v1.ctx.touch(session)
        node.do(node.speaker._v1.settle)
    assert traffic(net, alice, bob, 900) == 0
    assert len(alice.checkpoints) == len(bob.checkpoints) <= 2
    assert matches(alice, bob)


def test_an_idle_tunnel_rekeys_too_and_stays_single() -> None:
    net, alice, bob = pair(phase1_lifetime=600, phase2_lifetime=200)
    start(net, alice, bob)
    net.run(5000)
    assert matches(alice, bob)
    assert alice.pairs() == bob.pairs() == 1
    assert len(alice.checkpoints) == len(bob.checkpoints) == 1


def test_both_sides_active_come_up_and_end_with_one_pair() -> None:
    net, alice, bob = pair(passive=False, phase2_lifetime=300, phase1_lifetime=500)
    alice.start()
    bob.start()
    net.run(10)
    assert matches(alice, bob)
    assert traffic(net, alice, bob, 1200) == 0
    assert alice.pairs() <= 2
    assert len(alice.checkpoints) <= 2


def test_a_delete_of_the_pair_brings_an_active_tunnel_back_at_once() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    bob.expire(bob.outbound().spi, "out", "deleted")
    assert net.run(3, until=lambda: matches(alice, bob))
    net.run(10)
    assert alice.pairs() == bob.pairs() == 1
    assert len(alice.sas) == len(bob.sas) == 2


@pytest.mark.parametrize("direction", ["in", "out"])
def test_after_a_flush_the_peer_is_told_and_the_tunnel_comes_back(direction: str) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    spi = next(spi for spi, way in alice.sas if way == direction)
    alice.expire(spi, direction, "deleted")
    assert not alice.pairs()
    assert net.run(3, until=lambda: matches(alice, bob))
    net.run(10)
    assert alice.pairs() == bob.pairs() == 1


def test_resetting_an_active_tunnel_tells_the_peer_and_brings_it_back() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.reset("sec0", net.now))
    assert not alice.sas
    net.run(3)
    assert matches(alice, bob)
    assert alice.pairs() == bob.pairs() == 1
    assert len(bob.checkpoints) == 1
    assert not alice.speaker.reset("sec7", net.now)
    assert alice.speaker.reset(None, net.now)


class ReadsFirst(Node):
    """Installs both SAs of a pair when message 3 has come, as strongSwan does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.waiting: list[AddSA] = []

    def _one(self, output: object) -> None:
        match output:
            case AddSA(_, SA(direction="in")):
                self.waiting.append(output)
            case AddSA():
                for each in [*self.waiting, output]:
                    super()._one(each)
                self.waiting.clear()
            case _:
                super()._one(output)


@pytest.mark.parametrize("lost", [False, True])
def test_a_responder_that_installs_when_it_has_read_the_last_message_gets_nothing_before(lost: bool) -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = ReadsFirst(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)
    start(net, alice, bob)
    assert traffic(net, alice, bob, 10, step=0.005) == 0
    first, begun = alice.outbound(), net.carried
    net.drop = lambda number, _: lost and number in (begun + 3, begun + 4)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert traffic(net, alice, bob, 1, step=0.005) == 0
    assert (alice.outbound() == first) == lost
    assert traffic(net, alice, bob, 3, step=0.05) == 0
    assert alice.outbound() != first
    assert traffic(net, alice, bob, 16, step=0.05) == 0
    assert alice.pairs() == bob.pairs() == 1


@pytest.mark.parametrize("lost", [2, 3, 4])
def test_the_last_message_of_a_first_quick_mode_goes_again_until_the_pair_is_used(lost: int) -> None:
    """strongSwan does not repeat message 2: without message 3 the tunnel would be dead until its first rekey."""
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = ReadsFirst(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)
    seen: Counter[bytes] = Counter()

    def drop(_: int, send: Send) -> bool:
        quick = send.data[18] == ExchangeType.QUICK
        seen[send.data[20:24]] += quick and send.local == ALICE
        number = seen[send.data[20:24]]
        return quick and (number > 1 if send.local == BOB else 2 <= number <= lost)

    net.drop = drop
    bob.start(settled=True)
    alice.start()
    assert net.run(20, until=lambda: matches(alice, bob))
    sent = len(alice.sent)
    assert traffic(net, alice, bob, 5) == 0
    assert len(alice.sent) == sent


def test_the_last_message_goes_again_in_time_however_short_the_life_of_the_pair() -> None:
    """strongSwan does not repeat message 2: what is not there when the old pair ends is there after the next rekey."""
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB, phase2_lifetime=10)], seed=1)
    bob = ReadsFirst(net, BOB, [connection(BOB, ALICE, phase2_lifetime=10, mode="passive")], seed=2)
    start(net, alice, bob)
    seen: Counter[bytes] = Counter()

    def drop(_: int, send: Send) -> bool:
        quick = send.data[18] == ExchangeType.QUICK
        seen[send.data[20:24]] += quick and send.local == ALICE
        return quick and ((send.local == BOB and seen[send.data[20:24]] > 1) or seen[send.data[20:24]] in (2, 3))

    net.drop = drop
    assert traffic(net, alice, bob, 40, step=0.02) == 0
    assert len([number for number in seen.values() if number > 3]) >= 3
    assert matches(alice, bob)


def test_a_rekey_of_the_peer_just_after_ours_comes_after_it_on_both_sides() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    traffic(net, alice, bob, 10, step=0.005)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert traffic(net, alice, bob, 0.05, step=0.005) == 0
    assert bob.said("phase2-rekeyed")
    bob.do(lambda: bob.speaker.rekey("sec0", "child", net.now))
    assert traffic(net, alice, bob, 20, step=0.05) == 0
    assert matches(alice, bob)
    assert alice.pairs() == bob.pairs() == 1


def test_nothing_is_deleted_while_a_quick_mode_is_under_way() -> None:
    """strongSwan forgets the oldest of more than three exchanges, and a quick mode with it."""
    net, alice, bob = pair()
    start(net, alice, bob)
    traffic(net, alice, bob, 10)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert traffic(net, alice, bob, 2, step=0.05) == 0
    bob.do(lambda: bob.speaker.rekey("sec0", "child", net.now))  # its answer does not come
    net.drop = lambda _, send: send.local == ALICE and send.data[18] == ExchangeType.QUICK
    assert traffic(net, alice, bob, 20, step=0.05) == 0
    assert ExchangeType.INFORMATIONAL not in {send.data[18] for send in alice.sent + bob.sent}
    net.drop = lambda _, send: False
    assert traffic(net, alice, bob, 60) == 0
    assert ExchangeType.INFORMATIONAL in {send.data[18] for send in alice.sent + bob.sent}
    assert alice.pairs() == bob.pairs() == 1


def test_without_traffic_the_new_pair_is_used_after_a_while() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    first = alice.outbound()
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert net.run(11, until=lambda: alice.outbound() != first)
    net.run(30)
    assert matches(alice, bob)
    assert alice.pairs() == bob.pairs() == 1


@pytest.mark.parametrize("how", ["killed", "isakmp gone", "pair gone"])
def test_a_pair_that_waits_to_be_used_survives(how: str) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    first = alice.outbound()
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(0.5)
    assert alice.outbound() == first
    if how == "killed":
        alice.restart()
    elif how == "isakmp gone":
        (session,) = alice.speaker._v1.ctx.sessions.values()
        alice.do(lambda: (informational.end(alice.speaker._v1.ctx, session, "test"), alice.speaker._v1.settle()))
    else:
        alice.expire(first.spi, "out", "hard")
    net.run(11)
    assert alice.outbound() not in (None, first)
    assert traffic(net, alice, bob, 20) == 0


def test_a_pair_that_the_peer_has_replaced_and_does_not_delete_ends_when_the_peer_uses_the_new_one() -> None:
    """strongSwan keeps the old pair until its lifetime ends."""
    net, alice, bob = pair()
    start(net, alice, bob)
    traffic(net, alice, bob, 10)
    first = bob.outbound()
    bob.do(lambda: bob.speaker.rekey("sec0", "child", net.now))
    assert traffic(net, alice, bob, 2) == 0
    for session in bob.speaker._v1.ctx.sessions.values():
        for child in session.sa.children:
            child.retire_at = None
    assert traffic(net, alice, bob, 18) == 0
    assert alice.pairs() == bob.pairs() == 1
    assert matches(alice, bob)
    assert bob.outbound() != first


def test_a_passive_side_tries_a_rekey_again_that_was_not_answered() -> None:
    net, alice, bob = pair(phase2_lifetime=400)
    start(net, alice, bob)
    alice.listening = False
    bob.do(lambda: bob.speaker.rekey("sec0", "child", net.now))
    traffic(net, alice, bob, 80)
    assert bob.said("phase2-rekeyed") == []
    alice.listening = True
    assert traffic(net, alice, bob, 90) == 0
    assert len(bob.said("phase2-rekeyed")) == 1


@pytest.mark.parametrize("what", ["ike", "child"])
@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_rekey_that_is_ordered_replaces_what_was_and_loses_nothing(what: str, side: str) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    traffic(net, alice, bob, 30)
    node = alice if side == "alice" else bob
    pair_before, isakmp_before = alice.outbound(), list(alice.checkpoints)
    said: list[str] = []
    node.do(lambda: said.append(node.speaker.rekey("sec0", what, net.now)))
    assert said == [""]
    assert traffic(net, alice, bob, 60) == 0
    assert matches(alice, bob)
    assert (alice.outbound() == pair_before) == (what == "ike")
    assert (list(alice.checkpoints) == isakmp_before) == (what == "child")
    assert alice.pairs() == bob.pairs() == len(alice.checkpoints) == len(bob.checkpoints) == 1


def test_what_cannot_be_rekeyed_is_said() -> None:
    net, alice, _ = pair()
    alice.start()
    assert alice.speaker.rekey("sec7", "child", net.now) == "there is no tunnel sec7"
    assert alice.speaker.rekey("sec0", "ike", net.now) == "sec0 has no established ISAKMP SA"


def test_shutdown_says_goodbye() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    alice.do(lambda: alice.speaker.shutdown(net.now))
    net.run(5)
    assert not alice.sas
    assert not bob.pairs()
    assert not alice.checkpoints
    net.run(200)
    assert not bob.sas
    assert not bob.checkpoints
    assert alice.speaker.next_deadline() is None


def test_deleting_phase_1_alone_keeps_the_traffic_and_the_pair_is_replaced() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    first = alice.outbound()
    context = bob.speaker._v1.ctx
    (session,) = context.sessions.values()

    def delete() -> None:
        from secd.ike.v1 import children

        bob.speaker._at(net.now)
        context.inform(session, [children.delete_payload(session)])
        bob.speaker._v1.settle()

    bob.do(delete)
    assert traffic(net, alice, bob, 100) == 0
    assert alice.outbound() != first
    assert alice.pairs() == bob.pairs() == 1


def test_without_a_replacement_the_pairs_of_a_deleted_phase_1_end_after_a_while() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    alice.listening = False
    alice.alive = False
    context = bob.speaker._v1.ctx
    (session,) = context.sessions.values()

    def forged() -> None:
        from secd.ike.v1 import informational

        bob.speaker._at(net.now)
        informational.end(context, session, "the peer has deleted the ISAKMP SA")
        bob.speaker._v1.settle()

    bob.do(forged)
    net.run(60)
    assert bob.pairs() == 1
    net.run(60)
    assert not bob.sas
    assert not bob.checkpoints


def test_lost_deletes_leave_nothing_behind_for_long() -> None:
    net, alice, bob = pair(phase2_lifetime=200)
    start(net, alice, bob)
    net.drop = lambda number, send: isinstance(send, Send) and send.data[18] == 5  # informational
    assert traffic(net, alice, bob, 800) == 0
    assert bob.pairs() <= 2
    assert matches(alice, bob)


def test_reconfiguring_touches_only_what_has_changed() -> None:
    net = Network()
    rules = [connection(ALICE, BOB), connection(ALICE, "198.51.100.2", name="sec1", iface="sec1")]
    alice = Node(net, ALICE, rules, seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)
    other = connection("198.51.100.2", ALICE, mode="passive")
    carol = Node(net, "198.51.100.2", [other], seed=3)
    for node in (bob, carol, alice):
        node.start(settled=True)
    net.run(5)
    first = alice.outbound("sec0"), alice.outbound("sec1")
    assert all(first)
    net.run(20)
    alice.reconfigure(rules[0], connection(ALICE, "198.51.100.2", name="sec1", iface="sec1", phase2_lifetime=600))
    net.run(5)
    assert alice.outbound("sec0") == first[0]
    assert alice.outbound("sec1") not in (first[1], None)
    assert carol.pairs() == 1
    moved = connection(ALICE, BOB, origin="/etc/ipsec.conf: 9", dpd=None)
    alice.reconfigure(moved)
    net.run(5)
    assert alice.outbound("sec0") == first[0]
    assert alice.outbound("sec1") is None
    assert not carol.pairs()


def test_two_tunnels_between_the_same_hosts_are_told_apart_by_identity() -> None:
    from secd.sadb.messages import Identity

    net = Network()
    sides = {}
    for local, peer in ((ALICE, BOB), (BOB, ALICE)):
        sides[local] = [
            connection(local, peer, name=f"sec{n}", iface=f"sec{n}", srcid=Identity("fqdn", f"{local}-{n}"),
                       dstid=Identity("fqdn", f"{peer}-{n}"), mode="active" if local == ALICE else "passive")
            for n in range(3)
        ]  # fmt: skip
    alice = Node(net, ALICE, sides[ALICE], seed=1)
    bob = Node(net, BOB, sides[BOB], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(10)
    for n in range(3):
        assert matches(alice, bob, f"sec{n}")
    assert alice.pairs() == 3


def test_status_tells_what_people_ask() -> None:
    net, alice, bob = pair(phase2_lifetime=200)
    (status,) = alice.start().speaker.status(net.now)
    assert status.state == "connecting" or status.next_attempt == 0.0
    start(net, alice, bob)
    net.run(300)
    (status,) = alice.speaker.status(net.now)
    assert status.state == "up"
    assert not status.reason
    assert status.ike[0].remote_id == BOB
    assert status.ike[0].state == "established"
    assert status.children[0].spi_out == alice.outbound().spi
    assert status.last_rekey is not None
    assert status.next_attempt is None
    assert {(each.spi, each.direction) for each in alice.speaker.installed()} == set(alice.sas)


def test_an_sa_that_the_data_plane_refuses_is_taken_back_and_tried_again() -> None:
    from secd.ike.contract import AddSA, SAFailed

    net, alice, bob = pair()
    plain, failed = alice._one, []

    def refuse(output: object) -> None:
        plain(output)
        if isinstance(output, AddSA) and output.sa.direction == "in" and not failed:
            failed.append(output)
            net.after(0.0, lambda: alice.do(lambda: alice.speaker.answer(output.request_id, SAFailed("full"), net.now)))

    alice._one = refuse  # type: ignore[method-assign]
    bob.start(settled=True)
    alice.start()
    assert net.run(10, until=lambda: bool(failed) and matches(alice, bob))
    assert "full" in alice.said("sa-refused")[0]
    net.run(20)
    assert alice.pairs() == bob.pairs() == 1
