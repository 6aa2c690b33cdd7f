"""A hundred rekeys under traffic: of both kinds of SA, half of them begun by the peer, and not one packet lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from secd.lab.commands import wait_until
from secd.lab.namespaces import Lab
from secd.lab.pair import INNER_THEM, INNER_US, Pair, Role
from secd.lab.probe import Probe
from secd.lab.proofs import scene
from secd.lab.proofs.evidence import Evidence
from secd.lab.strongswan import IkeSA

RATE = 1000
#: Seconds that one rekey may take, a turned down one's second attempt included.
PATIENCE = 30.0


@dataclass
class Seen:
    """What charon has had so far: IKE SAs by both their SPIs, pairs by theirs."""

    ike: set[str] = field(default_factory=set)
    pairs: set[frozenset[int]] = field(default_factory=set)

    def note(self, sas: list[IkeSA]) -> bool:
        """Add what is there; say whether something was new."""
        ike = {scene.cookies(sa) for sa in scene.established(sas)} - self.ike
        pairs = {
            frozenset((int(child.spi_in, 16), int(child.spi_out, 16)))
            for sa in sas for child in sa.children if child.state == "INSTALLED"
        } - self.pairs  # fmt: skip
        self.ike |= ike
        self.pairs |= pairs
        return bool(ike or pairs)


def prove(lab: Lab, evidence: Evidence) -> None:
    """Rekey in turn: ours and theirs, ESP SAs and IKE SA."""
    count = 4 if evidence.short else 100
    roles: tuple[Role, ...] = ("initiator",) if evidence.short else ("initiator", "responder")
    with scene.scene(lab, evidence) as pair:
        for role in roles:
            _rekeys(pair, evidence, role, count)
            pair.clear()


def _rekeys(pair: Pair, evidence: Evidence, role: Role, count: int) -> None:
    before = pair.negotiate(role, pair.rule(role), pair.theirs())
    drops = scene.drops(pair)
    seen = Seen()
    seen.note([before])
    orders: list[tuple[str, Callable[[], object]]] = [
        ("our child", lambda: pair.secd.sec("rekey", "sec0")),
        ("their child", lambda: pair.charon.rekey(child="sec0")),
        ("our ike", lambda: pair.secd.sec("rekey", "--ike", "sec0")),
        ("their ike", lambda: pair.charon.swanctl("--rekey", "--ike-id", str(_newest(pair).unique_id))),
    ]
    with Probe(pair.us, INNER_US, pair.them, INNER_THEM, rate=RATE) as probe:
        for number, (who, order) in enumerate(itertools.islice(itertools.cycle(orders), count)):
            order()
            with pair.told():
                wait_until(lambda: seen.note(pair.charon.list_sas()), PATIENCE, f"{role}: rekey {number}, {who}")
            if "child" in who and not evidence.short:  # one after the other, as in life
                scene.wait_single(pair)
        after = scene.wait_single(pair)
        outbound, inbound = probe.stop()
    evidence.stream(f"secd {role}, secd to charon", outbound)
    evidence.stream(f"secd {role}, charon to secd", inbound)
    evidence.figure(
        f"secd {role}", rekeys=count, ike_SAs=len(seen.ike), pairs=len(seen.pairs),
        pair_before=_words(before), pair_after=_words(after), new_drops=_difference(drops, scene.drops(pair)) or "none",
    )  # fmt: skip
    evidence.check(
        f"secd {role}: every rekey made something new",
        len(seen.ike) == 1 + count // 2 and len(seen.pairs) == 1 + count // 2,
        f"{len(seen.ike)} IKE SAs, {len(seen.pairs)} pairs in {count} rekeys",
    )  # fmt: skip
    evidence.check(
        f"secd {role}: all SPIs changed, one pair at the end",
        not scene.child_spis(before) & scene.child_spis(after) and scene.cookies(before) != scene.cookies(after),
        f"{_words(before)} before, {_words(after)} after",
    )  # fmt: skip


def _newest(pair: Pair) -> IkeSA:
    """The IKE SA that was made last: the one before is there for some seconds."""
    return max(scene.established(pair.charon.list_sas()), key=lambda sa: sa.unique_id)


def _words(sa: IkeSA) -> str:
    return " ".join(f"{spi:08x}" for spi in sorted(scene.child_spis(sa)))


def _difference(before: dict[str, int], after: dict[str, int]) -> str:
    new = {name: count - before.get(name, 0) for name, count in after.items()}
    return ", ".join(f"{name} {count}" for name, count in new.items() if count)
