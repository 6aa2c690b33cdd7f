"""A peer that loses power: charon killed and started again, in either role; at the latest DPD notices."""

from __future__ import annotations

import time
from dataclasses import dataclass

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role
from secd.lab.probe import Probe
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence
from secd.lab.strongswan import IkeSA

#: What DPD takes at its defaults: asked after 10 s of silence, given up after five questions, 5 s apart.
DPD = 10.0 + 5 * 5
NEGOTIATION = 5.0
RATE = 100


@dataclass(frozen=True)
class Case:
    """`away`: seconds without power; `limit` counts from their end.  `starts`: then the peer begins by itself."""

    name: str
    role: Role
    away: float
    starts: bool
    limit: float
    traffic: bool = True


def prove(lab: Lab, evidence: Evidence) -> None:
    """Cut the power, restore it, and wait until packets pass both ways."""
    cases = [
        Case("responder; charon begins when it is back", "responder", 1.0, starts=True, limit=NEGOTIATION),
        Case("initiator; charon waits", "initiator", 1.0, starts=False, limit=DPD + NEGOTIATION),
        Case("initiator; charon begins when it is back", "initiator", 1.0, starts=True, limit=NEGOTIATION),
        Case("initiator; no traffic", "initiator", 1.0, starts=False, limit=DPD + NEGOTIATION, traffic=False),
        # Given up, and tried again after growing pauses: what is sent to a dead host is repeated for 62 s.
        Case("initiator; charon is away for 60 s", "initiator", 60.0, starts=False, limit=20.0),
        Case("responder; charon is away for 60 s", "responder", 60.0, starts=True, limit=NEGOTIATION),
    ]
    with scene.scene(lab, evidence) as pair:
        for case in cases[:1] if evidence.short else cases:
            _case(pair, evidence, case)
            pair.clear()


def _case(pair: Pair, evidence: Evidence, case: Case) -> None:
    name = f"secd {case.role}"
    peer = pair.theirs(start="start" if case.starts else "none")
    if case.role == "initiator":  # who begins comes last
        pair.charon.load(peer)
    pair.load(pair.rule(case.role))
    if case.role == "responder":
        pair.charon.load(peer)
    pair.secd.wait_up("sec0")
    before = wait_until(pair.charon.established, 10, "charon's tunnel")
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE if case.traffic else 1) as probe:
        wait_until(lambda: min(probe.received()) >= (RATE // 4 if case.traffic else 1), 10, "traffic before")
        pair.charon.kill()
        time.sleep(case.away)
        pair.charon.restart()
        pair.charon.inner(INNER_THEM, INNER_US)
        back = time.monotonic()
        with pair.told():
            after = wait_until(lambda: _new(pair, before), case.limit + 60, f"{name}: {case.name}: a new tunnel")
        seconds = time.monotonic() - back
        marks = probe.received()
        wait_until(lambda: min(n - m for n, m in zip(probe.received(), marks, strict=True)) > 1, 10, "traffic after")
    single = scene.wait_single(pair)
    name = f"secd {case.name}"
    evidence.figure(name, away_s=case.away, back_after_s=round(seconds, 1), limit_s=case.limit)
    evidence.check(f"{name}: back within {case.limit:g} s", seconds <= case.limit, f"{seconds:.1f} s")
    evidence.check(f"{name}: one pair", scene.cookies(single) == scene.cookies(after), "")


def _new(pair: Pair, before: IkeSA) -> IkeSA | None:
    sa = pair.charon.established()
    return sa if sa is not None and scene.cookies(sa) != scene.cookies(before) else None
