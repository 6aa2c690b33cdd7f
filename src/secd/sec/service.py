"""The SADB service: every request of `sadb.messages`, carried out in the order of its coming."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Any

from secd.netlink import Netlink
from secd.sadb import messages as m
from secd.sec.associations import Associations
from secd.sec.checkpoints import Checkpoints
from secd.sec.checks import Refusal
from secd.sec.clients import Audience, Client
from secd.sec.engine import DataPlane
from secd.sec.family import Family
from secd.sec.inbox import Inbox
from secd.sec.inner import Inner
from secd.sec.interfaces import Interfaces

_HOUR = 3600.0
_ONLY_IKED = (m.Checkpoint, m.CheckpointForget, m.CheckpointInUse, m.Expect, m.Assign, m.Datagram)


class Service:
    """Clients, database, interfaces and the engine, brought together."""

    def __init__(self, engine: DataPlane, netlink: Netlink, family: Family, on_fatal: Callable[[str], None]) -> None:
        """`on_fatal` is told when the engine cannot go on."""
        self._engine, self._family, self._on_fatal = engine, family, on_fatal
        self._audience = Audience()
        self._associations = Associations(engine, family, self._audience)
        self.interfaces = Interfaces(engine, netlink, family, self._interface_changed)
        self._inner = Inner(netlink, family.log, lambda name: self.interfaces.get(name).index)
        self._checkpoints = Checkpoints(family.log)
        self._inbox = Inbox()
        self._tasks: set[asyncio.Task[None]] = set()
        self._send_errors = 0
        self._handlers: dict[type, Callable[[Client, Any], None]] = {
            m.Register: self._register,
            m.GetSPI: self._associations.get_spi,
            m.Add: self._associations.add,
            m.Update: self._associations.update,
            m.Delete: self._associations.delete,
            m.Get: self._associations.get,
            m.Dump: self._associations.dump,
            m.Flush: self._associations.flush,
            m.InterfaceCreate: self._interface_create,
            m.InterfaceDestroy: self._interface_destroy,
            m.InterfaceSet: self._interface_set,
            m.InterfaceDump: self._interface_dump,
            m.CountersGet: self._counters_get,
            m.Checkpoint: lambda _, request: self._checkpoints.keep(request),
            m.CheckpointForget: lambda _, request: self._checkpoints.forget(request.id),
            m.CheckpointInUse: lambda _, request: self._checkpoints.use(request.id),
            m.Expect: lambda _, request: self._inbox.expect(request),
            m.Assign: lambda _, request: self._inner.assign(request),
            m.Datagram: self._datagram,
        }

    # -- clients ------------------------------------------------------------------------------------------

    def admit(self, sock: socket.socket) -> None:
        """Serve a new connection."""
        self._audience.clients.add(Client(sock, self._request, self._gone))

    def count(self) -> int:
        """Count the connections."""
        return len(self._audience.clients)

    def close(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        for client in list(self._audience.clients):
            client.close("the data plane stops")

    def _request(self, client: Client, request: m.Request) -> None:
        """Carry out a request, or each of a batch: nothing else happens in between."""
        for one in request.requests if isinstance(request, m.Batch) else (request,):
            if isinstance(one, _ONLY_IKED) and client is not self._audience.iked:
                client.close(f"{type(one).__name__} is for the registered iked alone")
                return
            self._carry_out(client, one)

    def _carry_out(self, client: Client, request: m.Request) -> None:
        """What goes wrong is told to the client, and never ends the service."""
        try:
            self._handlers[type(request)](client, request)
        except Refusal as refusal:
            _fail(client, request, refusal.errno, str(refusal))
        except OSError as error:
            _fail(client, request, error.errno or errno.EIO, error.strerror or str(error))
        except ValueError as error:
            _fail(client, request, errno.EINVAL, str(error))
        except Exception as error:
            self._family.log("error", f"{type(request).__name__} failed within secd: {type(error).__name__}: {error}")
            _fail(client, request, errno.EIO, f"{type(error).__name__} within secd; see its log")

    def _gone(self, client: Client, reason: str) -> None:
        self._audience.clients.discard(client)
        if client is not self._audience.iked:
            return
        self._audience.iked = None
        self._inbox.read_by(None)
        self._family.log("info", f"the key-exchange daemon's connection ended: {reason}")
        dropped = self._checkpoints.died()
        if dropped is not None:
            count = self._associations.drop_checkpoint(dropped)
            self._family.log(
                "error", f"iked died twice over the IKE SA {dropped}: it is dropped, and {count} IPsec SAs with it"
            )

    def _register(self, client: Client, request: m.Register) -> None:
        client.become(request.role)
        if request.role == "monitor":
            client.send(m.Done(request.seq))
            return
        older, self._audience.iked = self._audience.iked, client
        if older and older is not client:
            older.close("a newer iked has registered")
        self._checkpoints.use(None)
        client.send_list(self._welcome(client, request))

    def _welcome(self, client: Client, request: m.Register) -> Iterator[m.FromServer]:
        """What a new iked gets, as fast as it reads: then come the datagrams."""
        yield from self._checkpoints
        for interface in self.interfaces:
            yield m.InterfaceChange(interface.name, running=interface.running, exists=True)
        yield m.Done(request.seq)
        if client is self._audience.iked:
            self._inbox.read_by(client)

    def paths_changed(self) -> None:
        """Packets to peers may leave by another way, and from another address, than before."""
        self._audience.tell_iked(m.PathChange())

    # -- the engine ---------------------------------------------------------------------------------------

    def take_engine_events(self) -> None:
        """Take what the engine has to tell."""
        for event in self._engine.poll():
            if event[0] == "ike":
                self._inbox.put(m.Datagram(*event[1:]))
            elif event[0] == "expire":
                self._associations.amount_expired(*event[1:])
            elif event[0] == "mapping":
                self._associations.mapping_changed(*event[1:])
            else:
                self._on_fatal(event[1])

    def _datagram(self, _: Client, request: m.Datagram) -> None:
        try:
            self._engine.send_ike(request.local, request.local_port, request.remote, request.remote_port, request.data)
        except (OSError, ValueError) as error:
            self._send_errors += 1
            why = getattr(error, "strerror", None) or str(error)
            why = why.partition(": ")[2] if why.startswith("IKE from ") else why
            if getattr(error, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH):
                why += f"; `ip route get {request.remote}` tells more"
            self._family.log_sometimes(
                f"send {request.remote} {why}",
                "warning",
                f"cannot send IKE of {len(request.data)} octets from {request.local or 'any'} port "
                f"{request.local_port} to {request.remote} port {request.remote_port}: {why}",
                quiet=_HOUR,
            )

    def _counters_get(self, client: Client, request: m.CountersGet) -> None:
        own = {
            "drop_ike_not_read": self._inbox.dropped,
            "ike_send_errors": self._send_errors,
            "checkpoints": len(self._checkpoints),
            "sas": len(self._associations),
        }
        client.send(m.CountersEntry(request.seq, {**self._engine.counters(), **own}))

    # -- interfaces ---------------------------------------------------------------------------------------

    async def take_up(self, names: tuple[str, ...]) -> None:
        """Attach to the interfaces that an earlier data plane has left."""
        await self.interfaces.take_up(names)
        self._inner.forget_routes(self.interfaces.indices())

    def _interface_changed(self, change: m.InterfaceChange) -> None:
        self._audience.tell(change)
        if change.exists:
            self._inner.apply(change.name)

    def _interface_create(self, client: Client, request: m.InterfaceCreate) -> None:
        async def create() -> None:
            try:
                await self.interfaces.create(request.name)
            except (Refusal, OSError) as error:
                _fail(client, request, error.errno or errno.EIO, str(error))
            else:
                client.send(m.Done(request.seq))

        task = asyncio.get_running_loop().create_task(create())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _interface_destroy(self, client: Client, request: m.InterfaceDestroy) -> None:
        self.interfaces.destroy(request.name, lambda: client.send(m.Done(request.seq)))

    def _interface_set(self, client: Client, request: m.InterfaceSet) -> None:
        self.interfaces.set_options(request.name, tunneldf=request.tunneldf, mss_clamp=request.mss_clamp)
        client.send(m.Done(request.seq))

    def _interface_dump(self, client: Client, request: m.InterfaceDump) -> None:
        entries = [self.interfaces.entry(request.seq, interface) for interface in self.interfaces]
        client.send_list((m.Begin(request.seq), *entries, m.Commit(request.seq)))


def _fail(client: Client, request: m.Request, number: int, message: str) -> None:
    seq = getattr(request, "seq", None)
    if seq is not None:
        client.send(m.Failed(seq, number, message[:1024]))
