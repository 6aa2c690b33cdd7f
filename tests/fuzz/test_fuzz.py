"""A little of every fuzzer in each run of the tests; `python tests/fuzz` is the whole of them (docs/fuzzing.md)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from ikev2_keyed import Round2, Turn2, new_pair, request_head
from ikev2_scene import Tapped2, read, seal, seal_octets
from keyed import AggressiveRound, Round, play
from network import ALICE, BOB, start
from scene import Attack, FuzzNetwork, Seen, Tapped
from targets import ALL, ROUNDS
from v2_support import connection as connection2

from secd.ike.contract import Send
from secd.ike.speaker import Speaker
from secd.ike.v2.pairs import MAX_PAIRS
from secd.ike.v2.tending import MAX_SAS
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, PayloadType
from secd.sadb.messages import Datagram

HERE = Path(__file__).parent
#: Seconds for each of the targets, and inputs that the keyed ones have to get through whatever machine it is.
SECONDS, LEAST = 2.0, 1500
#: What `make test-long` puts through each, as many as take some minutes.
LONG = {
    "keyed": 500_000, "keyed-aggressive": 200_000, "keyed-ikev2": 1_000_000,
    "wire": 1_000_000, "checkpoints": 300_000, "checkpoints-ikev2": 300_000, "ipsec.conf": 60_000, "iked.conf": 40_000,
    "hostname.secN": 300_000, "messages": 1_500_000,
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_nothing_gives_way(name: str) -> None:
    target, seed, inputs = ALL[name](), 0, 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or not inputs:
        seed += 1
        inputs += target.once(Random(seed)) or 1
    print(f"{inputs} inputs; {target.notes()}")
    assert inputs >= (LEAST if name in ROUNDS else 1)


#: Rounds in which something once gave way.
FOUND = (0, 5, 6, 20, 22, 24, 53, 66, 71, 72, 112)


@pytest.mark.parametrize("seed", FOUND)
def test_what_gave_way_once_does_so_no_more(seed: int) -> None:
    play(seed, Attack(), 1500)


@pytest.mark.parametrize(("kind", "seed"), [(Round2, 760852612532), (AggressiveRound, 720293803376)])
def test_what_gave_way_once_elsewhere_does_so_no_more(kind: type[Round], seed: int) -> None:
    play(seed, Attack(), 1500, kind)


def test_the_attacker_gets_into_every_state() -> None:
    attack = Attack()
    for seed in range(1000, 1060):
        play(seed, attack, 600)
        if len(attack.states) >= 15:
            break
    assert attack.states >= {
        "initiator OfferSent", "initiator KeySent", "initiator IdentitySent", "initiator Established",
        "responder OfferTaken", "responder KeyAnswered", "responder Established",
        "initiator quick ProposalSent", "initiator quick Finished", "responder quick AnswerSent",
    }  # fmt: skip
    assert set(attack.kinds) == {"octets", "header", "replay", "clear", "sealed", "own exchange"}


#: States of IKEv2 in which the receiver has to be met.
STATES = {
    "initiator InitSent", "initiator Between", "initiator AuthSent", "initiator Established", "initiator Pending",
    "responder InitAnswered", "responder Established", "responder Pending", "responder Closed",
    *(f"{role} waits for {what}" for role in ("initiator", "responder")
      for what in ("CreateChild", "RekeyIke", "Probe")),
    "initiator waits for DeleteChildren",
}  # fmt: skip


def test_the_attacker_of_ikev2_gets_into_every_state() -> None:
    attack = Attack()
    for seed in range(1000, 1060):
        play(seed, attack, 300, Round2)
        if attack.states >= STATES:
            break
    assert attack.states >= STATES
    assert set(attack.kinds) == {
        "octets", "header", "replay", "clear", "sealed", "own request", "own answer", "fragment", "flood",
    }  # fmt: skip


def test_an_insider_of_ikev2_gets_no_more_pairs_than_there_may_be() -> None:
    net, rng, seen = FuzzNetwork(), Random(1), Seen()
    alice = Tapped2(net, ALICE, [connection2(ALICE, BOB)], seed=1)
    bob = Tapped2(net, BOB, [connection2(BOB, ALICE, mode="passive")], seed=2)

    def listen(send: Send, node: Tapped, source: tuple[str, int]) -> bool:
        seen.record(send, read(node, send, source))
        return True

    net.attacker = listen
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.rekey("sec0", "child", net.now))
    net.run(80.0)
    alice.listening = False
    (session,) = (each for each in bob.sessions() if each.sa.established)
    for _ in range(100):
        turn = Turn2(rng, net, bob, alice.sent[-1], (ALICE, 500), seen, set(), insider=True)
        head = request_head(session, ExchangeType.CREATE_CHILD_SA, session.sa.next_in)
        data = seal(rng, session, head, new_pair(turn))
        bob.do(lambda data=data: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, data), net.now))  # type: ignore[misc]
        bob.check()
    assert len(session.sa.children) == MAX_PAIRS


def test_an_insider_of_ikev2_gets_no_more_ike_sas_than_there_may_be() -> None:
    net = FuzzNetwork()
    alice = Tapped2(net, ALICE, [connection2(ALICE, BOB)], seed=1)
    bob = Tapped2(net, BOB, [connection2(BOB, ALICE, mode="passive")], seed=2)
    bob.start(settled=True)
    for _ in range(50):
        alice.sas.clear()
        alice.order.clear()
        alice.checkpoints.clear()
        alice.speaker = Speaker(alice.rng.randbytes)
        alice.ctx.contacted.add(BOB)  # so that nothing is said of an initial contact
        alice.start()
        assert net.run(1.0, until=lambda: alice.outbound() is not None)
        bob.check()
    assert len(bob.sessions()) == 1 + MAX_SAS


def test_nonsense_in_answer_to_a_delete_leaves_no_sa_behind() -> None:
    net, rng = FuzzNetwork(), Random(1)
    alice = Tapped2(net, ALICE, [connection2(ALICE, BOB)], seed=1)
    bob = Tapped2(net, BOB, [connection2(BOB, ALICE, mode="passive")], seed=2)
    start(net, alice, bob)
    (session,) = bob.sessions()
    session.sa.delete_at = net.now
    alice.listening = False
    bob.do(lambda: (bob.ctx.touch(session), bob.speaker._v2.settle()))
    assert session.sa.children
    head = replace(request_head(session, ExchangeType.INFORMATIONAL, 0), flags=Flag.RESPONSE | Flag.INITIATOR)
    data = seal_octets(rng, session, head, b"nonsense", PayloadType.N)
    bob.do(lambda: bob.speaker.receive(Datagram(BOB, 500, ALICE, 500, data), net.now))
    assert session.sa.children
    net.run(5.0)
    assert not bob.sas
    assert not session.sa.children


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("parser", ["ikev1", "ikev2", "ipsec.conf", "iked.conf", "hostname.secN"])
def test_what_the_guided_fuzzer_finds_gives_way_nowhere(parser: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(HERE / "guided.py"),
        parser,
        str(tmp_path / "corpus"),
        "-max_total_time=120",
        "-seed=7",
    ]
    done = subprocess.run(command, check=False, timeout=600, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LONG)
def test_millions_of_inputs(name: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, str(HERE), name, "--inputs", str(LONG[name]), "--seed", "1000000", "--json", str(result)]
    subprocess.run(command, check=True, timeout=3600)
    (told,) = json.loads(result.read_text())
    assert told["inputs"] >= LONG[name]
    assert told["rss_after"] - told["rss_before"] < 32
