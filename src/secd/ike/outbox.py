"""What one step wants done, put into the order that the shell relies on.

A step is all that happens on one input.  Its outputs go to the data plane together or not at all, so their order is
about meaning, not about crashes: SAs first, then the checkpoint that speaks of them, then the datagrams that tell
the peer, then the SAs that wait for those, and last the questions whose answers start the next step.
"""

from __future__ import annotations

from operator import itemgetter

from secd.ike.contract import (
    AddSA,
    AssignAddress,
    DeleteSA,
    DropCheckpoint,
    ExpectFrom,
    Log,
    Output,
    SaveCheckpoint,
    Send,
    UpdateSA,
)

_CHANGES = (AddSA, UpdateSA, DeleteSA, AssignAddress)
_CHECKPOINTS = (SaveCheckpoint, DropCheckpoint)
_AFTER_SEND = 4


class Outbox:
    """Collects the outputs of the step under way behind those of the finished ones."""

    def __init__(self) -> None:
        """Start empty."""
        self._finished: list[Output] = []
        self._step: list[tuple[int, Output]] = []

    def put(self, output: Output) -> None:
        """Add an output of the step under way; a change of an SA comes behind what adds it."""
        rank = _rank(output)
        if isinstance(output, UpdateSA | DeleteSA) and any(_adds(each, output) for _, each in self._step):
            rank = _AFTER_SEND
        self._step.append((rank, output))

    def put_after_send(self, output: AddSA) -> None:
        """Add an SA that is to be used only once the step's datagrams are under way."""
        self._step.append((_AFTER_SEND, output))

    def finish_step(self) -> None:
        """Put the step's outputs in order, each kind in the order in which it was added."""
        if self._step:
            self._finished += [output for _, output in sorted(self._step, key=itemgetter(0))]
            self._step = []

    def drop_step(self) -> None:
        """Forget the outputs of a step that did not come to its end."""
        self._step = []

    def take(self) -> list[Output]:
        """Everything from finished steps; empties the box."""
        taken, self._finished = self._finished, []
        return taken


def _adds(output: Output, change: UpdateSA | DeleteSA) -> bool:
    return isinstance(output, AddSA) and (output.sa.spi, output.sa.direction) == (change.spi, change.direction)


def _rank(output: Output) -> int:
    if isinstance(output, Log | ExpectFrom):
        return 0
    if isinstance(output, _CHANGES):
        return 1
    if isinstance(output, _CHECKPOINTS):
        return 2
    if isinstance(output, Send):
        return 3
    return 5
