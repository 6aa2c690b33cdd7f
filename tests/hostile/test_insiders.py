"""A peer that has the keys and no manners: floods under its own SA, and repeats without end."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

from chains import Names, notification
from network import ALICE, BOB, connection, matches
from scene import FuzzNetwork, Tapped, check_bounds, fresh, rehash, seal

from secd.ike.v1.quick_mode import MAX_AT_ONCE, MAX_PAIRS_ENDING
from secd.ike.v1.state import AnswerSent
from secd.ike.wire.iana import ExchangeType, PayloadType
from secd.ike.wire.isakmp import parse_header
from secd.sadb.messages import MAX_CHECKPOINT, Datagram


def up() -> tuple[FuzzNetwork, Tapped, Tapped]:
    net = FuzzNetwork()
    alice = Tapped(net, ALICE, [connection(ALICE, BOB)], seed=1)
    bob = Tapped(net, BOB, [connection(BOB, ALICE, mode="passive")], seed=2)
    bob.start(settled=True)
    alice.start()
    assert net.run(5.0, until=lambda: matches(alice, bob))
    return net, alice, bob


def bring(net: FuzzNetwork, node: Tapped, data: bytes) -> None:
    node.do(lambda: node.speaker.receive(Datagram(BOB, 500, ALICE, 500, data), net.now))
    check_bounds(node)


def restored(net: FuzzNetwork, bob: Tapped) -> None:
    """What is kept of Bob is what he is: another life goes on from there, and an honest peer comes up."""
    assert all(len(data) <= MAX_CHECKPOINT for data in bob.checkpoints.values())
    for session in bob.sessions():
        assert session.saved == bob.checkpoints.get(session.id, b"")
    bob.restart()
    net.nodes[0].reboot()
    assert net.run(200.0, until=lambda: matches(net.nodes[0], bob))


def test_a_flood_of_informational_exchanges_is_bounded_and_kept() -> None:
    net, alice, bob = up()
    alice.alive = False
    rng = Random(1)
    for number in range(5000):
        (session, *_) = bob.sessions()
        begun = fresh(rng, session, ExchangeType.INFORMATIONAL)
        if begun is None:
            break
        head, cbc = begun
        chain = rehash(bob, head, [(PayloadType.HASH, b""), notification(rng, Names())])
        if number % 100 == 0:
            net.now += 0.1
        bring(net, bob, seal(head, b"".join(_payloads(chain)), PayloadType.HASH, cbc))
    assert len(bob.logs) < 300
    alice.alive = True
    restored(net, bob)


def _payloads(chain: list[tuple[int, bytes]]) -> list[bytes]:
    following = [type_ for type_, _ in chain[1:]] + [0]
    return [bytes((after, 0)) + (4 + len(body)).to_bytes(2, "big") + body
            for after, (_, body) in zip(following, chain, strict=True)]  # fmt: skip


def test_quick_modes_without_end_are_answered_a_few_at_a_time() -> None:
    """Each has another nonce and SPI, none is ever confirmed."""
    net, alice, bob = up()
    offer = next(net.sealed[send.data].chain for send in alice.sent
                 if send.data in net.sealed and parse_header(send.data).exchange == ExchangeType.QUICK)  # fmt: skip
    alice.alive = False
    rng = Random(2)
    most = 0
    for _ in range(600):
        (session, *_) = bob.sessions()
        begun = fresh(rng, session, ExchangeType.QUICK)
        if begun is None:
            break
        head, cbc = begun
        chain = [(type_, rng.randbytes(len(body)) if type_ == PayloadType.NONCE else body) for type_, body in offer]
        chain = rehash(bob, head, chain)
        bring(net, bob, seal(head, b"".join(_payloads(chain)), PayloadType.HASH, cbc))
        most = max(most, len([each for each in bob.sas if each[1] == "in"]))
    assert most <= MAX_AT_ONCE + 4
    alice.alive = True
    restored(net, bob)


def test_a_peer_that_repeats_without_end_is_answered_a_dozen_times() -> None:
    net, alice, bob = up()
    for number, send in enumerate(list(alice.sent)):
        before = len(bob.sent)
        for _ in range(1000):
            bring(net, bob, send.data)
        assert len(bob.sent) - before <= 13, number
    assert matches(alice, bob)


def test_quick_modes_that_are_finished_as_fast_as_can_be_are_bounded_and_kept() -> None:
    """Hundreds of pairs in some seconds: few are there at a time, and what is kept is never out of date."""
    net, alice, bob = up()
    offer = next(net.sealed[send.data].chain for send in alice.sent
                 if send.data in net.sealed and parse_header(send.data).exchange == ExchangeType.QUICK)  # fmt: skip
    alice.alive = False
    rng, made, most = Random(3), 0, 0
    for _ in range(1200):
        established = [each for each in bob.sessions() if each.sa.established]
        begun = fresh(rng, established[0], ExchangeType.QUICK) if established else None
        if begun is None:
            break
        head, cbc = begun
        chain = [(type_, _renewed(rng, type_, body)) for type_, body in offer]
        bring(net, bob, seal(head, b"".join(_payloads(rehash(bob, head, chain))), PayloadType.HASH, cbc))
        quick = established[0].sa.quick.get(head.message_id)
        if quick is not None and isinstance(quick.state, AnswerSent):
            last = rehash(bob, head, [(PayloadType.HASH, b"")])
            cbc = established[0].cbc(established[0].keys, quick.iv)
            bring(net, bob, seal(head, b"".join(_payloads(last)), PayloadType.HASH, cbc))
            made += 1
        net.run(0.02)
        most = max(most, len(established[0].sa.children))
    assert made > 30
    assert most <= MAX_PAIRS_ENDING
    alice.alive = True
    restored(net, bob)


def test_an_sa_that_has_outgrown_its_checkpoint_is_kept_no_more_and_replaced() -> None:
    net, _, bob = up()
    (session,) = bob.sessions()
    session.sa.vendor = "x" * MAX_CHECKPOINT  # any growth will do
    bob.do(lambda: bob.speaker.rekey("sec0", "child", net.now))
    net.run(30.0)
    assert session.id not in bob.checkpoints
    assert [each.id for each in bob.sessions() if each.saved] == list(bob.checkpoints)
    assert bob.codes().count("phase1-up") == 2


def _renewed(rng: Random, type_: int, body: bytes) -> bytes:
    """Another nonce, another SPI."""
    if type_ == PayloadType.NONCE:
        return rng.randbytes(len(body))
    return body[:16] + rng.randbytes(4) + body[20:] if type_ == PayloadType.SA else body
