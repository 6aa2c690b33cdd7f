"""IKEv1 messages played again, thrown back, or come from elsewhere: found by the fuzzer, kept as examples."""

from __future__ import annotations

import msgspec
import pytest
from network import AES, ALICE, BOB, Nat, Network, Node, matches, pair, start

from secd.ike.connection import Cipher, DeadPeerDetection, Phase2Proposal
from secd.ike.contract import Send
from secd.ike.v1.state import IsakmpSA
from secd.ike.wire.isakmp import parse_header
from secd.sadb.messages import Datagram

ELSEWHERE = "203.0.113.7"


def play(net: Network, node: Node, data: bytes, *, source: str = ELSEWHERE, port: int = 4500) -> list[Send]:
    """Bring `data` to `node` from `source`; give what it answers."""
    before = len(node.sent)
    node.do(lambda: node.speaker.receive(Datagram(node.address, port, source, port, data), net.now))
    net.run(0.005)
    return node.sent[before:]


def informational(node: Node) -> list[bytes]:
    return [send.data for send in node.sent if send.data != b"\xff" and parse_header(send.data).exchange == 5]


def state_of(node: Node) -> IsakmpSA:
    """The SA as it would be taken up again."""
    (data,) = node.checkpoints.values()
    return msgspec.msgpack.decode(data, type=IsakmpSA)


def behind_nat(**changes: object) -> tuple[Network, Node, Node]:
    net, alice, bob = pair(Network(), **changes)
    bob.connections = [msgspec.structs.replace(each, peer=None) for each in bob.connections]
    net.nats[ALICE] = Nat(ALICE, "192.0.2.99")
    return net, alice, bob


def test_a_question_of_ours_that_is_thrown_back_is_neither_answered_nor_a_sign_of_life() -> None:
    net, alice, bob = behind_nat(dpd=DeadPeerDetection(5, 2, 3))
    start(net, alice, bob)
    bob.listening = bob.alive = False
    net.run(7.0)
    (question,) = informational(alice)[-1:]
    assert "peer-dead" not in alice.codes()
    for source in (BOB, ELSEWHERE):
        assert play(net, alice, question, source=source) == []
    assert state_of(alice).endpoint.remote == BOB
    net.run(20.0)
    assert "peer-dead" in alice.codes()


def test_a_delete_of_ours_that_is_thrown_back_moves_nobody() -> None:
    net, alice, bob = behind_nat()
    start(net, alice, bob)
    spi = alice.outbound().spi
    alice.expire(spi, "out", "deleted")
    (delete,) = informational(alice)[-1:]
    assert play(net, alice, delete) == []
    assert state_of(alice).endpoint.remote == BOB


def test_questions_played_again_are_not_answered_however_old_they_are() -> None:
    net, alice, bob = behind_nat(dpd=DeadPeerDetection(1, 1, 3))
    start(net, alice, bob)
    net.run(1000.0)
    questions = informational(alice)
    assert len(questions) > 600
    for question in (questions[0], questions[1], questions[len(questions) // 2], questions[-1]):
        assert play(net, bob, question) == []
    assert state_of(bob).endpoint.remote == "192.0.2.99"
    assert len(state_of(bob).recent) < 10


def test_a_quick_mode_that_was_refused_is_not_refused_again() -> None:
    net, alice, bob = behind_nat()
    bob.connections = [
        msgspec.structs.replace(each, phase2=(Phase2Proposal(Cipher("aes-gcm", 256, 256, 256), "", "ecp256"),))
        for each in bob.connections
    ]
    bob.start(settled=True)
    alice.start()
    net.run(3.0, until=lambda: "proposal-mismatch" in alice.codes())
    offer = next(send.data for send in alice.sent if parse_header(send.data).exchange == 32)
    assert play(net, bob, offer) == []
    assert state_of(bob).endpoint.remote == "192.0.2.99"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_peer_that_moves_in_the_middle_of_a_quick_mode_gets_its_packets_where_it_is(number: int) -> None:
    net, alice, bob = behind_nat(phase2=(Phase2Proposal(AES, "hmac-sha2-256", ""),))
    start(net, alice, bob)
    quick = 0

    def rebind(_: int, send: Send) -> bool:
        nonlocal quick
        if send.data != b"\xff" and parse_header(send.data).exchange == 32:
            quick += 1
            if quick == number:
                net.nats[ALICE].rebind()
        return False

    net.drop = rebind
    bob.do(lambda: bob.speaker.rekey("sec0", "child", net.now))
    net.run(30.0)
    assert quick >= 3
    assert matches(alice, bob)
    port = net.nats[ALICE].table[ALICE, 4500]
    assert {entry.sa.udpencap.remote_port for entry in bob.sas.values()} == {port}
    bob.reconfigure()
    net.run(10.0)
    assert bob.sas == {}
