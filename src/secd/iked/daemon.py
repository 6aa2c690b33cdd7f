"""iked as a whole: the family's channel, the shell, the control socket."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import msgspec

from secd.control.family import (
    Alive,
    ConfigureBegin,
    ConfigureCommit,
    ConfigureConnection,
    KeyResult,
    LogLine,
    ParentToIked,
    Ready,
    Stop,
)
from secd.ike.connection import Connection
from secd.iked.compute import Computer
from secd.iked.control import ControlServer
from secd.iked.logs import Logs
from secd.iked.machine import MachineFactory
from secd.iked.shell import Shell
from secd.ipc.channel import Channel
from secd.ipc.privileges import Outcome

#: Seconds after which a loss of the data plane ends us, if the parent has not.
LOST_SEAM = 1.0
#: Seconds that the farewell to all peers may take.
FAREWELL = 3.0


class Sockets(msgspec.Struct, frozen=True):
    """What iked is born with."""

    family: socket.socket
    listener: socket.socket
    seam: socket.socket


class Daemon:
    """All of iked that runs."""

    def __init__(
        self,
        factory: MachineFactory,
        sockets: Sockets,
        sandbox: list[Outcome],
        *,
        allowed: frozenset[int],
        verbose: bool,
    ) -> None:
        """Begin; what the sandbox is made of is logged, and above all what it lacks."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_exception)
        self._ended = asyncio.Event()
        self._connections: list[Connection] | None = None  # of a configuration that is coming in
        self._family: Channel[ParentToIked] = Channel(sockets.family, ParentToIked, self._on_message, self._on_close)
        self._logs = Logs(self._send_line, verbose=verbose, clock=self._loop.time)
        for outcome in sandbox:
            self._logs.own("debug" if outcome.done else "warning", "sandbox", f"sandbox: {outcome.detail}")
        self._computer = Computer()
        self._shell = Shell(
            factory,
            sockets.seam,
            ask_parent=self._family.send,
            computer=self._computer,
            logs=self._logs,
            on_running=self._settle,
            on_seam_lost=self._on_seam_lost,
        )
        self._control = ControlServer(
            sockets.listener,
            allowed=allowed,
            status=self._shell.status,
            reset=self._shell.reset,
            rekey=self._shell.rekey,
            logs=self._logs,
        )
        self._family.send(Ready())

    async def run(self) -> None:
        """Run until the parent says stop."""
        await self._ended.wait()
        self._control.close()
        self._computer.close()

    def _settle(self) -> None:
        """Let the control socket tell how the tunnels are, or wait until it is known which there are."""
        self._control.settle(self._shell.running and self._connections is None)

    def _send_line(self, line: LogLine) -> None:
        self._family.send(line)

    def _on_message(self, message: ParentToIked, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        match message:
            case KeyResult():
                self._shell.on_key_result(message)
            case ConfigureBegin(decoupled, verbose):
                self._connections = []
                self._logs.verbose = verbose
                self._shell.decouple(decoupled)
                self._settle()
            case ConfigureConnection(connection) if self._connections is not None:
                self._connections.append(connection)
            case ConfigureCommit() if self._connections is not None:
                connections, self._connections = self._connections, None
                self._shell.configure(connections)
                self._settle()
            case Alive():
                self._family.send(message)
            case Stop():
                self._shell.shutdown(self._ended.set)
                self._loop.call_later(FAREWELL, self._ended.set)

    def _on_close(self, _reason: str) -> None:
        """Without a parent there is nobody to work for."""
        os._exit(0)

    def _on_seam_lost(self, reason: str) -> None:
        if not self._ended.is_set():
            self._logs.own("debug", "seam", f"the data plane is gone ({reason}): waiting to be started anew")
            self._loop.call_later(LOST_SEAM, self._ended.set)

    def _on_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            self._logs.internal_error(str(context.get("message", "running")), error)
        else:
            self._logs.own("error", "exception", str(context.get("message")))
