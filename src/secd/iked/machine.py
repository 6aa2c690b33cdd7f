"""What the shell wants of the protocol machine: `secd.ike.contract` as a type.

The shell is written against this, so that its tests need no IKE, and nothing of the machine's inside leaks out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from secd.ike.connection import Connection
from secd.ike.contract import Answer, ConnectionStatus, InstalledSA, Output, RequestId, SAKind
from secd.sadb.messages import Datagram, Expire, InterfaceChange, NewMapping, PathChange

Working = Callable[[str | None], None]
MachineFactory = Callable[[Callable[[int], bytes], Working], "Machine"]


class Machine(Protocol):
    """See `secd.ike.contract`."""

    def configure(self, connections: Sequence[Connection], now: float) -> None:
        """Take the whole wanted set."""

    def restore(self, checkpoint_id: str, data: bytes, now: float) -> None:
        """Take up a checkpoint of an earlier life."""

    def receive(self, datagram: Datagram, now: float) -> None:
        """Take a message of a peer."""

    def answer(self, request_id: RequestId, answer: Answer, now: float) -> None:
        """Take the answer to a request."""

    def event(self, event: Expire | NewMapping | InterfaceChange | PathChange, now: float) -> None:
        """Take an event of the data plane."""

    def handle_timer(self, now: float) -> None:
        """Do what is due."""

    def next_deadline(self) -> float | None:
        """Say when something will be due."""

    def outputs(self) -> list[Output]:
        """Give what is to be carried out, once."""

    def status(self, now: float) -> list[ConnectionStatus]:
        """Tell how each tunnel is."""

    def reset(self, name: str | None, now: float) -> bool:
        """Drop the SAs of a tunnel, or of all; false when there is none of that name."""

    def rekey(self, name: str, what: SAKind, now: float) -> str:
        """Begin to replace a tunnel's IKE SA or ESP SAs; say why that cannot be, or nothing."""

    def shutdown(self, now: float) -> None:
        """Say goodbye to every peer."""

    def installed(self) -> list[InstalledSA]:
        """List the SAs that should be in the data plane."""

    def abandon(self, checkpoint_id: str, now: float) -> None:
        """Forget an IKE SA without a word."""
