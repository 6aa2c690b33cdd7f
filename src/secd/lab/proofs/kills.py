"""kill -9 of iked, again and again under traffic: nothing lost, nothing negotiated, and the next rekey still works."""

from __future__ import annotations

import os
import signal
import time
from typing import Literal

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab, is_running
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role
from secd.lab.probe import Probe
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence
from secd.lab.strongswan import IkeSA

RATE = 1000
#: What charon may be told of a second SA of the same peer: swanctl's default, and ipsec.conf's (`uniqueids = yes`).
UNIQUE: tuple[Literal["no", "replace"], ...] = ("no", "replace")


def prove(lab: Lab, evidence: Evidence) -> None:
    """Kill it in every role and with each of charon's rules for a second SA."""
    kills, lifetime = (2, 14) if evidence.short else (10, 60)
    roles: tuple[Role, ...] = ("initiator",) if evidence.short else ("initiator", "responder")
    with scene.scene(lab, evidence) as pair:
        for unique in UNIQUE[1:] if evidence.short else UNIQUE:
            for role in roles:
                _kills(pair, evidence, role, kills=kills, lifetime=lifetime, unique=unique)
                pair.clear()


def _kills(
    pair: Pair, evidence: Evidence, role: Role, *, kills: int, lifetime: int, unique: Literal["no", "replace"]
) -> None:
    name = f"secd {role}, uniqueids {unique}"
    before = pair.negotiate(role, pair.rule(role, lifetime=lifetime), pair.theirs(unique=unique))
    log = len(pair.charon.log())
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE) as probe:
        away = [_kill(pair) for _ in range(kills)]
        at_the_kills = pair.charon.log()[log:]
        after_kills = pair.charon.list_sas()
        taken_up = "IKE SAs taken up where they were: 1" in pair.secd.daemon.text()
        wait_until(lambda: _all_new(pair, before), lifetime * 1.5, "a rekey of both kinds", interval=0.3)
        after = scene.wait_single(pair)
        outbound, inbound = probe.stop()
    evidence.stream(f"{name}: secd to charon", outbound)
    evidence.stream(f"{name}: charon to secd", inbound)
    evidence.figure(
        name, kills=kills, longest_away_ms=round(1000 * max(away)), average_away_ms=round(1000 * sum(away) / kills),
        renegotiations=at_the_kills.count(" established "), ike_sa=f"{before.unique_id}, then {after.unique_id}",
    )  # fmt: skip
    same = len(after_kills) == 1 and scene.cookies(after_kills[0]) == scene.cookies(before)
    evidence.check(
        f"{name}: after {kills} kills charon has the SAs of before, and has seen nothing negotiated",
        same and scene.their_spis(after_kills) == scene.child_spis(before) and " established " not in at_the_kills
        and taken_up,
        f"IKE SAs {[sa.unique_id for sa in after_kills]}, SPIs {sorted(map(hex, scene.their_spis(after_kills)))}",
    )  # fmt: skip
    evidence.check(
        f"{name}: the next rekey of each kind of SA works", scene.cookies(after) != scene.cookies(before),
        f"charon's IKE SA {before.unique_id}, then {after.unique_id}",
    )  # fmt: skip


def _kill(pair: Pair) -> float:
    """Kill iked; give the seconds until its successor was ready."""
    log = len(pair.secd.daemon.text())
    pid = pair.secd.processes()["iked"]
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    pair.secd.daemon.wait_for("iked is ready", 10, after=log)
    away = time.monotonic() - begun
    wait_until(lambda: not is_running(pid), 2, "end of iked")
    time.sleep(0.5)
    return away


def _all_new(pair: Pair, before: IkeSA) -> bool:
    """Whether charon has an IKE SA and a pair that it did not have."""
    sas = scene.established(pair.charon.list_sas())
    fresh = scene.their_spis(sas) - scene.child_spis(before)
    return bool(fresh) and any(scene.cookies(sa) != scene.cookies(before) for sa in sas)
