"""The parent itself: starts sadb and iked, keeps them going, and ends them in order.

sadb is the kernel's part: when it dies, its SAs are gone, and iked is started anew with it, to negotiate at once.
iked's life is lighter: its state is kept by sadb as checkpoints, and its successor goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from secd.control.family import (
    ClientConnected,
    CloseTUN,
    IkedToParent,
    KeyResult,
    KnownInterfaces,
    LogLine,
    OpenTUN,
    PRFRequest,
    Ready,
    SadbToParent,
    SignRequest,
    Stop,
    TUNOpened,
)
from secd.control.messages import ProcessStatus
from secd.ipc.channel import listen, pair
from secd.ipc.paths import iked_socket, sadb_socket, secd_socket
from secd.parent import boot
from secd.parent.accounts import account
from secd.parent.children import Backoff, Child
from secd.parent.control import ControlServer
from secd.parent.keys import KeyHolder, KeyHolderError
from secd.parent.loading import Loader
from secd.parent.log import Log
from secd.parent.notify import Notifier
from secd.parent.tun import DetachedQueues, TUNError

#: Seconds that iked has to say goodbye to the peers, and sadb to take the interfaces down, before they are killed.
STOP_TIMEOUT = 5.0


class Options(msgspec.Struct, frozen=True):
    """What the command line says."""

    verbose: bool = False
    boot: bool = True
    etc: Path = Path("/etc")
    ike_port: int = 500
    natt_port: int = 4500
    workers: int = 0
    powersave: bool = False
    patience: float = 30.0  # seconds that a child may be silent; 0: for ever


class Supervisor:
    """All of a running secd that is not in its children."""

    def __init__(self, options: Options, log: Log) -> None:
        """Prepare; nothing runs yet.  Needs a running loop, and a run directory that is ours."""
        self._options = options
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._notify = Notifier()
        self._keys = KeyHolder()
        self._queues = DetachedQueues()
        self._started = time.monotonic()
        self._stopping = asyncio.Event()
        self._first_ready = asyncio.Event()
        self._booting: asyncio.Task[None] | None = None
        self._boot_wanted = False
        self._configurable = not options.boot
        self._sadb: Child[SadbToParent] | None = None
        self._iked: Child[IkedToParent] | None = None
        self._backoff = {"sadb": Backoff(), "iked": Backoff()}
        self._starts = {"sadb": 0, "iked": 0}
        self._pending: asyncio.TimerHandle | None = None
        self._listeners = {
            "secd": listen(str(secd_socket())),
            "sadb": listen(str(sadb_socket())),
            "iked": listen(str(iked_socket())),
        }
        self._loader = Loader(self._keys, sadb_socket(), self._say, self._configure, verbose=options.verbose)
        self._control = ControlServer(
            self._listeners["secd"],
            load=self._loader.load,
            behave=self._loader.behave,
            rules=self._loader.sources,
            processes=self._processes,
            log=self._say,
        )

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, and leave nothing behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stopping.set)
        self._loop.add_signal_handler(signal.SIGHUP, self._boot)
        self._notify.start_watchdog(self._loop)
        try:
            self._start_sadb()
            await self._first_ready_or_stop()
            await self._stopping.wait()
        finally:
            await self._stop()

    async def _first_ready_or_stop(self) -> None:
        waits = [self._loop.create_task(event.wait()) for event in (self._first_ready, self._stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        if self._stopping.is_set():
            return
        if self._options.boot:
            self._boot()
        if self._booting:
            await self._booting
        self._notify("READY=1", f"STATUS={self._loader.tunnels()} configured")
        self._say("info", "ready")

    # -- the children -------------------------------------------------------------------------------------

    def _start_sadb(self) -> None:
        """Start the data plane, and an iked with it."""
        options = self._options
        listener = self._listeners["sadb"].fileno()
        arguments = [
            "secd.sec", "--listen", str(listener), *self._become("_secd"), "--ike-port", str(options.ike_port),
            "--natt-port", str(options.natt_port), "--workers", str(options.workers),
            *(["--powersave"] if options.powersave else []),
        ]  # fmt: skip
        self._sadb = Child(
            "sadb", arguments, [listener], SadbToParent,
            on_message=self._from_sadb, on_exit=self._sadb_exited, on_error_line=self._error_line("sadb"),
        )  # fmt: skip
        self._starts["sadb"] += 1
        self._sadb.send(KnownInterfaces(self._queues.names()))
        self._start_iked()

    def _start_iked(self) -> None:
        """Start the key-exchange daemon with a new connection to the data plane that runs."""
        if not self._sadb:
            return
        listener = self._listeners["iked"].fileno()
        seam, sadb_end = pair()
        try:
            self._sadb.send(ClientConnected(), [sadb_end.fileno()])
            arguments = ["secd.iked", "--listen", str(listener), "--seam", str(seam.fileno()), *self._become("_iked")]
            if self._loader.verbose:
                arguments.append("--verbose")
            self._iked = Child(
                "iked", arguments, [listener, seam.fileno()], IkedToParent,
                on_message=self._from_iked, on_exit=self._iked_exited, on_error_line=self._error_line("iked"),
            )  # fmt: skip
        finally:
            seam.close()
            sadb_end.close()
        self._starts["iked"] += 1

    def _become(self, name: str) -> list[str]:
        who, remark = account(name)
        if remark and not self._starts[{"_secd": "sadb", "_iked": "iked"}[name]]:
            self._say("warning", remark)
        return ["--user", str(who.uid), "--group", str(who.gid)]

    def _error_line(self, name: str) -> Callable[[str], None]:
        return lambda line: self._log("error", line, name)

    def _sadb_exited(self, how: str) -> None:
        lived, pid = (self._sadb.lived, self._sadb.pid) if self._sadb else (0.0, 0)
        self._sadb = None
        if self._stopping.is_set():
            return
        delay = self._backoff["sadb"].after(lived)
        self._say("error", f"sadb (pid {pid}) {how}; its SAs are gone: {_restart(delay)}, iked with it")
        if self._iked:
            self._iked.kill()
        self._restart(delay, self._start_sadb)

    def _iked_exited(self, how: str) -> None:
        lived, pid = (self._iked.lived, self._iked.pid) if self._iked else (0.0, 0)
        self._iked = None
        if self._stopping.is_set() or not self._sadb:
            return  # or sadb's end took it along, and sadb's start brings it back
        delay = self._backoff["iked"].after(lived)
        self._say("error", f"iked (pid {pid}) {how}; the tunnels stay: {_restart(delay)}")
        self._restart(delay, self._start_iked)

    def _iked_silent(self) -> None:
        """A new iked takes up where this one is stuck: nothing is lost by ending it."""
        if self._iked and not self._stopping.is_set():
            self._iked.kill(f"did not answer for {self._options.patience:g} s and was killed")

    def _sadb_silent(self) -> None:
        """Packets may go through it all the same, and its SAs end with it: that is for a person to decide."""
        if self._sadb and not self._stopping.is_set():
            pid = self._sadb.pid
            self._say("error", f"sadb (pid {pid}) does not answer for {self._options.patience:g} s: no keys are "
                               f"negotiated meanwhile; `kill -9 {pid}` starts it again, without SAs")  # fmt: skip

    def _restart(self, delay: float, start: Callable[[], None]) -> None:
        """Start later; of two pending starts sadb's, which came last or includes the other, is the one."""
        if self._pending:
            self._pending.cancel()
        self._pending = self._loop.call_later(delay, self._start_again, start)

    def _start_again(self, start: Callable[[], None]) -> None:
        if self._stopping.is_set():
            return
        if self._iked:  # killed with sadb, but not gone yet
            self._restart(0.01, start)
            return
        try:
            start()
        except OSError as error:
            self._say("error", f"cannot start a process: {error.strerror}; trying again in 1 s")
            self._restart(1.0, start)

    # -- what the children say ----------------------------------------------------------------------------

    def _from_sadb(self, message: SadbToParent, fds: list[int]) -> None:
        _close(fds)
        if not self._sadb:
            return
        match message:
            case OpenTUN(seq, name, queues):
                try:
                    opened, detached = self._queues.open(name, queues)
                except TUNError as error:
                    self._sadb.send(TUNOpened(seq, name, False, str(error)))
                    return
                self._sadb.send(TUNOpened(seq, name, detached), opened)
                _close(opened)
            case CloseTUN(name):
                self._queues.drop(name)
            case Ready():
                self._ready(self._sadb)
            case LogLine(level, text):
                self._log(level, text, "sadb")

    def _from_iked(self, message: IkedToParent, fds: list[int]) -> None:
        _close(fds)
        if not self._iked:
            return
        match message:
            case PRFRequest(seq, key, name, data, pad):
                self._answer(seq, lambda: self._keys.prf(key, name, data, pad))
            case SignRequest(seq, key, scheme, data):
                self._answer(seq, lambda: self._keys.sign(key, scheme, data))
            case Ready():
                self._ready(self._iked)
                self._configure()
            case LogLine(level, text):
                self._log(level, text, "iked")

    def _answer(self, seq: int, compute: Callable[[], bytes]) -> None:
        try:
            result = KeyResult(seq, compute())
        except KeyHolderError as error:
            result = KeyResult(seq, error=str(error))
        if self._iked:
            self._iked.send(result)

    def _ready(self, child: Child[SadbToParent] | Child[IkedToParent]) -> None:
        if self._options.patience and not child.ready:
            child.watch(self._options.patience, self._iked_silent if child is self._iked else self._sadb_silent)
        child.ready = True
        self._say("info", f"{child.name} is ready (pid {child.pid}, {child.lived:.2f} s after its start)")
        if self._sadb and self._iked and self._sadb.ready and self._iked.ready:
            self._first_ready.set()

    # -- configuration ------------------------------------------------------------------------------------

    def _configure(self) -> None:
        """Tell iked the whole of it, and systemd how much it is.

        Not before the boot files are loaded: iked answers nobody until it has a configuration, and with half of one it
        would refuse peers that the other half is for.
        """
        self._notify(f"STATUS={self._loader.tunnels()} configured")
        self._log.verbose = self._loader.verbose
        if not self._configurable or not self._iked or not self._iked.ready:
            return  # it is told when it is ready, or the boot files are in
        for message in self._loader.messages():
            self._iked.send(message)

    def _boot(self) -> None:
        """Load the boot files; SIGHUP loads them again, also when it comes while they are being loaded."""
        self._boot_wanted = True
        if not self._booting or self._booting.done():
            self._booting = self._loop.create_task(self._load_boot_files())

    async def _load_boot_files(self) -> None:
        while self._boot_wanted:
            self._boot_wanted = False
            await boot.load(self._options.etc, self._log)
        if not self._configurable:
            self._configurable = True
            self._configure()

    def _processes(self) -> tuple[ProcessStatus, ...]:
        children = [child for child in (self._sadb, self._iked) if child]
        return (
            ProcessStatus("secd", os.getpid(), 0, time.monotonic() - self._started),
            *(ProcessStatus(c.name, c.pid, self._starts[c.name] - 1, c.lived) for c in children),
        )

    # -- the end ------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        self._stopping.set()
        self._notify("STOPPING=1")
        self._say("info", "stopping")
        if self._pending:
            self._pending.cancel()
        if self._booting:
            self._booting.cancel()
            await asyncio.gather(self._booting, return_exceptions=True)
        self._control.close()
        self._loader.close()
        # iked's farewell goes through sadb: one after the other.
        await self._end(lambda: self._iked)
        await self._end(lambda: self._sadb)
        self._queues.clear()
        for listener in self._listeners.values():
            listener.close()
        self._keys.keep_only(())
        self._say("info", "stopped")

    async def _end(self, child: Callable[[], Child[SadbToParent] | Child[IkedToParent] | None]) -> None:
        """Stop a child, kill it when it takes too long, and wait until it is gone."""
        current = child()
        if not current:
            return
        current.send(Stop())
        deadline = current.lived + STOP_TIMEOUT
        while child():
            if current.lived > deadline:
                self._say("warning", f"{current.name} (pid {current.pid}) did not stop in {STOP_TIMEOUT:g} s: killed")
                current.kill()
                deadline += STOP_TIMEOUT
            await asyncio.sleep(0.01)

    def _say(self, level: str, message: str) -> None:
        self._log(level, message)


def _restart(delay: float) -> str:
    return f"starting it again in {delay:g} s" if delay else "starting it again"


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
