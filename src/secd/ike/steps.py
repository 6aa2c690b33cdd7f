"""Steps that wait: a generator yields a question and is sent the answer.

    def answer_key_exchange(...) -> Step[None]:
        pair = yield from key_pair(group, seed)
        ...                                     # only now is the state changed

A step changes the state of its SA only after its last question.  So nothing has to be kept of a step that waits:
if iked dies, the datagram that began it comes again, from the peer's retransmission or from ours.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

from msgspec.structs import replace

from secd.ike.contract import (
    Answer,
    ComputeFailed,
    ComputePRF,
    ComputeSharedSecret,
    ComputeSignature,
    Encapsulate,
    Encapsulation,
    GenerateKeyPair,
    KeyPair,
    LastUse,
    PRFResult,
    QueryLastUse,
    QueryTime,
    ReservedSPI,
    ReserveSPI,
    SAFailed,
    SharedSecret,
    SignatureResult,
    TimeOfDay,
)

Request = (
    ReserveSPI | GenerateKeyPair | ComputeSharedSecret | Encapsulate | ComputePRF | ComputeSignature | QueryLastUse
    | QueryTime
)  # fmt: skip
T = TypeVar("T")
Step = Generator[Request, Answer, T]

#: Seconds after which an unanswered question is given up: the process that should have answered has been replaced.
ANSWER_TIMEOUT = 60.0
#: Steps that wait, from when on nothing is begun that can as well begin later: half of what may wait to be computed.
MANY = 64


class Unanswered(Exception):
    """A question was answered with a refusal; the text says why."""


def reserve_spi(iface: str) -> Step[int]:
    """An SPI for an inbound SA of `iface`."""
    answer = yield ReserveSPI(0, iface)
    if isinstance(answer, ReservedSPI):
        return answer.spi
    raise Unanswered(f"no SPI: {_why(answer)}")


def key_pair(group: str, seed: bytes) -> Step[KeyPair]:
    """A fresh key pair for `group`."""
    answer = yield GenerateKeyPair(0, group, seed)
    if isinstance(answer, KeyPair):
        return answer
    raise Unanswered(f"no {group} key pair: {_why(answer)}")


def shared_secret(group: str, private: bytes, peer_public: bytes) -> Step[bytes]:
    """g^xy."""
    answer = yield ComputeSharedSecret(0, group, private, peer_public)
    if isinstance(answer, SharedSecret):
        return answer.secret
    raise Unanswered(f"no {group} shared secret: {_why(answer)}")


def encapsulate(group: str, seed: bytes, peer_public: bytes) -> Step[Encapsulation]:
    """Our public value and the shared secret, as responder."""
    answer = yield Encapsulate(0, group, seed, peer_public)
    if isinstance(answer, Encapsulation):
        return answer
    raise Unanswered(f"no {group} key exchange: {_why(answer)}")


def keyed_prf(key: str, hash_name: str, data: bytes, pad: bytes = b"") -> Step[bytes]:
    """prf(pre-shared key, data), or with `pad` prf(prf(pre-shared key, pad), data)."""
    answer = yield ComputePRF(0, key, hash_name, data, pad)
    if isinstance(answer, PRFResult):
        return answer.data
    raise Unanswered(f"the key holder refuses: {_why(answer)}")


def signature(key: str, scheme: str, data: bytes) -> Step[bytes]:
    """A signature over `data`."""
    answer = yield ComputeSignature(0, key, scheme, data)
    if isinstance(answer, SignatureResult):
        return answer.data
    raise Unanswered(f"the key holder refuses: {_why(answer)}")


def last_use(spi: int, destination: str) -> Step[float | None]:
    """Seconds since an inbound SA last received a packet; None: never, or there is no such SA."""
    answer = yield QueryLastUse(0, spi, destination)
    return answer.idle if isinstance(answer, LastUse) else None


def time_of_day() -> Step[float]:
    """Seconds of the epoch, for what has dates."""
    answer = yield QueryTime(0)
    if isinstance(answer, TimeOfDay):
        return answer.epoch
    raise Unanswered(f"nobody knows the time: {_why(answer)}")


def _why(answer: Answer) -> str:
    return answer.message if isinstance(answer, SAFailed | ComputeFailed) else "an answer to another question"


class _Waiting:
    __slots__ = ("deadline", "key", "owner", "step")

    def __init__(self, owner: str, key: str, step: Step[None], deadline: float) -> None:
        self.owner = owner
        self.key = key
        self.step = step
        self.deadline = deadline


class Steps:
    """The steps that wait for an answer.  `owner` is a checkpoint's id; one step at a time for each (owner, key)."""

    def __init__(self) -> None:
        """Start with none."""
        self._next_id = 1
        self._waiting: dict[int, _Waiting] = {}
        self._busy: dict[str, dict[str, int]] = {}

    def new_id(self) -> int:
        """A request id that is not in use."""
        self._next_id += 1
        return self._next_id

    @property
    def crowded(self) -> bool:
        """Whether what can wait should not begin now."""
        return len(self._waiting) >= MANY

    def busy(self, owner: str, key: str) -> bool:
        """Whether a step of this kind waits for an answer."""
        return key in self._busy.get(owner, ())

    def keys(self, owner: str) -> tuple[str, ...]:
        """What `owner` waits for."""
        return tuple(self._busy.get(owner, ()))

    def wait(self, owner: str, key: str, step: Step[None], request: Request, now: float) -> Request:
        """Keep `step` until `request` is answered; returns the request with its id."""
        number = self.new_id()
        self._waiting[number] = _Waiting(owner, key, step, now + ANSWER_TIMEOUT)
        self._busy.setdefault(owner, {})[key] = number
        return replace(request, request_id=number)

    def owner(self, number: int) -> str:
        """Whose question `number` is; "" when nobody waits any more."""
        waiting = self._waiting.get(number)
        return waiting.owner if waiting is not None else ""

    def answered(self, number: int) -> tuple[str, str, Step[None]] | None:
        """Whose question `number` was, and the step to be sent the answer; None when nobody waits any more."""
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return None
        self._forget(waiting.owner, waiting.key)
        return waiting.owner, waiting.key, waiting.step

    def cancel(self, owner: str) -> None:
        """Nothing of `owner` is waited for any more."""
        for number in self._busy.pop(owner, {}).values():
            self._waiting.pop(number).step.close()

    def give_up(self, now: float) -> list[str]:
        """Cancel the steps that have waited too long; returns their owners."""
        owners = []
        while (oldest := self._oldest()) is not None and oldest[1].deadline <= now:
            number, waiting = oldest
            del self._waiting[number]
            self._forget(waiting.owner, waiting.key)
            waiting.step.close()
            owners.append(waiting.owner)
        return owners

    def deadline(self) -> float | None:
        """When the oldest question is given up."""
        oldest = self._oldest()
        return oldest[1].deadline if oldest is not None else None

    def _oldest(self) -> tuple[int, _Waiting] | None:
        """The question that was asked first, which is the first of the table, for all may wait for as long."""
        return next(iter(self._waiting.items()), None)

    def _forget(self, owner: str, key: str) -> None:
        keys = self._busy.get(owner, {})
        keys.pop(key, None)
        if not keys:
            self._busy.pop(owner, None)


Random = Callable[[int], bytes]
