"""New keys, ends and duplicates between two speakers of IKEv2: nothing is lost, and one pair is left."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.pair.network import ALICE, BOB, Network, Node, matches, start, traffic
from tests.pair.v2_support import ESP, IKE, IKE_LIFETIME, LIFETIME, connection, pair

from secd.ike.connection import DeadPeerDetection
from secd.sadb.messages import Identity


def single(net: Network, *nodes: Node) -> bool:
    """Whether each node is left with one pair and one IKE SA, and they fit."""
    return all(len(each.sas) == 2 and len(each.checkpoints) == 1 for each in nodes) and matches(*nodes)


def test_a_pair_is_rekeyed_before_its_lifetime_ends_and_no_packet_is_lost() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    first = alice.outbound().spi
    assert traffic(net, alice, bob, 2.5 * LIFETIME) == 0
    assert len(alice.said("child-rekeyed")) == 2
    assert alice.outbound().spi != first
    assert single(net, alice, bob)


def test_the_ike_sa_is_rekeyed_and_the_pairs_go_on() -> None:
    net, alice, bob = pair(lifetime=100_000)
    start(net, alice, bob)
    spi = alice.outbound().spi
    assert traffic(net, alice, bob, 2.2 * IKE_LIFETIME, step=5) == 0
    assert len(alice.said("ike-rekeyed")) == 2
    assert alice.outbound().spi == spi
    assert single(net, alice, bob)


def test_a_responder_rekeys_both_when_the_initiator_does_not() -> None:
    net, alice, bob = pair({"ike_lifetime": 0, "lifetime": 0})
    start(net, alice, bob)
    assert traffic(net, alice, bob, IKE_LIFETIME, step=5) == 0
    assert "ike-rekeyed" in bob.codes()
    assert "child-rekeyed" in bob.codes()
    assert single(net, alice, bob)


def test_an_idle_tunnel_rekeys_too_and_stays_single() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(3 * IKE_LIFETIME)
    assert single(net, alice, bob)
    assert not [log for log in alice.logs + bob.logs if log.level in ("warning", "error")]


def test_the_responder_sends_on_a_new_pair_when_the_peer_deletes_the_older_one() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.latency = 0.2
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert net.run(5, lambda: len(bob.sas) == 3)  # the new inbound one is in, the outbound one is not
    assert net.run(0.3) is True
    assert bob.pairs() == 1
    assert net.run(5, lambda: single(net, alice, bob))


def test_the_responder_sends_on_a_new_pair_when_the_peer_is_seen_to_use_it() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.drop = lambda number, send: send.local == ALICE and alice.pairs() == 2  # no delete gets through
    assert net.run(1, lambda: alice.pairs() + len(alice.said("child-rekeyed")) >= 2)
    before = bob.outbound().spi
    traffic(net, alice, bob, 2.5)
    assert bob.outbound().spi != before


@pytest.mark.parametrize("what", ["child", "ike"])
@pytest.mark.parametrize("side", ["alice", "bob"])
def test_a_rekey_that_is_ordered_replaces_what_was_and_loses_nothing(what: str, side: str) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    node = alice if side == "alice" else bob
    checkpoint, spi = set(node.checkpoints), node.outbound().spi
    node.do(lambda: node.speaker.rekey("sec0", what, net.now))  # type: ignore[arg-type]
    assert traffic(net, alice, bob, 40, step=0.02) == 0
    assert single(net, alice, bob)
    assert (node.outbound().spi != spi) == (what == "child")
    assert (set(node.checkpoints) != checkpoint) == (what == "ike")


@pytest.mark.parametrize("what", ["child", "ike"])
@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_simultaneous_rekeys_leave_one_and_lose_nothing(what: str, delay: float) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    for node in (alice, bob):
        node.compute_delay = delay
        node.do(lambda node=node: node.speaker.rekey("sec0", what, net.now))  # type: ignore[misc]
    assert traffic(net, alice, bob, 60, step=0.02) == 0
    assert single(net, alice, bob)
    redundant = f"{what}-redundant"
    assert len(alice.said(redundant)) + len(bob.said(redundant)) == 1


def test_rekeys_of_the_pair_and_of_the_ike_sa_from_both_sides_at_once_are_sorted_out() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    bob.do(lambda: bob.speaker.rekey("sec0", "ike", net.now))
    assert traffic(net, alice, bob, 60, step=0.02) == 0
    assert single(net, alice, bob)


def test_a_group_that_the_peer_does_not_want_for_a_rekey_is_replaced_by_one_that_it_wants() -> None:
    net, alice, bob = pair(bob={"childsa": (replace(ESP, groups=("ecp256",)),)})
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(20)
    assert "ecp256" in alice.said("child-rekeyed")[0]
    assert single(net, alice, bob)


def test_a_peer_without_pfs_is_found_out_at_the_first_rekey_and_told() -> None:
    net, alice, bob = pair(bob={"childsa": (replace(ESP, groups=()),)})
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(20)
    assert "nearest: group: peer curve25519 or ecp256, here none" in bob.said("proposal-mismatch")[0]
    assert "NO_PROPOSAL_CHOSEN" in alice.said("proposal-mismatch")[0]
    assert matches(alice, bob)


# -- ends -------------------------------------------------------------------------------------------------


def test_resetting_an_active_tunnel_tells_the_peer_and_brings_it_back() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    spi = alice.outbound().spi
    alice.do(lambda: alice.speaker.reset("sec0", net.now))
    assert net.run(5, lambda: matches(alice, bob))
    assert net.run(40, lambda: single(net, alice, bob))
    assert alice.outbound().spi != spi
    assert "ike-down" in bob.codes()


def test_shutdown_says_goodbye() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.shutdown(net.now))
    assert not alice.sas
    assert not alice.checkpoints
    net.run(10)
    assert not bob.sas
    net.run(60)
    assert not bob.checkpoints


@pytest.mark.parametrize("direction", ["in", "out"])
def test_after_a_flush_the_peer_is_told_and_the_tunnel_comes_back(direction: str) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    spi = next(sa.spi for sa in alice.added if sa.direction == direction)
    alice.expire(spi, direction, "deleted")
    assert net.run(20, lambda: single(net, alice, bob))
    assert len(alice.said("ike-up")) == 1


def test_a_pair_whose_bytes_are_used_up_soon_is_rekeyed() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    alice.expire(alice.outbound().spi, "out", "soft")
    assert net.run(20, lambda: len(alice.said("child-rekeyed")) == 1 and single(net, alice, bob))


def test_a_delete_of_the_pair_brings_an_active_tunnel_back() -> None:
    net, alice, bob = pair(bob={"lifetime": 100})
    start(net, alice, bob)
    spi = next(sa.spi for sa in bob.added if sa.direction == "in")
    bob.expire(spi, "in", "hard")
    bob.expire(bob.outbound().spi if bob.outbound() else spi, "out", "hard") if bob.outbound() else None
    assert net.run(20, lambda: single(net, alice, bob))


def test_reconfiguring_touches_only_what_has_changed() -> None:
    net = Network()
    rules = [connection(ALICE, BOB, name=f"sec{i}", iface=f"sec{i}", srcid=Identity("fqdn", f"a{i}")) for i in (0, 1)]
    theirs = [
        connection(BOB, ALICE, name=f"sec{i}", iface=f"sec{i}", mode="passive", dstid=Identity("fqdn", f"a{i}"))
        for i in (0, 1)
    ]
    alice, bob = Node(net, ALICE, rules, seed=1), Node(net, BOB, theirs, seed=2)
    bob.start(settled=True)
    alice.start()
    assert net.run(10, lambda: all(matches(alice, bob, f"sec{i}") for i in (0, 1)))
    kept, gone = alice.outbound("sec0").spi, alice.outbound("sec1").spi
    alice.reconfigure(replace(rules[0], origin="/etc/iked.conf: 7"), connection(
        ALICE, BOB, name="sec1", iface="sec1", srcid=Identity("fqdn", "a1"), lifetime=77,
    ))  # fmt: skip
    assert net.run(10, lambda: alice.outbound("sec1") is not None and alice.outbound("sec1").spi != gone)
    assert alice.outbound("sec0").spi == kept
    net.run(40)
    assert len(bob.sas) == 4


# -- duplicates -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_both_sides_active_come_up_and_end_with_one(seed: int) -> None:
    net, alice, bob = pair(bob={"mode": "active"})
    net.seed = seed
    alice.rng.seed(100 + seed)
    alice.start()
    bob.start()
    assert net.run(10, lambda: matches(alice, bob))
    assert traffic(net, alice, bob, 200, step=0.1) == 0
    assert single(net, alice, bob)
    assert traffic(net, alice, bob, 2 * LIFETIME) == 0
    assert single(net, alice, bob)


def test_a_second_pair_that_nobody_needs_is_ended() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    tunnel = alice.speaker._world.tunnels["sec0"]
    machine = alice.speaker._v2
    session = machine.ctx.newest("sec0")
    from secd.ike.v2 import child

    alice.do(lambda: (machine.begin(session, "request", child.start(machine.ctx, session, tunnel)), machine.settle()))
    net.run(5)
    assert alice.pairs() == 2
    assert traffic(net, alice, bob, 200) == 0
    assert single(net, alice, bob)


def test_status_tells_what_people_ask() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    (status,) = alice.speaker.status(net.now)
    assert status.state == "up"
    (ike,) = status.ike
    assert (ike.version, ike.role, ike.state, ike.vendor) == (2, "initiator", "established", "secd")
    assert (ike.local_id, ike.remote_id) == (ALICE, BOB)
    assert (ike.encryption, ike.hash, ike.group) == ("aes-256-gcm", "hmac-sha2-256", "curve25519")
    (child,) = status.children
    assert child.spi_out == alice.outbound().spi
    assert 0.84 * LIFETIME < child.rekey_in < 0.91 * LIFETIME


def test_without_dead_peer_detection_and_lifetimes_nothing_happens_by_itself() -> None:
    net, alice, bob = pair(dpd=None, lifetime=0, ike_lifetime=0)
    start(net, alice, bob)
    sent = len(alice.sent)
    net.run(100_000)
    assert len(alice.sent) == sent
    assert single(net, alice, bob)


def test_what_cannot_be_rekeyed_is_said() -> None:
    net, alice, _bob = pair()
    alice.start()
    assert alice.speaker.rekey("sec0", "child", net.now) == "sec0 has no established IKE SA"
    assert alice.speaker.rekey("sec7", "child", net.now) == "there is no tunnel sec7"


def test_a_peer_that_makes_no_more_pairs_gets_a_new_ike_sa() -> None:
    net, alice, bob = pair({"dpd": DeadPeerDetection(600, 5, 5)})
    start(net, alice, bob)
    assert IKE.groups
    from secd.ike.v2 import child
    from secd.ike.wire.cursor import WireError
    from secd.ike.wire.ikev2.iana import NotifyType

    check = child._check

    def refuse(ctx: object, session: object, tunnel: object, spi: int) -> object:
        if ctx is bob.speaker._v2.ctx:
            raise WireError("no more", NotifyType.NO_ADDITIONAL_SAS)
        return check(ctx, session, tunnel, spi)  # type: ignore[arg-type]

    child._check = refuse  # type: ignore[assignment]
    try:
        alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
        assert traffic(net, alice, bob, 200, step=0.1) == 0
        assert len(alice.said("ike-up")) == 2
        assert single(net, alice, bob)
    finally:
        child._check = check
