"""Datagrams that are lost, doubled, late, out of order, forged or malformed; NATs; floods."""

from __future__ import annotations

import random

import pytest
from tests.pair.network import ALICE, BOB, Nat, Network, Node, connection, matches, pair, start, traffic

from secd.ike.connection import Connection
from secd.ike.contract import Send, UpdateSA
from secd.ike.proposals import offer1
from secd.ike.v1 import half_open, offers
from secd.ike.wire import vendorids
from secd.ike.wire.iana import ExchangeType, NotifyType, ProtocolId
from secd.ike.wire.isakmp import Header, encode_message
from secd.ike.wire.payloads import NotificationPayload
from secd.sadb.messages import Datagram, NewMapping

PUBLIC = "203.0.113.9"
INSIDE = "10.0.0.2"


@pytest.mark.parametrize("number", range(1, 10))
def test_any_one_datagram_may_be_lost(number: int) -> None:
    net, alice, bob = pair()
    net.drop = lambda count, send: count == number
    start(net, alice, bob, seconds=10)
    net.run(30)
    assert matches(alice, bob)
    assert alice.pairs() == bob.pairs() == 1
    assert alice.codes().count("phase1-up") == 1


@pytest.mark.parametrize("number", range(1, 10))
def test_any_datagram_may_be_lost_twice_in_a_row(number: int) -> None:
    net, alice, bob = pair()
    net.drop = lambda count, send: count in (number, number + 1)
    start(net, alice, bob, seconds=20)
    net.run(30)
    assert matches(alice, bob)
    assert alice.pairs() == bob.pairs() == 1


@pytest.mark.parametrize("seed", range(12))
def test_tunnels_come_up_rekey_and_stay_single_with_loss_duplicates_and_reordering(seed: int) -> None:
    net = Network(loss=0.1, duplicates=0.1, latency=0.02, jitter=0.3, seed=seed)
    net, alice, bob = pair(net, phase1_lifetime=500, phase2_lifetime=200)
    start(net, alice, bob, seconds=120)
    assert traffic(net, alice, bob, 2000) == 0
    assert matches(alice, bob)
    assert alice.pairs() <= 2
    assert bob.pairs() <= 2
    assert alice.codes().count("down") == 0


@pytest.mark.parametrize("seed", range(6))
def test_slow_computations_on_a_bad_network_do_no_harm(seed: int) -> None:
    net = Network(loss=0.1, duplicates=0.2, latency=0.02, jitter=0.5, seed=seed)
    net, alice, bob = pair(net, phase1_lifetime=500, phase2_lifetime=200)
    alice.compute_delay, bob.compute_delay = 0.4, 0.7
    start(net, alice, bob, seconds=120)
    assert traffic(net, alice, bob, 1000) == 0


def test_every_datagram_doubled_makes_one_tunnel() -> None:
    net, alice, bob = pair(Network(duplicates=1.0))
    start(net, alice, bob)
    net.run(100)
    assert alice.pairs() == bob.pairs() == 1
    assert len(alice.added) == len(bob.added) == 2


def test_a_replayed_conversation_changes_nothing() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    net.run(60)
    before = dict(bob.sas)
    for send in list(alice.sent):
        bob.do(lambda send=send: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, send.data), net.now))
    net.run(100)
    assert bob.sas == before
    assert traffic(net, alice, bob, 30) == 0


def test_a_message_that_keeps_coming_again_is_answered_a_bounded_number_of_times() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    first = alice.sent[0]
    message_5 = next(send for send in alice.sent if send.data[18] == 2 and send.data[19] & 1)
    before = len(bob.sent)
    for _ in range(1000):
        for send in (first, message_5):
            bob.do(lambda send=send: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, send.data), net.now))
    assert len(bob.sent) - before < 100


# -- NAT --------------------------------------------------------------------------------------------------


def behind_nat(**changes: object) -> tuple[Network, Node, Node, Nat]:
    """Alice at 10.0.0.2 behind a NAT, Bob on the outside who takes anybody with the key."""
    net = Network()
    nat = Nat(INSIDE, PUBLIC)
    net.nats[INSIDE] = nat
    alice = Node(net, INSIDE, [connection(INSIDE, BOB, **changes)], seed=1)
    bob = Node(net, BOB, [connection(BOB, None, mode="passive", **changes)], seed=2)
    bob.start(settled=True)
    alice.start()
    net.run(5)
    return net, alice, bob, nat


def test_behind_a_nat_both_sides_float_and_use_udp() -> None:
    _net, alice, bob, nat = behind_nat()
    assert matches(alice, bob)
    assert (alice.outbound().udpencap.local_port, alice.outbound().udpencap.remote_port) == (4500, 4500)
    outside = nat.table[INSIDE, 4500]
    assert (bob.outbound().destination, bob.outbound().udpencap.remote_port) == (PUBLIC, outside)
    assert {send.local_port for send in alice.sent if send.data[19] & 1} == {4500}


def test_keepalives_go_out_every_20_seconds_from_behind_the_nat_only() -> None:
    net, alice, bob, _ = behind_nat()
    traffic(net, alice, bob, 200)
    assert len([send for send in alice.sent if send.data == b"\xff"]) == 10
    assert not [send for send in bob.sent if send.data == b"\xff"]


def test_both_phases_are_rekeyed_through_a_nat_from_either_side() -> None:
    net, alice, bob, _ = behind_nat(phase1_lifetime=300, phase2_lifetime=200)
    for node in (alice, bob):
        for session in node.speaker._v1.ctx.sessions.values():
            if node is alice:
                session.sa.rekey_at = None
                session.sa.children[0].rekey_at = None
                node.speaker._v1.ctx.touch(session)
    assert traffic(net, alice, bob, 1000) == 0
    assert any("finished as initiator" in text for text in bob.said("phase1-up"))
    assert alice.pairs() == bob.pairs() == 1


def test_an_authenticated_message_after_a_rebinding_moves_the_tunnel() -> None:
    net, alice, bob, nat = behind_nat()
    nat.rebind()
    net.run(30)
    outside = nat.table[INSIDE, 4500]
    assert bob.outbound().udpencap.remote_port == outside
    assert "peer-moved" in bob.codes()
    assert traffic(net, alice, bob, 60) == 0


def test_a_new_mapping_of_esp_moves_the_tunnel() -> None:
    net, alice, bob, nat = behind_nat()
    nat.rebind()
    where = nat.outside((INSIDE, 4500))
    spi = next(spi for spi, direction in bob.sas if direction == "in")
    bob.do(lambda: bob.speaker.event(NewMapping(spi, "sec0", *where), net.now))
    assert bob.outbound().udpencap.remote_port == where[1]
    net.run(60)
    assert matches(alice, bob)


def test_a_replayed_message_does_not_move_the_tunnel() -> None:
    net, alice, bob, _ = behind_nat()
    net.run(60)
    moved = []
    plain = bob._one
    bob._one = lambda output: (moved.append(output) if isinstance(output, UpdateSA) else None, plain(output))  # type: ignore
    for send in [each for each in alice.sent if len(each.data) > 1]:
        datagram = Datagram(BOB, 4500, "203.0.113.66", 6666, send.data)
        bob.do(lambda datagram=datagram: bob.speaker.receive(datagram, net.now))
    assert not moved


@pytest.mark.parametrize(
    "dialects",
    [
        [vendorids.RFC_3947],
        [vendorids.NAT_T_DRAFT_03],
        [vendorids.NAT_T_DRAFT_02_NEWLINE],
        [vendorids.NAT_T_DRAFT_02],
        [vendorids.NAT_T_DRAFT_02, vendorids.RFC_3947],
    ],
    ids=["rfc", "draft-03", "draft-02 newline", "draft-02", "draft-02 and rfc"],
)
def test_every_dialect_of_nat_traversal_works(dialects: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network()
    net.nats[INSIDE] = Nat(INSIDE, PUBLIC)
    alice = Node(net, INSIDE, [connection(INSIDE, BOB)], seed=1)
    bob = Node(net, BOB, [connection(BOB, None, mode="passive")], seed=2)
    ours = offers.vendor_ids

    def fewer(conn: object, dialect: str | None = None) -> list[object]:
        made = ours(conn, dialect)  # type: ignore[arg-type]
        return made if dialect is not None else [each for each in made if each.data in [*dialects, vendorids.DPD]]

    monkeypatch.setattr(offers, "vendor_ids", fewer)
    bob.start(settled=True)
    alice.start()
    net.run(5)
    assert matches(alice, bob)
    assert alice.outbound().udpencap is not None


def test_without_nat_traversal_nothing_floats() -> None:
    net, alice, bob = pair(natt=False)
    start(net, alice, bob)
    assert {send.local_port for send in alice.sent + bob.sent} == {500}


# -- forged, malformed, too much --------------------------------------------------------------------------


def flooded(bob: Node, rules: Connection, count: int, sources: int) -> None:
    """Bring `count` first messages to Bob, each of another exchange, from so many addresses."""
    offer = offer1(rules.phase1, 3600, offers.PSK)
    rng = random.Random(7)
    for number in range(count):
        header = Header(rng.randbytes(8), bytes(8), ExchangeType.IDENTITY_PROTECTION)
        data = encode_message(header, [offer])
        datagram = Datagram(BOB, 500, f"203.0.113.{number % sources}", 500, data)
        bob.do(lambda datagram=datagram: bob.speaker.receive(datagram, bob.net.now))


def test_a_flood_of_first_messages_is_bounded_and_the_true_peer_gets_in_at_once() -> None:
    net = Network()
    alice = Node(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = Node(net, BOB, [connection(BOB, None, mode="passive")], seed=2)
    bob.start(settled=True)
    flooded(bob, alice.connections[0], 3000, 200)
    assert len(bob.speaker._v1.ctx.sessions) == half_open.MAX_HALF_OPEN
    assert not bob.checkpoints
    assert len(bob.logs) < 50
    alice.start()
    assert net.run(1, until=lambda: matches(alice, bob))
    assert ALICE in bob.expected
    net.run(60)
    assert len(bob.checkpoints) == 1
    assert len(bob.speaker._v1.ctx.sessions) == 1


def test_one_source_cannot_take_all_the_room() -> None:
    net, alice, bob = pair()
    bob.reconfigure(connection(BOB, None, mode="passive"))
    flooded(bob, alice.connections[0], 1000, 1)
    assert len(bob.speaker._v1.ctx.sessions) == half_open.MAX_HALF_OPEN_EACH
    bob.start(settled=True)
    alice.start()
    assert net.run(1, until=lambda: matches(alice, bob))


def test_a_flood_from_the_peers_own_address_does_not_keep_it_out() -> None:
    net, alice, bob = pair()
    bob.start(settled=True)
    offer = offer1(alice.connections[0].phase1, 3600, offers.PSK)
    rng = random.Random(7)

    def forge(_: int, send: Send) -> bool:
        for _ in range(100):
            header = Header(rng.randbytes(8), bytes(8), ExchangeType.IDENTITY_PROTECTION)
            forged = Datagram(BOB, 500, ALICE, 500, encode_message(header, [offer]))
            bob.do(lambda forged=forged: bob.speaker.receive(forged, net.now))
        return False

    net.drop = lambda number, send: forge(number, send) if send.local == ALICE or not send.local else False
    alice.start()
    assert net.run(1, until=lambda: matches(alice, bob))


def test_who_goes_on_is_limited_for_it_costs_a_key_exchange() -> None:
    net, _, bob = pair()
    bob.start(settled=True)
    cut = Network(seed=5)
    for number in range(half_open.MAX_PROVEN_EACH + 3):
        other = Node(cut, ALICE, [connection(ALICE, BOB)], seed=100 + number)
        other.start()
        cut.run(0.001)
        first = other.sent[-1].data
        bob.do(lambda first=first: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, first), net.now))
        second = bob.sent[-1].data
        other.do(
            lambda other=other, second=second: other.speaker.receive(Datagram(ALICE, 500, BOB, 500, second), cut.now)
        )
        cut.run(0.001)
        third = other.sent[-1].data
        bob.do(lambda third=third: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, third), net.now))
        net.run(0.001)
    going_on = [each for each in bob.speaker._v1.ctx.sessions.values() if each.proven]
    assert len(going_on) == half_open.MAX_PROVEN_EACH
    assert "half-open" in bob.codes()
    net.run(60)
    assert not bob.speaker._v1.ctx.sessions


def test_a_first_message_that_names_an_sa_which_is_there_does_not_take_its_place() -> None:
    net, alice, bob = pair()
    bob.connections = [connection(BOB, None, mode="passive")]
    start(net, alice, bob)
    cookie = alice.sent[0].data[:8]
    offer = offer1(alice.connections[0].phase1, 3600, offers.PSK)
    forged = encode_message(Header(cookie, bytes(8), ExchangeType.IDENTITY_PROTECTION), [offer])
    answered = len(bob.sent)
    bob.do(lambda: bob.speaker.receive(Datagram(BOB, 500, "203.0.113.7", 500, forged), net.now))
    assert len(bob.sent) == answered
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(15.0)
    assert "phase2-rekeyed" in bob.codes()


@pytest.mark.parametrize("stage", range(1, 10))
def test_unproven_notifications_end_nothing(stage: int) -> None:
    net, alice, bob = pair()

    def forge(number: int, send: Send) -> bool:
        if number == stage:
            for node, source in ((alice, BOB), (bob, ALICE)):
                for kind in (*NotifyType, 99):
                    payload = NotificationPayload(kind, ProtocolId.PROTO_ISAKMP, send.data[:16])
                    header = Header(send.data[:8], send.data[8:16], ExchangeType.INFORMATIONAL, 0, 77)
                    data = encode_message(header, [payload])
                    at = Datagram(node.address, 500, source, 500, data)
                    net.after(0.0, lambda node=node, at=at: node.do(lambda: node.speaker.receive(at, net.now)))
        return False

    net.drop = forge
    start(net, alice, bob)
    net.run(30)
    assert alice.pairs() == bob.pairs() == 1


def test_an_unproven_invalid_spi_makes_us_ask_sooner_and_no_more() -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    traffic(net, alice, bob, 7)
    (session,) = alice.speaker._v1.ctx.sessions.values()
    header = Header(session.sa.icookie, session.sa.rcookie, ExchangeType.INFORMATIONAL, 0, 77)
    data = encode_message(header, [NotificationPayload(NotifyType.INVALID_SPI, ProtocolId.PROTO_IPSEC_ESP)])
    before = len(alice.sent)
    for _ in range(50):
        alice.do(lambda: alice.speaker.receive(Datagram(ALICE, 500, BOB, 500, data), net.now))
        net.run(0.001)
    assert len(alice.sent) == before + 1
    assert alice.pairs() == 1


def mangled(data: bytes, rng: random.Random) -> bytes:
    """A message with something wrong in it, its cookies mostly right."""
    octets = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        match rng.randrange(4):
            case 0:
                octets[rng.randrange(16 if rng.random() < 0.9 else 0, len(octets))] = rng.randrange(256)
            case 1:
                at = rng.randrange(28, len(octets) + 1)
                octets[at:at] = rng.randbytes(rng.randrange(1, 40))
            case 2 if len(octets) > 40:
                at = rng.randrange(28, len(octets) - 4)
                del octets[at : at + rng.randrange(1, 20)]
            case _:
                octets[rng.randrange(16, 20)] = rng.choice([0, 1, 2, 4, 5, 6, 8, 11, 12, 13, 32, 255])
    if rng.random() < 0.8:
        octets[24:28] = len(octets).to_bytes(4, "big")
    return bytes(octets)


@pytest.mark.parametrize("seed", range(8))
def test_malformed_messages_in_every_state_raise_nothing_and_stop_nobody(seed: int) -> None:
    net, alice, bob = pair(phase1_lifetime=300, phase2_lifetime=120)
    rng = random.Random(seed)

    def forge(number: int, send: Send) -> bool:
        if len(send.data) > 28 and net.now < 1300:
            for _ in range(6):
                data = mangled(send.data, rng)
                node = bob if send.remote == BOB else alice
                at = Datagram(node.address, send.remote_port, send.local or ALICE, send.local_port, data)
                net.after(rng.random() * 0.03, lambda node=node, at=at: node.do(
                    lambda: node.speaker.receive(at, net.now)))  # fmt: skip
        return False

    net.drop = forge
    bob.start(settled=True)
    alice.start()
    net.run(310)
    # Forgeries of phase 1, which nothing protects, can spoil an exchange, but not for longer than it lasts.
    net.run(150)
    assert matches(alice, bob)
    assert traffic(net, alice, bob, 60) == 0


@pytest.mark.parametrize("seed", range(4))
def test_random_octets_raise_nothing(seed: int) -> None:
    net, alice, bob = pair()
    start(net, alice, bob)
    rng = random.Random(seed)
    (session,) = bob.speaker._v1.ctx.sessions.values()
    for _ in range(3000):
        data = rng.randbytes(rng.randrange(120))
        if rng.random() < 0.7:
            body = rng.randbytes(16 * rng.randrange(1, 8))
            head = session.sa.icookie + session.sa.rcookie + bytes([rng.randrange(14), 0x10, rng.choice([2, 5, 32]), 1])
            data = head + rng.randbytes(4) + (28 + len(body)).to_bytes(4, "big") + body
        bob.do(lambda data=data: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, data), net.now))
    assert len(bob.logs) < 60
    assert traffic(net, alice, bob, 60) == 0
