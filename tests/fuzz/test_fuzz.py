"""A little of every fuzzer in each run of the tests; `python tests/fuzz` is the whole of them (docs/fuzzing.md)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from keyed import play
from scene import Attack
from targets import ALL

HERE = Path(__file__).parent
#: Seconds for each of the targets, and inputs that the keyed one has to get through whatever machine it is.
SECONDS, LEAST = 2.0, 1500
#: What `make test-long` puts through each, as many as take some minutes.
LONG = {
    "keyed": 500_000, "wire": 1_000_000, "checkpoints": 300_000, "ipsec.conf": 60_000, "iked.conf": 40_000,
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
    assert inputs >= (LEAST if name == "keyed" else 1)


#: Rounds in which something once gave way.
FOUND = (0, 5, 6, 20, 22, 24, 53, 66, 71, 72, 112)


@pytest.mark.parametrize("seed", FOUND)
def test_what_gave_way_once_does_so_no_more(seed: int) -> None:
    play(seed, Attack(), 1500)


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
