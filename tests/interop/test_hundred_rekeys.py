"""A hundred rekeyings under 1,000 numbered datagrams a second each way: 50 begun by charon, 50 by secd, both phases."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from secd.lab.commands import wait_until
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role, rule, theirs
from secd.lab.probe import Probe

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(900)]

#: So short that secd has to begin one of each every few seconds.
MAIN = "main auth hmac-sha2-256 enc aes-256 group modp2048 lifetime 8"
QUICK = "quick auth hmac-sha2-256 enc aes-256 group modp2048 lifetime 6"
EACH = 25

#: How charon's log tells who began what.
BEGUN = {
    ("charon", "phase 1"): r"initiating Main Mode IKE_SA",
    ("secd", "phase 1"): r"is initiating a Main Mode IKE_SA",
    ("charon", "phase 2"): r"generating QUICK_MODE request \d+ \[ HASH SA",
    ("secd", "phase 2"): r"parsed QUICK_MODE request \d+ \[ HASH SA",
}


@pytest.mark.parametrize("role", ["initiator", "responder"])
def test_a_hundred_rekeyings_lose_nothing(
    pair: Pair, role: Role, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    pair.negotiate(role, rule(role, MAIN, QUICK), theirs())
    first = _spis(pair)
    start = _count(pair)
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=1000) as probe:
        for number in range(2 * EACH):
            pair.charon.rekey(**{("ike", "child")[number % 2]: "sec0"})
            time.sleep(0.7)  # less than secd would wait before it begins one itself
        by_charon = _since(pair, start)
        middle = _count(pair)
        wait_until(
            lambda: all(_since(pair, middle)["secd", phase] >= EACH for phase in ("phase 1", "phase 2")) or None,
            400, f"{EACH} rekeyings of each phase by secd", interval=1,
        )  # fmt: skip
        by_secd = _since(pair, middle)
        there, back = probe.stop()
    last = _spis(pair)
    figures = {
        "begun by charon": {phase: by_charon["charon", phase] for phase in ("phase 1", "phase 2")},
        "begun by secd": {phase: by_secd["secd", phase] for phase in ("phase 1", "phase 2")},
        "to charon": str(there), "to secd": str(back), "SPIs before": sorted(first), "SPIs after": sorted(last),
    }  # fmt: skip
    for name, value in figures.items():
        record_property(name, value)
    with capsys.disabled():
        print(f"\n  {role}: {figures}")
    assert not first & last
    assert (there.lost, back.lost) == (0, 0)
    assert len(pair.secd.sas()) <= 6


def _spis(pair: Pair) -> set[str]:
    return {f"{sa['spi']:08x}" for sa in pair.secd.sas()}


def _count(pair: Pair) -> dict[tuple[str, str], int]:
    log = pair.charon.log()
    return {what: len(re.findall(pattern, log)) for what, pattern in BEGUN.items()}


def _since(pair: Pair, before: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {what: count - before[what] for what, count in _count(pair).items()}
