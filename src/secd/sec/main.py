"""The data plane process, `secd: sadb`: started by the parent, with what it needs in inherited descriptors.

python -I -m secd.sec --family FD --listen FD --user UID --group GID [--ike-port N] [--natt-port N] [--workers N]
    [--powersave]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from secd._engine import Engine
from secd.ipc.title import show_as
from secd.netlink import Monitor, Netlink
from secd.sec import sandbox
from secd.sec.clients import Doorkeeper
from secd.sec.family import Family
from secd.sec.service import Service
from secd.sec.underlay import Underlay

#: The kernel's PM QoS: how many microseconds an idle processor may take to wake up.
LATENCY = "/dev/cpu_dma_latency"
#: Seconds to wait for the parent's list of interfaces.
_START_TIMEOUT = 10.0


class Process:
    """Everything that runs in this process."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Open what needs rights or files; serve nobody yet."""
        self._loop = asyncio.get_running_loop()
        self._options = options
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._known: asyncio.Future[tuple[str, ...]] = self._loop.create_future()
        self._early: list[socket.socket] | None = []
        self._listener = socket.socket(fileno=options.listen)
        self._family = Family(
            socket.socket(fileno=options.family),
            on_known=self._know,
            on_client=self._admit,
            on_stop=self._told_to_stop,
        )
        self._loop.set_exception_handler(self._surprise)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._end, 0, "told to stop by a signal")
        self._netlink, routing = Netlink(), Netlink()
        self._monitor = Monitor(frozenset({self._netlink.port, routing.port}))
        latency = None if options.powersave else _open_latency(self._family.log)
        self._engine = Engine(options.workers, ike_port=options.ike_port, natt_port=options.natt_port, latency=latency)
        if latency is not None:
            os.close(latency)
        self._service = Service(self._engine, self._netlink, self._family, lambda message: self._end(1, message))
        ports = (options.ike_port, options.natt_port)
        self._underlay = Underlay(
            routing, self._service.interfaces.indices, self._family.log, ports, self._service.paths_changed
        )
        self._doorkeeper: Doorkeeper | None = None

    async def run(self) -> int:
        """Serve until told to stop; give the exit status."""
        try:
            await self._start()
            status = await self._ended
        except (OSError, sandbox.SandboxError, TimeoutError) as error:
            self._family.log("error", f"the data plane cannot start: {error}")
            status = 1
        await self._stop()
        return status

    async def _start(self) -> None:
        outcomes = sandbox.enter(self._options.user, self._options.group)
        self._engine.open()
        sandbox.close(outcomes, self._family.log)
        if not self._engine.raw_esp:
            self._family.log("warning", "no raw socket for ESP (protocol 50): tunnels work in UDP port 4500 only")
        self._loop.add_reader(self._engine.event_fd(), self._take_engine_events)
        self._loop.add_reader(self._monitor, self._take_changes)
        names = await asyncio.wait_for(self._known, _START_TIMEOUT)
        await self._service.take_up(names)
        await self._underlay.start()
        early, self._early = self._early or [], None
        for sock in early:
            self._service.admit(sock)
        self._doorkeeper = Doorkeeper(self._listener, self._service.admit, self._service.count, self._family.log)
        self._family.ready()

    async def _stop(self) -> None:
        self._loop.remove_reader(self._monitor)
        if self._doorkeeper:
            self._doorkeeper.close()
        self._service.close()
        await self._underlay.stop()
        self._engine.close()
        self._family.close()

    # -- what comes in ------------------------------------------------------------------------------------

    def _know(self, names: tuple[str, ...]) -> None:
        if not self._known.done():
            self._known.set_result(names)

    def _admit(self, sock: socket.socket) -> None:
        """Serve a connection for a new iked, once the interfaces are there."""
        if self._early is None:
            self._service.admit(sock)
        else:
            self._early.append(sock)

    def _told_to_stop(self, reason: str) -> None:
        """All of secd ends, or has ended: the interfaces end with it.  A signal would end this process alone."""
        if not self._ended.done():
            self._service.interfaces.destroy_all()
        self._end(0, reason)

    def _take_engine_events(self) -> None:
        try:
            self._service.take_engine_events()
        except OSError as error:
            self._end(1, f"the engine does not answer: {error}")

    def _take_changes(self) -> None:
        changes = self._monitor.read()
        self._service.interfaces.follow(changes)
        self._underlay.follow(changes)

    def _surprise(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught is an error of ours: it is logged, and the service goes on."""
        error = context.get("exception")
        self._family.log_sometimes("surprise", "error", f"{context.get('message')}: {type(error).__name__}: {error}")

    def _end(self, status: int, reason: str) -> None:
        if self._ended.done():
            return
        if status:
            self._family.log("error", f"the data plane cannot go on: {reason}")
        self._ended.set_result(status)
        if not self._known.done():
            self._known.set_result(())


def _open_latency(log: Callable[[str, str], None]) -> int | None:
    """Open what asks the kernel to keep idle processors awake; without it (in a container, say) packets take longer."""
    try:
        fd = os.open(LATENCY, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        log("debug", f"idle processors sleep between two packets: {LATENCY}: {error.strerror}")
        return None
    log("debug", f"idle processors are kept awake while small packets come thick and fast ({LATENCY})")
    return fd


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="secd: sadb", description="The data plane of secd; started by secd.")
    parser.add_argument("--family", type=int, required=True, help="descriptor of the socket pair with the parent")
    parser.add_argument("--listen", type=int, required=True, help="descriptor of the listening SADB socket")
    parser.add_argument("--user", type=int, required=True, help="user id to become")
    parser.add_argument("--group", type=int, required=True, help="group id to become")
    parser.add_argument("--ike-port", type=int, default=500)
    parser.add_argument("--natt-port", type=int, default=4500)
    parser.add_argument("--workers", type=int, default=0, help="0: one a core")
    parser.add_argument("--powersave", action="store_true", help="let idle processors sleep while packets come")
    options = parser.parse_args(arguments)
    show_as("secd: sadb")

    async def run() -> int:
        try:
            process = Process(options)
        except OSError as error:
            sys.stderr.write(f"the data plane cannot start: {error}\n")
            return 1
        return await process.run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
