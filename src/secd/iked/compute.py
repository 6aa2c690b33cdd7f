"""Diffie-Hellman beside the event loop: a few threads and a bounded queue.

A peer can make us compute; it cannot make us queue without bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from secd.ike.contract import (
    ComputeFailed,
    ComputeSharedSecret,
    Encapsulate,
    Encapsulation,
    GenerateKeyPair,
    KeyPair,
    SharedSecret,
)
from secd.ike.crypto.errors import InvalidPublicValue, UnsupportedAlgorithm
from secd.ike.crypto.groups import group

THREADS = 2
#: Computations that wait; the peer of one that is refused will ask again.
MAX_QUEUE = 128

Question = GenerateKeyPair | ComputeSharedSecret | Encapsulate
Result = KeyPair | SharedSecret | Encapsulation | ComputeFailed


class Computer:
    """Computes for the machine."""

    def __init__(self) -> None:
        """Start no thread yet: one is started under the sandbox, with the first computation."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dh")
        self._queued = 0

    def submit(self, request: Question, on_result: Callable[[Result], None]) -> None:
        """Compute; `on_result` is called in the event loop, later."""
        loop = asyncio.get_running_loop()
        if self._queued >= MAX_QUEUE:
            loop.call_soon(on_result, ComputeFailed(f"{MAX_QUEUE} computations wait already"))
            return
        self._queued += 1

        def finished(future: asyncio.Future[Result]) -> None:
            self._queued -= 1
            if not future.cancelled():
                on_result(future.result())

        loop.run_in_executor(self._pool, compute, request).add_done_callback(finished)

    def close(self) -> None:
        """Wait for nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def compute(request: Question) -> Result:
    """Answer a question of the machine's; never raises."""
    try:
        if isinstance(request, GenerateKeyPair):
            made = group(request.group).generate(request.seed)
            return KeyPair(made.private, made.public)
        if isinstance(request, Encapsulate):
            answer = group(request.group).encapsulate(request.seed, request.peer_public)
            return Encapsulation(answer.public, answer.secret)
        return SharedSecret(group(request.group).shared(request.private, request.peer_public))
    except (InvalidPublicValue, UnsupportedAlgorithm) as error:
        return ComputeFailed(str(error))
    except Exception as error:
        # Whatever the library finds: its text could quote a value, its type cannot.
        return ComputeFailed(f"{request.group}: {type(error).__name__}")
