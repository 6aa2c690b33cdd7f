"""The SADB service over real sockets: every request, every bound."""

from __future__ import annotations

import errno
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.sadb_plane import Plane, sa, seconds, wait_for

from secd.ipc import channel
from secd.ipc.channel import ChannelError
from secd.sadb import messages as m
from secd.sadb.client import SADB, SADBError
from secd.sec import checkpoints, clients, database, inbox


@pytest.fixture
def plane() -> Iterator[Plane]:
    """Run a service."""
    running = Plane()
    yield running
    running.close()


@pytest.fixture
def sadb(plane: Plane) -> Iterator[SADB]:
    """Connect a client to it."""
    with plane.connect() as connected:
        yield connected


def register(plane: Plane, role: Any = "iked") -> SADB:
    """Connect a client that hears of events."""
    client = plane.connect()
    client.ask(m.Register(0, role), m.Done)
    return client


def refused(number: int, words: str) -> Any:
    """Expect a refusal with this errno, whose message contains `words`."""

    class Check:
        def __enter__(self) -> None:
            self._raises = pytest.raises(SADBError, match=words)
            self._caught = self._raises.__enter__()

        def __exit__(self, *raised: Any) -> bool | None:
            suppressed = self._raises.__exit__(*raised)
            assert errno.errorcode[self._caught.value.errno] == errno.errorcode[number]
            return suppressed

    return Check()


# -- SPIs -------------------------------------------------------------------------------------------------


def test_reserved_spis_are_random_and_taken_up_by_their_sa(sadb: SADB) -> None:
    spis = {sadb.get_spi("sec0") for _ in range(100)}
    assert len(spis) == 100
    assert min(spis) >= 0x10000
    spi = spis.pop()
    sadb.add(sa(spi, "in"))
    assert sadb.get(sa(spi, "in")).state == "mature"
    with refused(errno.EEXIST, f"0x{spi:08x}"):
        sadb.add(sa(spi, "in"))


def test_a_reserved_spi_is_for_its_interface_alone(sadb: SADB) -> None:
    spi = sadb.get_spi("sec0")
    with refused(errno.EINVAL, "reserved for sec0, not for sec1"):
        sadb.add(sa(spi, "in", iface="sec1"))
    sadb.add(sa(spi, "out", iface="sec1"))  # the peer's SPIs are another matter


def test_reservations_are_bounded_and_end(sadb: SADB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MAX_RESERVATIONS", 3)
    monkeypatch.setattr(database, "LARVAL_LIFETIME", 0.1)
    for _ in range(3):
        sadb.get_spi("sec0")
    with refused(errno.ENOBUFS, "3 reserved SPIs"):
        sadb.get_spi("sec0")
    threading.Event().wait(0.11)
    sadb.get_spi("sec0")


# -- SAs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encryption": "rot13"}, "unknown cipher 'rot13'; known: aes-128-gcm"),
        ({"encryption_key": b"K" * 32}, "aes-256-gcm takes a key of 36 octets, not of 32"),
        ({"auth": "hmac-sha1", "auth_key": b"A" * 20}, "authenticates by itself: leave out hmac-sha1"),
        ({"encryption": "aes-256", "encryption_key": b"K" * 32}, "needs an authentication"),
        ({"encryption": "null", "encryption_key": b"", "auth": "md5"}, "unknown authentication 'md5'"),
        ({"auth_key": b"A"}, "no auth takes a key of 0 octets, not of 1"),
        ({"replay": 32}, "0 .off. or 64 to 4096"),
        ({"replay": 0, "esn": True}, "extended sequence numbers need a replay window"),
        ({"source": "2001:db8::1"}, "different address families"),
        ({"destination": "peer.example"}, "destination 'peer.example' is no IPv4 or IPv6 address"),
        ({"destination": "224.0.0.1"}, "no unicast address"),
        ({"source": "0.0.0.0"}, "no unicast address"),
        ({"source": "::ffff:192.0.2.1", "destination": "2001:db8::2"}, "no unicast address"),
    ],
)
def test_an_sa_that_cannot_work_is_refused_with_the_reason(sadb: SADB, fields: dict[str, Any], words: str) -> None:
    with refused(errno.EINVAL, words):
        sadb.add(sa(**fields))
    assert sadb.dump() == []


def test_keys_are_shown_to_those_who_ask_and_to_nobody_else(sadb: SADB) -> None:
    entire = sa(encryption="aes-128", encryption_key=b"K" * 16, auth="hmac-sha1", auth_key=b"A" * 20)
    sadb.add(entire)
    assert sadb.get(entire, with_keys=True).sa == entire
    assert sadb.dump(with_keys=True)[0].sa == entire
    for entry in (sadb.get(entire), sadb.dump()[0]):
        assert (entry.sa.encryption_key, entry.sa.auth_key) == (b"", b"")
    assert "KKK" not in repr(entire)


def test_an_entry_shows_what_the_engine_counted(sadb: SADB) -> None:
    sadb.add(sa(0x1000, "in"))
    sadb.add(sa(0x1001, "out"))
    inbound, outbound = sadb.dump()
    assert inbound.counters == m.Counters(
        input_packets=9, input_bytes=2044, input_decompressed_bytes=853, input_drops=1
    )
    assert outbound.counters == m.Counters(
        output_packets=9, output_bytes=2044, output_uncompressed_bytes=853, output_drops=1
    )
    assert (outbound.current.bytes, outbound.rpl, outbound.lastuse, outbound.idle) == (853, 10, 0, None)
    assert outbound.current.addtime > 1_600_000_000


def test_an_sa_is_found_by_any_spelling_of_its_destination(sadb: SADB) -> None:
    sadb.add(sa(source="2001:DB8::1", destination="2001:0db8:0:0::2"))
    assert sadb.get(sa(destination="2001:db8::2")).sa.destination == "2001:db8::2"
    with refused(errno.ESRCH, "no SA out with SPI 0x00001001 to 2001:db8::3"):
        sadb.get(sa(destination="2001:db8::3"))


def test_update_moves_an_sa_and_its_counters_go_on(sadb: SADB) -> None:
    sadb.add(sa())
    moved = m.Update(0, 0x1001, "out", "192.0.2.2", "192.0.2.1", "198.51.100.9", m.UdpEncap(4500, 1024))
    sadb.ask(moved, m.Done)
    entry = sadb.get(sa(destination="198.51.100.9"))
    assert (entry.sa.udpencap, entry.counters.output_packets) == (m.UdpEncap(4500, 1024), 9)
    with refused(errno.ESRCH, "to 192.0.2.2"):
        sadb.get(sa())
    with refused(errno.EINVAL, "families"):
        sadb.ask(m.Update(0, 0x1001, "out", "198.51.100.9", "192.0.2.1", "2001:db8::1", None), m.Done)


def test_an_update_does_not_take_the_place_of_another_sa(sadb: SADB) -> None:
    sadb.add(sa())
    sadb.add(sa(destination="192.0.2.3"))
    with refused(errno.EEXIST, "to 192.0.2.3"):
        sadb.ask(m.Update(0, 0x1001, "out", "192.0.2.2", "192.0.2.1", "192.0.2.3", None), m.Done)


def test_what_the_engine_refuses_is_not_in_the_database(plane: Plane, sadb: SADB) -> None:
    plane.engine.add_error = OSError(errno.ENOMEM, "no memory for a window")
    with refused(errno.ENOMEM, "no memory for a window"):
        sadb.add(sa())
    plane.engine.add_error = None
    sadb.add(sa())


def test_delete_and_flush_take_away_what_they_name(plane: Plane, sadb: SADB) -> None:
    for spi, iface in ((1000, "sec0"), (1001, "sec1"), (1002, "sec1"), (1003, "sec0")):
        sadb.add(sa(spi, iface=iface))
    sadb.delete(sa(1003))
    with refused(errno.ESRCH, "no SA"):
        sadb.delete(sa(1003))
    sadb.flush("sec1")
    assert [entry.sa.spi for entry in sadb.dump()] == [1000]
    sadb.flush()
    assert sadb.dump() == []
    assert plane.engine.sas == {}


def test_a_long_dump_comes_in_order_of_spi_and_others_are_served_meanwhile(plane: Plane, sadb: SADB) -> None:
    for spi in range(9000, 5000, -1):
        sadb.add(sa(spi))
    slow = plane.connect()
    slow.send(m.Dump(1))
    sadb.add(sa(70_000))
    assert len(sadb.dump()) == 4001
    assert isinstance(slow.receive(), m.Begin)
    seen = [slow.receive() for _ in range(4000)]
    spis = [entry.sa.spi for entry in seen if isinstance(entry, m.Entry)]
    assert spis == sorted(spis)
    assert len(spis) == 4000


def test_lists_on_one_connection_are_bounded(plane: Plane) -> None:
    with plane.connect() as client:
        for spi in range(2000, 4000):
            client.add(sa(spi))
        for seq in range(1, clients.MAX_LISTS + 20):
            client.send(m.Dump(seq))
        failures = []
        while not failures:
            message = client.receive()
            failures += [message] if isinstance(message, m.Failed) else []
        assert failures[0].errno == errno.EBUSY


def test_a_full_database_refuses(sadb: SADB, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MAX_SAS", 2)
    sadb.add(sa(1000))
    sadb.add(sa(1001))
    with refused(errno.ENOBUFS, "full: 2 SAs"):
        sadb.add(sa(1002))


# -- lifetimes --------------------------------------------------------------------------------------------


def test_a_soft_limit_makes_an_sa_dying_and_the_hard_one_ends_it(plane: Plane) -> None:
    with register(plane) as iked:
        iked.add(sa(soft=seconds(1), hard=seconds(2)))
        iked.add(sa(2000, soft=seconds(30), hard=seconds(60)))
        soft = iked.receive()
        assert soft == m.Expire(sa(encryption_key=b"", soft=seconds(1), hard=seconds(2)), "soft", "seconds")
        assert iked.get(sa()).state == "dying"
        hard = iked.receive()
        assert isinstance(hard, m.Expire)
        assert (hard.kind, hard.limit) == ("hard", "seconds")
        assert [entry.sa.spi for entry in iked.dump()] == [2000]
        assert list(plane.engine.sas) == [("out", 2000, "192.0.2.2")]


def test_a_limit_since_first_use_starts_with_the_first_use(plane: Plane) -> None:
    with register(plane) as iked:
        iked.add(sa(hard=m.Lifetime(usetime=1)))
        threading.Event().wait(1.2)
        assert iked.get(sa()).state == "mature"
        plane.engine.sas["out", 0x1001, "192.0.2.2"]["first_use"] = time.time()
        started = time.monotonic()
        expired = iked.receive()
        assert isinstance(expired, m.Expire)
        assert expired.kind == "hard"
        assert 0.9 <= time.monotonic() - started < 2


def test_limits_in_bytes_and_packets_come_from_the_engine(plane: Plane) -> None:
    with register(plane) as iked:
        iked.add(sa())
        plane.engine.emit(
            ("expire", 0x1001, "out", "192.0.2.2", "soft", "bytes"),
            ("expire", 0x1001, "out", "192.0.2.2", "soft", "packets"),  # it is dying already
            ("expire", 0x9999, "out", "192.0.2.2", "hard", "packets"),  # no such SA
            ("expire", 0x1001, "out", "192.0.2.2", "hard", "packets"),
        )
        first, second = iked.receive(), iked.receive()
        assert isinstance(first, m.Expire)
        assert isinstance(second, m.Expire)
        assert (first.kind, first.limit) == ("soft", "bytes")
        assert (second.kind, second.limit) == ("hard", "packets")
        assert plane.engine.sas == {}


# -- events -----------------------------------------------------------------------------------------------


def test_iked_hears_of_an_sa_that_somebody_else_deleted(plane: Plane, sadb: SADB) -> None:
    with register(plane) as iked:
        iked.add(sa(1000))
        iked.add(sa(1001))
        iked.delete(sa(1000))
        sadb.flush()
        told = iked.receive()
        assert isinstance(told, m.Expire)
        assert (told.sa.spi, told.kind) == (1001, "deleted")


def test_a_new_mapping_names_the_interface(plane: Plane) -> None:
    with register(plane) as iked:
        iked.add(sa(5000, "in", iface="sec7"))
        plane.engine.emit(("mapping", 4999, "198.51.100.1", 1024), ("mapping", 5000, "198.51.100.1", 1024))
        assert iked.receive() == m.NewMapping(5000, "sec7", "198.51.100.1", 1024)


def test_a_monitor_sees_every_change_and_no_key(plane: Plane, sadb: SADB) -> None:
    with register(plane, "monitor") as monitor:
        sadb.get_spi("sec0")
        sadb.add(sa())
        sadb.ask(m.Update(0, 0x1001, "out", "192.0.2.2", "192.0.2.1", "192.0.2.9", None), m.Done)
        sadb.flush()
        changes = [monitor.receive() for _ in range(5)]
        assert [change.what for change in changes if isinstance(change, m.Change)] == [
            "getspi", "add", "update", "delete", "flush",
        ]  # fmt: skip
        assert b"KKK" not in msgspec.msgpack.encode(changes)


def test_a_worker_that_cannot_go_on_is_the_end(plane: Plane) -> None:
    plane.engine.emit(("fatal", "worker 1: EIO"))
    wait_for(lambda: plane.fatal == ["worker 1: EIO"], "the fatal event")


# -- IKE datagrams ----------------------------------------------------------------------------------------


def ike(number: int) -> tuple[Any, ...]:
    """Make an engine event."""
    return ("ike", "192.0.2.1", 500, "192.0.2.2", 500, number.to_bytes(4, "big"))


def test_datagrams_wait_for_an_iked_the_newest_dropped_first(plane: Plane, sadb: SADB) -> None:
    plane.engine.emit(*(ike(number) for number in range(inbox.MAX_WAITING + 10)))
    wait_for(lambda: sadb.counters()["drop_ike_not_read"] == 10, "ten are dropped")
    with register(plane) as iked:
        numbers = [int.from_bytes(iked.receive().data, "big") for _ in range(inbox.MAX_WAITING)]  # type: ignore[union-attr]
        assert numbers == list(range(inbox.MAX_WAITING))
        plane.engine.emit(ike(4711))
        assert iked.receive() == m.Datagram("192.0.2.1", 500, "192.0.2.2", 500, (4711).to_bytes(4, "big"))


def test_a_flood_does_not_pile_up_before_an_iked_that_does_not_read(plane: Plane, sadb: SADB) -> None:
    with register(plane) as iked:
        for _ in range(20):
            plane.engine.emit(*(ike(number) for number in range(500)))
        wait_for(lambda: not plane.engine.events, "the events are taken")
        dropped = sadb.counters()["drop_ike_not_read"]
        assert dropped > 8000
        read = [iked.receive() for _ in range(10_000 - dropped)]
        assert all(isinstance(message, m.Datagram) for message in read)
        plane.engine.emit(ike(1))
        assert isinstance(iked.receive(), m.Datagram)


def test_what_iked_sends_goes_to_the_network_and_an_error_is_counted_and_logged_once(plane: Plane, sadb: SADB) -> None:
    with register(plane) as iked:
        out = m.Datagram("192.0.2.1", 4500, "192.0.2.2", 4500, b"hello")
        iked.send(out)
        wait_for(lambda: plane.engine.sent == [("192.0.2.1", 4500, "192.0.2.2", 4500, b"hello")], "it is sent")
        plane.engine.send_error = OSError(errno.ENETUNREACH, "Network is unreachable")
        for _ in range(50):
            iked.send(out)
        iked.dump()
        assert sadb.counters()["ike_send_errors"] == 50
        wait_for(lambda: any("cannot send" in line for line in plane.log), "it is logged")
        lines = [line for line in plane.log if "cannot send" in line]
        assert len(lines) == 1
        assert "5 octets from 192.0.2.1 port 4500 to 192.0.2.2 port 4500: Network is unreachable; `ip route" in lines[0]
        plane.engine.send_error = OSError(errno.EPERM, "IKE from 192.0.2.1 to 192.0.2.2:4500: Not permitted")
        iked.send(out)
        wait_for(lambda: any(line.endswith("port 4500: Not permitted") for line in plane.log), "another cause is told")


# -- batches and checkpoints ------------------------------------------------------------------------------


def test_a_batch_is_carried_out_in_order_and_each_request_answered(plane: Plane) -> None:
    with register(plane) as iked:
        plane.engine.calls.clear()
        iked.send(
            m.Batch((
                m.CheckpointInUse("ike1"),
                m.Checkpoint("ike1", b"state"),
                m.Add(101, sa(1000)),
                m.Add(102, sa(1000)),
                m.Datagram("", 500, "192.0.2.2", 500, b"now use it"),
                m.Delete(103, 1000, "out", "192.0.2.2"),
                m.CheckpointInUse(None),
            ))
        )  # fmt: skip
        answers = [iked.receive() for _ in range(3)]
        assert answers[0] == m.Done(101)
        assert isinstance(answers[1], m.Failed)
        assert answers[2] == m.Done(103)
        assert plane.engine.calls == ["add", "send", "delete"]


def test_a_new_iked_gets_every_checkpoint_before_its_registration_is_answered(plane: Plane) -> None:
    with register(plane) as iked:
        iked.send(m.Checkpoint("a", b"1"))
        iked.send(m.Checkpoint("b", b"2"))
        iked.send(m.Checkpoint("c", b"3"))
        iked.send(m.Checkpoint("a", b"4"))
        iked.send(m.CheckpointForget("b"))
        iked.dump()
    with plane.connect() as successor:
        successor.send(m.Register(1, "iked"))
        assert [successor.receive() for _ in range(3)] == [
            m.Checkpoint("a", b"4"), m.Checkpoint("c", b"3"), m.Done(1),
        ]  # fmt: skip


def test_more_checkpoints_than_a_channel_holds_back_are_sent_as_iked_reads(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with register(plane) as iked:
        for number in range(100):
            iked.send(m.Checkpoint(str(number), bytes(20_000)))
        iked.dump()
    monkeypatch.setattr(channel, "MAX_BACKLOG", 100_000)
    with plane.connect() as successor:
        successor.send(m.Register(1, "iked"))
        plane.engine.emit(ike(5))
        wait_for(lambda: not plane.engine.events, "the datagram is taken")
        came = [successor.receive() for _ in range(102)]
        assert [message.id for message in came if isinstance(message, m.Checkpoint)] == [str(n) for n in range(100)]
        assert came[100] == m.Done(1)
        assert isinstance(came[101], m.Datagram)


def test_the_newest_iked_wins(plane: Plane) -> None:
    with register(plane) as older, register(plane) as newer:
        with pytest.raises(ChannelError, match="closed"):
            older.receive()
        plane.engine.emit(ike(5))
        assert isinstance(newer.receive(), m.Datagram)


def kill_while_working(plane: Plane, name: str, *, save: bytes | None = None) -> None:
    """Register as iked, and end while `name` is worked on."""
    with register(plane) as iked:
        if save is not None:
            iked.send(m.Checkpoint(name, save))
        iked.send(m.CheckpointInUse(name))
        iked.dump()


def test_a_checkpoint_that_kills_iked_twice_is_dropped_with_its_sas_alone(plane: Plane, sadb: SADB) -> None:
    kill_while_working(plane, "bad", save=b"poison")
    with register(plane) as iked:
        iked.send(m.Checkpoint("good", b"fine"))
        iked.add(sa(1000, checkpoint="bad"))
        iked.add(sa(1001, "in", checkpoint="bad"))
        iked.add(sa(1002, checkpoint="good"))
        iked.send(m.CheckpointInUse("bad"))
        iked.dump()
    wait_for(lambda: [entry.sa.spi for entry in sadb.dump()] == [1002], "the SAs of the checkpoint are gone")
    words = "died twice over the IKE SA bad: it is dropped, and 2 IPsec SAs with it"
    wait_for(lambda: any(words in line for line in plane.log), "it is logged")
    with plane.connect() as successor:
        successor.send(m.Register(1, "iked"))
        assert successor.receive() == m.Checkpoint("good", b"fine")


def test_a_newer_checkpoint_clears_the_strikes_of_the_older(plane: Plane) -> None:
    kill_while_working(plane, "ike1", save=b"one")
    kill_while_working(plane, "ike1", save=b"two")
    with plane.connect() as successor:
        successor.send(m.Register(1, "iked"))
        assert successor.receive() == m.Checkpoint("ike1", b"two")


def test_an_iked_that_ends_between_its_works_gives_no_strike(plane: Plane) -> None:
    kill_while_working(plane, "ike1", save=b"one")
    for _ in range(3):
        with register(plane) as iked:
            iked.send(m.CheckpointInUse("ike1"))
            iked.send(m.CheckpointInUse(None))
            iked.dump()
    with plane.connect() as successor:
        successor.send(m.Register(1, "iked"))
        assert successor.receive() == m.Checkpoint("ike1", b"one")


def test_checkpoints_are_bounded(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "MAX_COUNT", 2)
    monkeypatch.setattr(checkpoints, "MAX_OCTETS", 10)
    with register(plane) as iked:
        for name, data in (("a", b"123"), ("b", b"123"), ("c", b"123"), ("a", b"12345678")):
            iked.send(m.Checkpoint(name, data))
        iked.dump()
    with plane.connect() as successor:
        successor.send(m.Register(1, "iked"))
        assert [successor.receive(), successor.receive()] == [m.Checkpoint("b", b"123"), m.Done(1)]
    wait_for(lambda: [line for line in plane.log if "no room" in line] != [], "it is logged")
    assert len([line for line in plane.log if "no room" in line]) == 1


def test_only_the_registered_iked_may_keep_checkpoints_or_send(plane: Plane) -> None:
    for message in (m.Checkpoint("a", b"1"), m.Datagram("", 500, "192.0.2.2", 500, b"x"), m.CheckpointInUse("a")):
        with plane.connect() as stranger:
            stranger.send(message)
            with pytest.raises(ChannelError, match="closed"):
                stranger.receive()
    assert plane.engine.sent == []


# -- clients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [b"junk", b"\xc1", b"\x81\xa4type\xa3add", b"\x93" * 5000, b"A" * 100_000])
def test_a_client_that_speaks_nonsense_is_closed_and_nobody_else(plane: Plane, sadb: SADB, junk: bytes) -> None:
    with plane.raw() as stranger:
        stranger.send(junk)
        assert stranger.recv(100) == b""
    assert sadb.dump() == []


def test_connections_are_bounded(plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MAX_CLIENTS", 2)
    path = str(tmp_path / "sadb.sock")
    plane.listen(path)
    with SADB.connect(path) as one, SADB.connect(path) as two:
        one.dump(), two.dump()
        with SADB.connect(path) as three, pytest.raises(ChannelError):
            three.dump()
        one.dump()
    wait_for(lambda: plane.service.count() == 0, "the places are free again")
    with SADB.connect(path) as four:
        four.dump()


@pytest.mark.root
def test_another_user_is_refused(plane: Plane, tmp_path: Path) -> None:
    path = Path("/tmp") / f"secd-test-{tmp_path.name}.sock"
    plane.listen(str(path))
    script = f"""
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(5); s.connect({str(path)!r})
print(s.recv(10))
"""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script], user=65534, capture_output=True, text=True, check=False, timeout=10
    )
    path.unlink()
    assert done.stdout.strip() == "b''", done.stderr
    wait_for(lambda: any("of user 65534: the SADB is root's" in line for line in plane.log), "it is logged")


def test_a_socket_closed_in_the_middle_of_a_list_harms_nobody(plane: Plane, sadb: SADB) -> None:
    for spi in range(1000, 3000):
        sadb.add(sa(spi))
    with plane.connect() as leaver:
        leaver.send(m.Dump(1))
        leaver.receive()
    assert len(sadb.dump()) == 2000
    assert not any("failed" in line for line in plane.log)
