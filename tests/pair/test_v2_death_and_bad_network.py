"""IKEv2: peers that die and come back, machines killed at any step, and datagrams that are lost, doubled, forged."""

from __future__ import annotations

import random

import pytest
from tests.pair.network import ALICE, BOB, Network, Node, matches, start, traffic
from tests.pair.v2_support import connection, pair

from secd.ike.connection import DeadPeerDetection
from secd.ike.contract import Send
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, NotifyType, PayloadType
from secd.ike.wire.ikev2.message import NO_SPI, Header, encode_message, parse_header
from secd.ike.wire.ikev2.notify import NotifyPayload
from secd.ike.wire.ikev2.payloads import DeletePayload
from secd.sadb.messages import Datagram

# -- life and death ---------------------------------------------------------------------------------------


def test_a_dead_peer_is_noticed_within_the_time_configured_and_everything_of_it_goes() -> None:
    net, alice, bob = pair(dpd=DeadPeerDetection(interval=10, wait=5, tries=4))
    start(net, alice, bob)
    bob.alive = False
    net.run(9)
    assert len(alice.sas) == 2
    net.run(10 + 4 * 5 * 1.25)
    assert not alice.sas
    assert "4 questions whether it is there were left unanswered" in alice.said("peer-dead")[0]


@pytest.mark.parametrize("role", ["alice", "bob"])
@pytest.mark.parametrize("passive", [True, False])
def test_a_rebooted_peer_is_back_within_the_time_of_dpd(role: str, passive: bool) -> None:
    net, alice, bob = pair(bob={"mode": "passive" if passive else "active"})
    start(net, alice, bob)
    net.run(60)
    (alice if role == "alice" else bob).reboot()
    assert net.run(60, lambda: matches(alice, bob))
    assert traffic(net, alice, bob, 200) == 0
    assert len(alice.sas) == len(bob.sas) == 2


def test_both_sides_rebooted_at_once_come_back() -> None:
    net, alice, bob = pair(bob={"mode": "active"})
    start(net, alice, bob)
    net.run(20)
    alice.reboot()
    bob.reboot()
    assert net.run(20, lambda: matches(alice, bob))
    traffic(net, alice, bob, 200)
    assert matches(alice, bob)
    assert len(alice.sas) == len(bob.sas) == 2


def test_initial_contact_clears_that_tunnel_only() -> None:
    from secd.sadb.messages import Identity

    net = Network()
    ids = [Identity("fqdn", "one"), Identity("fqdn", "two")]
    ours = [connection(ALICE, BOB, name=f"sec{i}", iface=f"sec{i}", srcid=ids[i]) for i in (0, 1)]
    theirs = [
        connection(BOB, ALICE, name=f"sec{i}", iface=f"sec{i}", dstid=ids[i], mode="passive", dpd=None) for i in (0, 1)
    ]
    bob = Node(net, BOB, theirs, seed=2).start(settled=True)
    alice = Node(net, ALICE, ours, seed=1).start()
    assert net.run(5, lambda: all(matches(alice, bob, f"sec{i}") for i in (0, 1)))
    kept = bob.outbound("sec1").spi
    alice.connections = ours[:1]
    alice.reboot()
    assert net.run(5, lambda: matches(alice, bob))
    net.run(1)
    assert bob.outbound("sec1").spi == kept
    assert len(bob.sas) == 4


def test_a_passive_tunnel_is_never_begun_from_here_not_even_after_a_start() -> None:
    net, alice, bob = pair(bob={"mode": "passive"})
    alice.alive = False
    bob.start()
    net.run(600)
    assert not bob.sent
    assert bob.speaker.status(net.now)[0].state == "waiting"


# -- killed and taken up again ----------------------------------------------------------------------------

SCENARIO = 200.0
LIFETIMES = {"ike_lifetime": 150, "lifetime": 80}


def scenario(prepare: str = "", at: int = 0, delay: float = 0.0) -> tuple[Network, Node, Node]:
    """Come up and rekey both kinds of SA, with the node `prepare` killed at one of its batches."""
    net, alice, bob = pair(**LIFETIMES)
    alice.compute_delay = bob.compute_delay = delay
    if prepare:
        (alice if prepare == "alice" else bob).kill_at = at
    bob.start(settled=True)
    alice.start()
    return net, alice, bob


def batches(name: str, delay: float) -> int:
    net, alice, bob = scenario(delay=delay)
    net.run(SCENARIO)
    return (alice if name == "alice" else bob).steps


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_a_speaker_killed_at_any_step_goes_on_where_it_was(name: str, when: str, delay: float) -> None:
    for step in range(2, batches(name, delay) + 1):
        survives(name, step if when == "before" else -step, delay)


def survives(name: str, at: int, delay: float) -> None:
    """Both come up, no packet is lost, one pair stays, and only one authentication is seen."""
    net, alice, bob = scenario(name, at, delay)
    killed, other = (alice, bob) if name == "alice" else (bob, alice)
    assert net.run(60, until=lambda: matches(alice, bob)), f"killed at {at}"
    assert traffic(net, alice, bob, SCENARIO) == 0, f"killed at {at}"
    net.run(60)
    assert matches(alice, bob), f"killed at {at}"
    assert len(alice.sas) == len(bob.sas) == 2, f"killed at {at}"
    assert other.codes().count("ike-up") <= 2, f"killed at {at}"
    assert {(each.spi, each.direction) for each in killed.speaker.installed()} == set(killed.sas), f"killed at {at}"


def test_a_restored_peer_is_not_told_initial_contact() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(20)
    alice.restart()
    alice.do(lambda: alice.speaker.reset("sec0", net.now))
    net.run(5)
    assert all(not each.sa.initial_contact for each in alice.speaker._v2.ctx.sessions.values())


# -- a bad network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("times", [1, 2])
def test_any_datagram_may_be_lost(number: int, times: int) -> None:
    net, alice, bob = pair()
    net.drop = lambda count, send: number <= count < number + times
    start(net, alice, bob, seconds=20)
    net.run(30)
    assert matches(alice, bob)
    assert len(alice.sas) == len(bob.sas) == 2
    assert alice.codes().count("ike-up") == 1


@pytest.mark.parametrize("seed", range(12))
def test_tunnels_come_up_rekey_and_stay_single_with_loss_duplicates_and_reordering(seed: int) -> None:
    net, alice, bob = pair(ike_lifetime=500, lifetime=200)
    net.__dict__.update(loss=0.1, duplicates=0.1, latency=0.02, jitter=0.3)
    net.rng = random.Random(seed)
    start(net, alice, bob, seconds=120)
    assert traffic(net, alice, bob, 2000) == 0
    assert alice.codes().count("down") == bob.codes().count("down") == 0
    net.loss = 0.0
    net.run(70)
    assert matches(alice, bob)
    assert len(alice.sas) in (2, 4)


@pytest.mark.parametrize("seed", range(6))
def test_slow_computations_on_a_bad_network_do_no_harm(seed: int) -> None:
    net, alice, bob = pair(ike_lifetime=500, lifetime=200)
    net.__dict__.update(loss=0.1, duplicates=0.2, latency=0.02, jitter=0.5)
    net.rng = random.Random(seed)
    alice.compute_delay, bob.compute_delay = 0.4, 0.7
    start(net, alice, bob, seconds=120)
    assert traffic(net, alice, bob, 1500) == 0


def test_every_datagram_doubled_makes_one_tunnel() -> None:
    net, alice, bob = pair()
    net.duplicates = 1.0
    start(net, alice, bob)
    net.run(2000)
    assert alice.codes().count("ike-up") == 1
    assert len(alice.sas) == len(bob.sas) == 2


def test_a_replayed_conversation_changes_nothing() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    said = list(alice.sent)
    checkpoint = dict(bob.checkpoints)
    for each in said:
        net.deliver(alice, each)
    net.run(1)
    assert matches(alice, bob)
    assert set(bob.checkpoints) == set(checkpoint)
    assert len(bob.added) == 2


def test_a_message_that_keeps_coming_again_is_answered_a_bounded_number_of_times() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    last = alice.sent[-1]
    before = len(bob.sent)
    for _ in range(100):
        net.deliver(alice, last)
    assert len(bob.sent) - before == 12


# -- strangers --------------------------------------------------------------------------------------------


def from_to(sender: Node, receiver: Node, data: bytes, port: int = 500) -> Datagram:
    return Datagram(receiver.address, port, sender.address, port, data)


def headers(node: Node) -> Header:
    (session,) = node.speaker._v2.ctx.sessions.values()
    flags = 0 if session.initiator else Flag.INITIATOR
    return Header(session.sa.spi_i, session.sa.spi_r, ExchangeType.INFORMATIONAL, flags, session.sa.next_in)


@pytest.mark.parametrize("exchange", [ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_AUTH])
@pytest.mark.parametrize("response", [False, True])
def test_messages_in_clear_never_reach_an_ike_sa(exchange: ExchangeType, response: bool) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    header = headers(bob)
    flags = header.flags | (Flag.RESPONSE if response else 0)
    for message_id in range(4):
        forged = Header(header.initiator_spi, header.responder_spi, exchange, flags, message_id)
        data = encode_message(forged, [DeletePayload(1), NotifyPayload(NotifyType.AUTHENTICATION_FAILED)])
        bob.do(lambda data=data: bob.speaker.receive(from_to(alice, bob, data, 4500), net.now))  # type: ignore[misc]
    net.run(60)
    assert matches(alice, bob)
    assert "down" not in alice.codes() + bob.codes()


def test_an_unproven_invalid_spi_makes_us_ask_sooner_and_no_more() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(5)
    header = headers(bob)
    flags = Flag.RESPONSE | (header.flags ^ Flag.INITIATOR)
    forged = Header(header.initiator_spi, header.responder_spi, ExchangeType.INFORMATIONAL, flags, 7)
    data = encode_message(forged, [NotifyPayload(NotifyType.INVALID_IKE_SPI)])
    sent = len(bob.sent)
    for _ in range(5):
        bob.do(lambda: bob.speaker.receive(from_to(alice, bob, data, 4500), net.now))
    net.run(1)
    assert len(bob.sent) <= sent + 1
    net.run(60)
    assert matches(alice, bob)


def test_a_peer_that_has_forgotten_us_says_so_and_is_met_again_soon() -> None:
    net, alice, bob = pair(dpd=DeadPeerDetection(interval=1000, wait=2, tries=3))
    start(net, alice, bob)
    bob.reboot()
    bob.listening = True
    net.run(5)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    assert net.run(15, lambda: matches(alice, bob))


def test_unproven_refusals_end_nothing() -> None:
    net, alice, bob = pair()
    alice.start()
    net.run(0.1)
    first = parse_header(alice.sent[0].data)
    for kind in (NotifyType.NO_PROPOSAL_CHOSEN, NotifyType.INVALID_SYNTAX, NotifyType.INVALID_MAJOR_VERSION):
        header = Header(first.initiator_spi, NO_SPI, ExchangeType.IKE_SA_INIT, Flag.RESPONSE, 0)
        data = encode_message(header, [NotifyPayload(kind)])
        alice.do(lambda data=data: alice.speaker.receive(from_to(bob, alice, data), net.now))  # type: ignore[misc]
    bob.start(settled=True)
    assert net.run(5, lambda: matches(alice, bob))


def first_messages(count: int, source: str = "") -> list[tuple[str, bytes]]:
    """So many first messages that Bob would answer; each from an address of its own, or all from `source`."""
    net = Network()
    made = []
    for number in range(count):
        address = source or f"198.18.{number // 250}.{number % 250 + 1}"
        node = Node(net, address, [connection(address, BOB, natt=False)], seed=1000 + number)
        node.start()
        net.run(0)
        made.append((address, node.sent[0].data))
    return made


def test_a_flood_of_first_messages_meets_cookies_and_the_true_peer_still_gets_in() -> None:
    net, alice, bob = pair(bob={"peer": None})
    bob.start(settled=True)
    for address, data in first_messages(200):
        bob.do(lambda address=address, data=data: bob.speaker.receive(Datagram(BOB, 500, address, 500, data), net.now))  # type: ignore[misc]
        net.run(0)
    assert len(bob.checkpoints) == 64
    alice.start()
    assert net.run(5, lambda: matches(alice, bob))
    assert any(b"\x40\x06" in each.data[:60] for each in bob.sent)
    net.run(60)
    assert len(bob.checkpoints) == 1


def test_one_source_is_asked_for_cookies_sooner() -> None:
    net, _alice, bob = pair(bob={"peer": None})
    bob.start(settled=True)
    for address, data in first_messages(100, "198.18.0.1"):
        bob.do(lambda address=address, data=data: bob.speaker.receive(Datagram(BOB, 500, address, 500, data), net.now))  # type: ignore[misc]
        net.run(0)
    assert len(bob.checkpoints) == 32


@pytest.mark.parametrize("seed", range(20))
def test_malformed_messages_in_every_state_raise_nothing_and_stop_nobody(seed: int) -> None:
    rng = random.Random(seed)
    net, alice, bob = pair()

    def disturb(count: int, send: Send) -> bool:
        for _ in range(3):
            data = bytearray(send.data)
            for _ in range(rng.randrange(1, 4)):
                at = rng.choice((rng.randrange(16, 28), rng.randrange(len(data))))
                data[at] = rng.randrange(256)
            if rng.random() < 0.3:
                data = data[: rng.randrange(len(data))]
            receiver = bob if send.remote == BOB else alice
            source = (send.local or ALICE, send.local_port)
            datagram = Datagram(send.remote, send.remote_port, *source, bytes(data))
            net.after(rng.random() * 0.02, lambda r=receiver, d=datagram: r.do(lambda: r.speaker.receive(d, net.now)))  # type: ignore[misc]
        return False

    net.drop = disturb
    start(net, alice, bob, seconds=600)  # a forged answer to IKE_SA_INIT costs an attempt: nothing in it is proven
    assert traffic(net, alice, bob, 100) == 0


@pytest.mark.parametrize("seed", range(5))
def test_random_octets_raise_nothing(seed: int) -> None:
    rng = random.Random(seed)
    net, alice, bob = pair()
    start(net, alice, bob)
    header = headers(bob)
    for _ in range(300):
        body = rng.randbytes(rng.randrange(0, 80))
        head = Header(
            header.initiator_spi, rng.choice((NO_SPI, header.responder_spi)), rng.choice((34, 35, 36, 37, 43, 44, 99)),
            rng.choice((0, 8, 32, 40)), rng.randrange(4), rng.choice(list(PayloadType)), 28 + len(body),
        )  # fmt: skip
        data = head.encode() + body
        bob.do(lambda data=data: bob.speaker.receive(from_to(alice, bob, data), net.now))  # type: ignore[misc]
    net.run(10)
    assert matches(alice, bob)
