"""Carries out what the machine wants: the data plane's part as one message a step, questions to whoever can answer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from secd.control.family import KeyResult, PRFRequest, SignRequest
from secd.ike.contract import (
    AddSA,
    Answer,
    ComputeFailed,
    ComputePRF,
    ComputeSharedSecret,
    ComputeSignature,
    DeleteSA,
    DropCheckpoint,
    Encapsulate,
    GenerateKeyPair,
    LastUse,
    Log,
    Output,
    PRFResult,
    QueryLastUse,
    QueryTime,
    RequestId,
    ReservedSPI,
    ReserveSPI,
    SAFailed,
    SaveCheckpoint,
    SignatureResult,
    TimeOfDay,
    UpdateSA,
)
from secd.iked.batches import BatchRequest, octets, to_request
from secd.iked.logs import Logs
from secd.iked.seam import Seam, SingleAnswer
from secd.sadb.messages import CheckpointForget, CheckpointInUse, Delete, Direction, Entry, Failed, Reserved

AnswerMachine = Callable[[RequestId, Answer], None]
Question = (
    ReserveSPI | GenerateKeyPair | ComputeSharedSecret | Encapsulate | ComputePRF | ComputeSignature | QueryLastUse
    | QueryTime
)  # fmt: skip


class Computes(Protocol):
    """What does Diffie-Hellman: `secd.iked.compute.Computer`."""

    def submit(
        self, request: GenerateKeyPair | ComputeSharedSecret | Encapsulate, on_result: Callable[[Answer], None]
    ) -> None:
        """Compute, and call `on_result` from the event loop, later."""


class Carrier:
    """Knows the data plane, the key holder and the computer; keeps the last checkpoint of each IKE SA."""

    def __init__(
        self,
        seam: Seam,
        ask_parent: Callable[[PRFRequest | SignRequest], None],
        computer: Computes,
        logs: Logs,
        answer: AnswerMachine,
    ) -> None:
        """`answer` takes an answer to the machine."""
        self._seam = seam
        self._ask_parent = ask_parent
        self._computer = computer
        self._logs = logs
        self._answer = answer
        self._key_requests: dict[int, tuple[RequestId, type[PRFResult | SignatureResult]]] = {}
        self._key_seqs = itertools.cycle(range(1, 1 << 32))
        self._in_use: str | None = None
        self.checkpoints: dict[str, bytes] = {}
        #: What the data plane could not have read; each is a mistake of the machine's.
        self.invalid = 0
        #: SAs are negotiated, but the data plane does not get them.
        self.decoupled = False

    def carry_out(self, outputs: list[Output]) -> None:
        """Do it: first what belongs together, then the questions."""
        batch: list[tuple[BatchRequest, int]] = []
        questions: list[Question] = []
        for output in outputs:
            if isinstance(output, Log):
                self._logs(output)
            elif isinstance(output, Question):
                questions.append(output)
            elif not (self.decoupled and isinstance(output, AddSA | UpdateSA | DeleteSA)):
                self._append(batch, output)
        self._seam.send_batch(batch)
        for question in questions:
            self._ask(question)

    def use(self, checkpoint_id: str | None) -> None:
        """Say which IKE SA is worked on: if that kills us, it gets a strike."""
        if checkpoint_id != self._in_use:
            self._in_use = checkpoint_id
            self._seam.send(CheckpointInUse(checkpoint_id))

    @property
    def in_use(self) -> str | None:
        """The IKE SA that is worked on."""
        return self._in_use

    def delete(self, spi: int, direction: Direction, destination: str) -> None:
        """Delete an SA that the machine knows nothing of."""
        self._seam.send(Delete(self._seam.next_seq(_ignore), spi, direction, destination))

    def forget(self, checkpoint_id: str) -> None:
        """Drop a checkpoint."""
        self.checkpoints.pop(checkpoint_id, None)
        self._seam.send(CheckpointForget(checkpoint_id))

    def on_key_result(self, result: KeyResult) -> None:
        """Take an answer of the key holder."""
        request_id, kind = self._key_requests.pop(result.seq, (None, PRFResult))
        if request_id is not None:
            self._answer(request_id, ComputeFailed(result.error) if result.error else kind(result.data))

    def _append(self, batch: list[tuple[BatchRequest, int]], output: Output) -> None:
        request = to_request(output, self._seq_for(output))
        if request is None:
            return
        try:
            batch.append((request, octets(request)))
        except msgspec.ValidationError as error:
            self.invalid += 1
            kind = type(request).__name__
            self._logs.own("error", "invalid", f"left out a {kind} that the data plane would not read: {error}")
            if isinstance(output, AddSA):
                self._later(output.request_id, SAFailed(str(error)))
            return
        if isinstance(output, SaveCheckpoint):
            self.checkpoints[output.id] = output.data
        elif isinstance(output, DropCheckpoint):
            self.checkpoints.pop(output.id, None)

    def _seq_for(self, output: Output) -> int:
        """Number a request to the data plane, and see to its answer."""
        if isinstance(output, AddSA):
            request_id = output.request_id

            def on_added(answer: SingleAnswer) -> None:
                if isinstance(answer, Failed):
                    self._answer(request_id, SAFailed(answer.message))

            return self._seam.next_seq(on_added)
        if isinstance(output, UpdateSA | DeleteSA):
            return self._seam.next_seq(lambda answer: self._on_changed(output, answer))
        return 0

    def _on_changed(self, output: UpdateSA | DeleteSA, answer: SingleAnswer) -> None:
        if isinstance(answer, Failed):
            what = f"{type(output).__name__} of SPI 0x{output.spi:08x}"
            self._logs.own("debug", "refused", f"{what} was refused: {answer.message}")

    def _ask(self, question: Question) -> None:
        request_id = question.request_id
        match question:
            case ReserveSPI(_, iface):
                self._seam.reserve_spi(iface, lambda answer: self._on_reserved(request_id, answer))
            case QueryLastUse(_, spi, destination):
                self._seam.get(spi, destination, lambda answer: self._on_used(request_id, answer))
            case QueryTime():
                self._later(request_id, TimeOfDay(time.time()))
            case ComputePRF(_, key, hash_name, data, pad):
                self._ask_parent(PRFRequest(self._key_seq(request_id, PRFResult), key, hash_name, data, pad))
            case ComputeSignature(_, key, scheme, data):
                self._ask_parent(SignRequest(self._key_seq(request_id, SignatureResult), key, scheme, data))
            case GenerateKeyPair() | ComputeSharedSecret() | Encapsulate():
                self._computer.submit(question, lambda result: self._answer(request_id, result))

    def _key_seq(self, request_id: RequestId, kind: type[PRFResult | SignatureResult]) -> int:
        seq = next(self._key_seqs)
        self._key_requests[seq] = request_id, kind
        return seq

    def _on_reserved(self, request_id: RequestId, answer: SingleAnswer) -> None:
        if isinstance(answer, Reserved):
            self._answer(request_id, ReservedSPI(answer.spi))
        else:
            message = answer.message if isinstance(answer, Failed) else f"a {type(answer).__name__} came for an SPI"
            self._answer(request_id, SAFailed(message))

    def _on_used(self, request_id: RequestId, answer: SingleAnswer) -> None:
        self._answer(request_id, LastUse(answer.idle if isinstance(answer, Entry) else None))

    def _later(self, request_id: RequestId, answer: Answer) -> None:
        """Answer outside of the step that is under way."""
        asyncio.get_running_loop().call_soon(self._answer, request_id, answer)


def _ignore(_answer: SingleAnswer) -> None:
    """Nothing depends on the answer."""
