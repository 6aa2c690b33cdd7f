"""Interleaved rounds, and ratios of what was measured side by side in them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.measures import Measure, Sample
from bench.tunnels import Tunnel
from secd.lab.commands import LabError

#: Share of the machine that others may have in a sample, and how often such a sample is taken again.
FOREIGN = 0.15
RETRIES = 3


@dataclass
class Contest:
    """One measure of several tunnels; ratios are of the first against each other one."""

    measure: Measure
    tunnels: Sequence[Tunnel]
    #: Of each round, the samples in the order of `tunnels`.
    rounds: list[list[Sample]] = field(default_factory=list)

    def run(self, rounds: int, *, scale: float = 1.0, retries: int = RETRIES, say: Callable[[str], None]) -> None:
        """Take `rounds` rounds; every second one goes through the tunnels backwards."""
        for number in range(rounds):
            order = list(range(len(self.tunnels)))
            if number % 2:
                order.reverse()
            samples: dict[int, Sample] = {}
            for i in order:
                samples[i] = self._sample(self.tunnels[i], scale, retries)
            self.rounds.append([samples[i] for i in range(len(self.tunnels))])
            shown = "  ".join(f"{t.name}[{t.suite}] {s.value:.0f}" + "*" * (s.usage.foreign > FOREIGN)
                              for t, s in zip(self.tunnels, self.rounds[-1], strict=True))  # fmt: skip
            say(f"{self.measure.name} {number + 1}/{rounds}: {shown}")

    def _sample(self, tunnel: Tunnel, scale: float, retries: int) -> Sample:
        """The first undisturbed sample, or else the least disturbed."""
        tunnel.set_mtu(self.measure.mtu)
        taken: list[Sample] = []
        failed: LabError | None = None
        for _ in range(1 + max(retries, 1)):
            if len(taken) > retries:
                break
            try:
                taken.append(self.measure.take(tunnel, self.measure.seconds * scale))
            except LabError as error:  # a machine so busy that the load itself does not end
                failed = error
                continue
            if taken[-1].usage.foreign <= FOREIGN:
                break
        if not taken:
            raise failed or LabError(f"{tunnel.name}: {self.measure.name} gave nothing")
        return min(taken, key=lambda sample: sample.usage.foreign)

    def values(self, index: int, name: str = "") -> list[float]:
        """Give a tunnel's values, or what else was read by `name`."""
        return [samples[index].more[name] if name else samples[index].value for samples in self.rounds]


@dataclass(frozen=True)
class Result:
    """Ratios of one measure against one peer, as `build/bench/quick.json` has them."""

    measure: str
    peer: str
    peer_version: str
    suite: str
    ratio_median: float
    ratio_min: float
    ratio_max: float
    samples: int
    foreign_cpu: float
    command: str
    commit: str

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Origin:
    """Where results come from."""

    command: str
    commit: str


def compare(contest: Contest, ours: int, theirs: int, origin: Origin, *, name: str = "", peer: str = "") -> Result:
    """Ratios of tunnel `ours` to tunnel `theirs`, round by round; `name` picks a further reading."""
    pairs = zip(contest.values(ours, name), contest.values(theirs, name), strict=True)
    ratios = [mine / other for mine, other in pairs if other > 0]
    foreign = [samples[i].usage.foreign for samples in contest.rounds for i in (ours, theirs)]
    tunnel, other = contest.tunnels[ours], contest.tunnels[theirs]
    return Result(
        measure=contest.measure.name + (f"-{name}" if name else ""),
        peer=peer or other.name,
        peer_version=other.version,
        suite=tunnel.suite,
        ratio_median=statistics.median(ratios),
        ratio_min=min(ratios),
        ratio_max=max(ratios),
        samples=len(ratios),
        foreign_cpu=statistics.median(foreign),
        command=origin.command,
        commit=origin.commit,
    )


def best(contest: Contest, peers: Sequence[int]) -> int:
    """Give which of `peers` is best, by its median."""
    choose = max if contest.measure.more_is_better else min
    return choose(peers, key=lambda i: statistics.median(contest.values(i)))
