"""The shell around the machine: one step at a time, each step's outputs carried out before the next begins.

What makes a kill harmless: everything a step wants goes to the data plane as one message, checkpoint and datagrams
together; and `CheckpointInUse` names the SA that is worked on, so that one that kills us is found out.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from secd.control.family import KeyResult, PRFRequest, SignRequest
from secd.ike.connection import Connection
from secd.ike.contract import Answer, ConnectionStatus, InstalledSA, SAKind
from secd.iked.carrier import Carrier, Computes
from secd.iked.logs import Logs
from secd.iked.machine import MachineFactory
from secd.iked.reconcile import lost, name, orphans
from secd.iked.seam import Seam, SingleAnswer
from secd.sadb.messages import (
    Checkpoint,
    Datagram,
    Entry,
    Event,
    Expire,
    Failed,
    InterfaceChange,
    NewMapping,
    PathChange,
)

T = TypeVar("T")

#: Events that wait until the checkpoints are taken up and the configuration is there.
MAX_EARLY = 512
#: An SA whose timers or answers raise is taken up from its checkpoint so often, then dropped, alone.
MAX_RESCUES = 2
#: Seconds to the next call of the timer at least: after an exception, and always.
ERROR_DELAY, MIN_DELAY = 1.0, 0.001


class Shell:
    """Carries the world to the machine and back."""

    def __init__(
        self,
        factory: MachineFactory,
        seam: socket.socket,
        *,
        ask_parent: Callable[[PRFRequest | SignRequest], None],
        computer: Computes,
        logs: Logs,
        on_running: Callable[[], None],
        on_seam_lost: Callable[[str], None],
    ) -> None:
        """Make the machine and register with the data plane at the other end of `seam`."""
        self._on_running = on_running
        self._loop = asyncio.get_running_loop()
        self._logs = logs
        self._on_seam_lost = on_seam_lost
        self._seam = Seam(seam, self.on_event, self._lose_seam)
        self._carrier = Carrier(self._seam, ask_parent, computer, logs, self._answer)
        self._machine = factory(os.urandom, self._working)
        self._timer: asyncio.TimerHandle | None = None
        self._rescues: dict[str, int] = {}
        self._registered = self.running = self.stopped = False
        self._connections: list[Connection] | None = None
        self._early: deque[Event] = deque()
        #: Exceptions of the machine so far.
        self.exceptions = 0
        self._seam.register(self._on_registered)

    # -- beginning and end --------------------------------------------------------------------------------

    def configure(self, connections: list[Connection]) -> None:
        """Take a configuration; the first one waits for the checkpoints, or tunnels that are up would start anew."""
        self._connections = connections
        if self.running:
            self._configure(connections)
        else:
            self._start()

    def decouple(self, decoupled: bool) -> None:
        """Take the SAs away from the data plane and give it none, or the other way round.

        An SA that comes back would begin to count anew under the same key: so all are negotiated anew instead.
        """
        if decoupled == self._carrier.decoupled:
            return
        if decoupled and self.running:
            for sa in self._machine.installed():
                self._carrier.delete(*name(sa))
        self._carrier.decoupled = decoupled
        if not decoupled and self.running:
            self.reset(None)

    def _configure(self, connections: list[Connection]) -> None:
        """Have it applied; when one SA fails over it, that one is put aside and the rest is done."""
        for _ in range(1 + len(self._carrier.checkpoints)):
            failures = self.exceptions
            self._step("applying the configuration", lambda now: self._machine.configure(connections, now))
            if self.exceptions == failures or self.stopped:
                return

    def shutdown(self, on_done: Callable[[], None]) -> None:
        """Say goodbye to the peers and do nothing any more; `on_done` is called when all of it was sent."""
        if self.running:
            self._step("saying goodbye", self._machine.shutdown)
        self._halt()
        self._seam.sync(on_done)

    def _halt(self) -> None:
        self.stopped = True
        if self._timer:
            self._timer.cancel()

    def _lose_seam(self, reason: str) -> None:
        self._halt()
        self._on_seam_lost(reason)

    def _on_registered(self, answer: SingleAnswer) -> None:
        if isinstance(answer, Failed):
            self._logs.own("error", "register", f"the data plane refuses us: {answer.message}")
            return
        self._registered = True
        self._start()

    def _start(self) -> None:
        """Begin, once both the checkpoints and the configuration are there."""
        connections = self._connections
        if not self._registered or connections is None or self.running:
            return
        self.running = True
        if self._carrier.checkpoints:
            self._logs.own("info", "restored", f"IKE SAs taken up where they were: {len(self._carrier.checkpoints)}")
        self._configure(connections)
        # Only with its configuration does the machine know what it took up; what it changed has been sent before.
        believed = self._machine.installed()
        self._seam.dump(lambda entries: self._reconcile(believed, entries))
        self._on_running()
        while self._early:
            self.on_event(self._early.popleft())

    def _reconcile(self, believed: Sequence[InstalledSA], entries: list[Entry]) -> None:
        """Compare what was taken up with what the data plane had when it was asked."""
        for sa in orphans(believed, entries, {connection.iface for connection in self._connections or ()}):
            self._logs.own("warning", "orphan", f"{sa.iface}: deleting SPI 0x{sa.spi:08x}, which no IKE SA knows")
            self._carrier.delete(*name(sa))
        if self._carrier.decoupled:
            return
        for sa in lost(believed, entries):
            if name(sa) in {name(known) for known in self._machine.installed()}:
                self._take_event(Expire(sa, "deleted"))

    # -- the world to the machine -------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Take what comes from the data plane."""
        if self.stopped:
            return
        if isinstance(event, Checkpoint):
            self._carrier.checkpoints[event.id] = event.data
            self._restore(event.id)
        elif not self.running:
            # Without an IKE SA there is nothing that a message could belong to: whoever begins one will say it again,
            # and an old one from somebody whom we are about to call ourselves would make two tunnels of one.
            if len(self._early) < MAX_EARLY and (self._carrier.checkpoints or not isinstance(event, Datagram)):
                self._early.append(event)
        elif isinstance(event, Datagram):
            self._step("reading a peer's message", lambda now: self._machine.receive(event, now), count=False)
        elif isinstance(event, Expire) and self._carrier.decoupled:
            return  # by our own order
        elif isinstance(event, Expire | NewMapping | InterfaceChange | PathChange):
            self._take_event(event)

    def on_key_result(self, result: KeyResult) -> None:
        """Take an answer of the key holder."""
        self._carrier.on_key_result(result)

    def status(self) -> list[ConnectionStatus]:
        """Tell how each tunnel is; empty when that cannot be told."""
        return self._step("telling the status", self._machine.status) or []

    def reset(self, tunnel: str | None) -> bool:
        """Drop the SAs of a tunnel, or of all; false when there is none of that name."""
        return bool(self._step("resetting a tunnel", lambda now: self._machine.reset(tunnel, now)))

    def rekey(self, tunnel: str, what: SAKind) -> str:
        """Begin to replace a tunnel's IKE SA or ESP SAs; say why that cannot be, or nothing."""
        refusal = self._step("rekeying a tunnel", lambda now: self._machine.rekey(tunnel, what, now))
        return "it failed: see the log" if refusal is None else refusal

    def _take_event(self, event: Expire | NewMapping | InterfaceChange | PathChange) -> None:
        self._step("taking an event of the data plane", lambda now: self._machine.event(event, now))

    def _answer(self, request_id: int, answer: Answer) -> None:
        self._step("taking an answer", lambda now: self._machine.answer(request_id, answer, now))

    def _timer_due(self) -> None:
        self._timer = None
        self._step("working off a timer", self._machine.handle_timer)

    # -- one step -----------------------------------------------------------------------------------------

    def _step(self, doing: str, call: Callable[[float], T], *, count: bool = True) -> T | None:
        """Let the machine do one thing and carry out what it wants; its exceptions end here.

        `count`: an SA that raises here again and again is dropped.  Not so for what anybody could send.
        """
        if self.stopped:
            return None
        delay = MIN_DELAY
        result: T | None = None
        try:
            result = call(self._loop.time())
            self._carrier.carry_out(self._machine.outputs())
        except Exception as error:
            delay = ERROR_DELAY
            self._rescue(doing, error, count=count)
        self._carrier.use(None)
        self._arm(delay)
        return result

    def _working(self, checkpoint_id: str | None) -> None:
        """Hear from the machine which SA it turns to: it is done with the one before."""
        self._carrier.carry_out(self._machine.outputs())
        self._carrier.use(checkpoint_id)

    def _arm(self, least: float) -> None:
        """Set the timer to the machine's next deadline."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        deadline = self._machine.next_deadline()
        if deadline is not None and self.running and not self.stopped:
            self._timer = self._loop.call_at(max(deadline, self._loop.time() + least), self._timer_due)

    # -- when the machine fails ---------------------------------------------------------------------------

    def _rescue(self, doing: str, error: Exception, *, count: bool) -> None:
        """Put the SA that was worked on back to where it was, or drop it, alone."""
        checkpoint_id = self._carrier.in_use
        self._fail(f"{doing}{f' ({checkpoint_id})' if checkpoint_id else ''}", error)
        if checkpoint_id is None:
            return
        rescues = self._rescues.get(checkpoint_id, 0) + count
        before = self._machine.installed()
        self._abandon(checkpoint_id)
        if checkpoint_id in self._carrier.checkpoints and rescues <= MAX_RESCUES:
            self._rescues[checkpoint_id] = rescues
            self._restore(checkpoint_id)
        else:
            self._forget(checkpoint_id)
        if checkpoint_id not in self._carrier.checkpoints:
            self._delete_remains(before)

    def _restore(self, checkpoint_id: str) -> None:
        """Take up an IKE SA from its checkpoint; one that cannot be taken up is dropped."""
        self._carrier.use(checkpoint_id)
        try:
            self._machine.restore(checkpoint_id, self._carrier.checkpoints[checkpoint_id], self._loop.time())
            self._carrier.carry_out(self._machine.outputs())
        except Exception as error:
            self._fail(f"taking up {checkpoint_id}", error)
            self._abandon(checkpoint_id)
            self._forget(checkpoint_id)
        self._carrier.use(None)
        self._arm(MIN_DELAY)

    def _fail(self, doing: str, error: Exception) -> None:
        self.exceptions += 1
        self._logs.internal_error(f"{doing}, no. {self.exceptions} since the start", error)
        self._machine.outputs()  # half of a step is worse than nothing of it

    def _abandon(self, checkpoint_id: str) -> None:
        self._machine.abandon(checkpoint_id, self._loop.time())
        self._carrier.carry_out(self._machine.outputs())

    def _forget(self, checkpoint_id: str) -> None:
        self._logs.own("error", "dropped", f"the IKE SA {checkpoint_id} is dropped, alone")
        self._rescues.pop(checkpoint_id, None)
        self._carrier.forget(checkpoint_id)

    def _delete_remains(self, before: Sequence[InstalledSA]) -> None:
        """Delete the SAs that the machine knew before and does not know now."""
        now = {name(sa) for sa in self._machine.installed()}
        for sa in before:
            if name(sa) not in now:
                self._carrier.delete(*name(sa))
