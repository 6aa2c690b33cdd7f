"""The requests about SAs, and the ends of SAs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from secd.sadb import messages as m
from secd.sec import checks
from secd.sec.checks import Refusal
from secd.sec.clients import Audience, Client
from secd.sec.database import Database, Kind, Record, key_of
from secd.sec.engine import DataPlane
from secd.sec.entries import entry
from secd.sec.family import Family


class Associations:
    """The database and the engine, kept in step: what one has, the other has."""

    def __init__(self, engine: DataPlane, family: Family, audience: Audience) -> None:
        """Have no SA yet."""
        self._engine, self._family, self._audience = engine, family, audience
        self._database = Database(lambda record, kind: self._expired(record, kind, "seconds"), self._first_use)

    def __len__(self) -> int:
        """Count the SAs."""
        return len(self._database)

    # -- requests -----------------------------------------------------------------------------------------

    def get_spi(self, client: Client, request: m.GetSPI) -> None:
        """SADB_GETSPI."""
        client.send(m.Reserved(request.seq, self._database.reserve(request.iface)))
        self._audience.tell_monitors(m.Change("getspi", None))

    def add(self, client: Client, request: m.Add) -> None:
        """SADB_ADD."""
        sa = checks.checked(request.sa)
        self._database.check_free(sa)
        self._engine.add_sa(
            spi=sa.spi, direction=sa.direction, iface=sa.iface, source=sa.source, destination=sa.destination,
            encryption=sa.encryption, encryption_key=sa.encryption_key, auth=sa.auth, auth_key=sa.auth_key,
            replay=sa.replay, esn=sa.esn, udpencap=_ports(sa.udpencap),
            soft_bytes=sa.soft.bytes, soft_packets=sa.soft.allocations,
            hard_bytes=sa.hard.bytes, hard_packets=sa.hard.allocations,
        )  # fmt: skip
        record = self._database.add(sa)
        client.send(m.Done(request.seq))
        self._audience.tell_monitors(m.Change("add", record.shown))

    def update(self, client: Client, request: m.Update) -> None:
        """SADB_UPDATE."""
        record = self._database.find(request.direction, request.spi, request.destination)
        source, destination = checks.addresses(request.new_source, request.new_destination)
        old = record.sa
        sa = msgspec.structs.replace(old, source=source, destination=destination, udpencap=request.udpencap)
        if sa.direction == "out" and destination != old.destination:
            self._database.check_free(sa)
        self._engine.update_sa(
            old.spi, old.direction, old.destination,
            new_source=source, new_destination=destination, udpencap=_ports(request.udpencap),
        )  # fmt: skip
        self._database.rename(record, sa)
        client.send(m.Done(request.seq))
        self._audience.tell_monitors(m.Change("update", record.shown))

    def delete(self, client: Client, request: m.Delete) -> None:
        """SADB_DELETE."""
        self._delete(client, self._database.find(request.direction, request.spi, request.destination))
        client.send(m.Done(request.seq))

    def flush(self, client: Client, request: m.Flush) -> None:
        """SADB_FLUSH."""
        for record in self._database.of_interface(request.iface):
            self._delete(client, record)
        client.send(m.Done(request.seq))
        self._audience.tell_monitors(m.Change("flush", None))

    def get(self, client: Client, request: m.Get) -> None:
        """SADB_GET."""
        record = self._database.find(request.direction, request.spi, request.destination)
        sa = record.sa
        counted = self._engine.sa_counters(sa.spi, sa.direction, sa.destination)
        client.send(entry(request.seq, record, counted, with_keys=request.with_keys))

    def dump(self, client: Client, request: m.Dump) -> None:
        """SADB_DUMP."""

        def parts() -> Iterator[m.FromServer]:
            yield m.Begin(request.seq)
            counters = {key_of(c["direction"], c["spi"], c["destination"]): c for c in self._engine.dump()}
            for record in self._database.all():
                counted = counters.get(key_of(record.sa.direction, record.sa.spi, record.sa.destination))
                if counted and record.state != "dead":
                    yield entry(request.seq, record, counted, with_keys=request.with_keys)
            yield m.Commit(request.seq)

        client.send_list(parts())

    # -- ends ---------------------------------------------------------------------------------------------

    def drop_checkpoint(self, name: str) -> int:
        """Delete the SAs that a dropped checkpoint spoke of; say how many."""
        records = list(self._database.of_checkpoint(name))
        for record in records:
            self._delete(None, record)
        return len(records)

    def amount_expired(
        self, spi: int, direction: m.Direction, destination: str, kind: Kind, limit: Literal["bytes", "packets"]
    ) -> None:
        """The engine has seen a limit in bytes or packets reached."""
        try:
            record = self._database.find(direction, spi, destination)
        except Refusal:
            return  # deleted meanwhile
        self._expired(record, kind, limit)

    def mapping_changed(self, spi: int, source: str, port: int) -> None:
        """The engine has seen the peer at another address."""
        record = self._database.inbound(spi)
        if record:
            self._audience.tell(m.NewMapping(spi, record.sa.iface, source, port))

    def _expired(self, record: Record, kind: Kind, limit: Literal["seconds", "bytes", "packets"]) -> None:
        if kind == "hard":
            self._remove(record)
        elif record.state == "dying":
            return  # another soft limit came first
        else:
            record.state = "dying"
        self._audience.tell(m.Expire(record.shown, kind, limit))

    def _delete(self, client: Client | None, record: Record) -> None:
        """Delete on behalf of `client`; iked is told when it was somebody else's doing."""
        self._remove(record)
        self._audience.tell_monitors(m.Change("delete", record.shown))
        iked = self._audience.iked
        if iked and iked is not client:
            iked.send(m.Expire(record.shown, "deleted"))

    def _remove(self, record: Record) -> None:
        sa = record.sa
        self._database.remove(record)
        try:
            self._engine.delete_sa(sa.spi, sa.direction, sa.destination)
        except (OSError, ValueError) as error:
            self._family.log_sometimes("delete", "error", f"the engine did not delete {sa}: {error}")

    def _first_use(self, record: Record) -> float:
        sa = record.sa
        try:
            return self._engine.sa_counters(sa.spi, sa.direction, sa.destination)["first_use"]
        except (OSError, ValueError):
            return 0.0


def _ports(encap: m.UdpEncap | None) -> tuple[int, int] | None:
    return (encap.local_port, encap.remote_port) if encap else None
