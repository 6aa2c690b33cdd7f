"""The shell around the machine: steps become batches, answers find back, and a failing SA fails alone.

The machine here is a stand-in that does as it is told, and the data plane is the other end of the seam: what is tested
is the shell's own promise.
"""

import asyncio
import errno

import msgspec

from secd.control.family import KeyResult, PRFRequest, SignRequest
from secd.ike.contract import (
    AddSA,
    ComputeFailed,
    ComputePRF,
    ComputeSharedSecret,
    ComputeSignature,
    DeleteSA,
    GenerateKeyPair,
    InstalledSA,
    KeyPair,
    LastUse,
    Log,
    PRFResult,
    QueryLastUse,
    ReservedSPI,
    ReserveSPI,
    SAFailed,
    SaveCheckpoint,
    Send,
    SharedSecret,
)
from secd.ike.crypto.groups import GROUPS
from secd.iked.batches import MAX_REQUESTS, batches, octets, to_request
from secd.iked.compute import MAX_QUEUE, Computer
from secd.iked.logs import LINES, WINDOW, Logs
from secd.iked.shell import MAX_RESCUES, Shell
from secd.ipc.channel import MAX_MESSAGE, BlockingChannel, pair
from secd.sadb.messages import (
    SA,
    Add,
    Batch,
    Begin,
    Checkpoint,
    CheckpointForget,
    CheckpointInUse,
    Commit,
    Counters,
    Datagram,
    Delete,
    Done,
    Dump,
    Entry,
    Expire,
    Failed,
    Get,
    GetSPI,
    Lifetime,
    Register,
    Request,
    Reserved,
)

SEND = Send("192.0.2.1", 500, "198.51.100.1", 500, b"hello")
SEED = bytes(range(1, 1 + GROUPS["ecp256"].seed_octets))
SENT = Datagram("192.0.2.1", 500, "198.51.100.1", 500, b"hello")
FROM_PEER = Datagram("192.0.2.1", 500, "198.51.100.1", 500, b"message")


def sa(spi=0x1000, direction="in", iface="sec0"):
    return SA(spi, direction, iface, "198.51.100.1", "192.0.2.1", "aes-128", b"e" * 16, "hmac-sha1", b"a" * 20)


def installed(spi=0x1000, direction="in", iface="sec0"):
    return InstalledSA(spi, direction, iface, "198.51.100.1", "192.0.2.1")


class Machine:
    """Does what `script[call]` says: appends outputs, or raises."""

    def __init__(self, random, working):
        self.random, self.working = random, working
        self.calls = []
        self.script = {}
        self.out = []
        self.sas = []
        self.deadline = None

    def _do(self, call, *details):
        self.calls.append((call, *details))
        if call in self.script:
            self.script[call](self)

    def configure(self, connections, now):
        self._do("configure", connections)

    def restore(self, checkpoint_id, data, now):
        self._do("restore", checkpoint_id, data)

    def receive(self, datagram, now):
        self._do("receive", datagram)

    def answer(self, request_id, answer, now):
        self._do("answer", request_id, answer)

    def event(self, event, now):
        self._do("event", event)

    def handle_timer(self, now):
        self.deadline = None
        self._do("handle_timer")

    def next_deadline(self):
        return self.deadline

    def outputs(self):
        taken, self.out = self.out, []
        return taken

    def status(self, now):
        return []

    def reset(self, name, now):
        self._do("reset", name)
        return name in (None, "sec0")

    def shutdown(self, now):
        self._do("shutdown")

    def installed(self):
        return list(self.sas)

    def abandon(self, checkpoint_id, now):
        self._do("abandon", checkpoint_id)


class World:
    """A shell with the data plane's end of the seam in the test's hand."""

    def __init__(self):
        ours, theirs = pair()
        self.plane = BlockingChannel(theirs, Request, timeout=2)
        self.asked, self.lines, self.computed = [], [], []
        self.lost = []
        self.logs = Logs(self.lines.append, verbose=True, clock=asyncio.get_running_loop().time)
        self.shell = Shell(
            self._make,
            ours,
            ask_parent=self.asked.append,
            computer=self,
            logs=self.logs,
            on_running=lambda: None,
            on_seam_lost=self.lost.append,
        )

    def _make(self, random, working):
        self.machine = Machine(random, working)
        return self.machine

    def submit(self, request, on_result):
        self.computed.append((request, on_result))

    async def start(self, *checkpoints, entries=(), connections=()):
        """Bring it up: registered, checkpoints taken up, configured, compared."""
        register = self.plane.receive()
        assert isinstance(register, Register)
        assert register.role == "iked"
        for checkpoint in checkpoints:
            self.plane.send(checkpoint)
        self.plane.send(Done(register.seq))
        await self.turn()
        self.shell.configure(list(connections))
        dump = next(m for m in self.received() if isinstance(m, Dump))
        self.plane.send(Begin(dump.seq))
        for one in entries:
            self.plane.send(Entry(dump.seq, one, "mature", Lifetime(), 0, Counters(), 0))
        self.plane.send(Commit(dump.seq))
        await self.turn()
        return self

    async def turn(self):
        for _ in range(3):
            await asyncio.sleep(0)

    def received(self):
        """Take everything that has come to the data plane."""
        messages = []
        self.plane._sock.settimeout(0)
        while True:
            try:
                messages.append(self.plane.receive())
            except Exception:
                self.plane._sock.settimeout(2)
                return messages

    async def event(self, event):
        self.plane.send(event)
        await self.turn()


def run(test):
    """Make an asyncio test an ordinary one."""

    def wrapper():
        asyncio.run(test())

    wrapper.__name__ = test.__name__
    return wrapper


@run
async def test_checkpoints_are_taken_up_before_the_configuration_and_each_is_named_first():
    world = World()
    world.plane.receive()
    world.shell.configure(["connections"])
    assert world.machine.calls == []  # or tunnels that are up would be started anew
    world.plane.send(Checkpoint("a", b"A"))
    world.plane.send(Checkpoint("b", b"B"))
    world.plane.send(FROM_PEER)
    world.plane.send(Done(1))
    await world.turn()
    assert world.machine.calls == [
        ("restore", "a", b"A"),
        ("restore", "b", b"B"),
        ("configure", ["connections"]),
        ("receive", FROM_PEER),
    ]
    in_use = [m.id for m in world.received() if isinstance(m, CheckpointInUse)]
    assert in_use == ["a", None, "b", None]


@run
async def test_without_a_checkpoint_peers_are_not_heard_before_the_configuration():
    world = World()
    world.plane.receive()
    world.plane.send(Done(1))
    world.plane.send(FROM_PEER)
    await world.turn()
    world.shell.configure(["connections"])
    await world.turn()
    assert world.machine.calls == [("configure", ["connections"])]
    world.plane.send(FROM_PEER)
    await world.turn()
    assert world.machine.calls[1:] == [("receive", FROM_PEER)]


@run
async def test_one_step_is_one_batch_in_order():
    world = await World().start()
    world.received()
    world.machine.script["receive"] = lambda m: m.out.extend(
        [AddSA(1, sa()), SaveCheckpoint("a", b"A"), SEND, DeleteSA(0x2000, "out", "198.51.100.1")]
    )
    await world.event(FROM_PEER)
    (batch,) = world.received()
    assert isinstance(batch, Batch)
    add, checkpoint, datagram, delete = batch.requests
    assert isinstance(add, Add)
    assert add.sa == sa()
    assert checkpoint == Checkpoint("a", b"A")
    assert datagram == SENT
    assert isinstance(delete, Delete)


@run
async def test_what_was_done_for_one_sa_leaves_before_the_next_is_touched():
    world = await World().start()
    world.received()

    def timer(machine):
        machine.working("a")
        machine.out.append(SaveCheckpoint("a", b"A"))
        machine.working("b")
        raise RuntimeError("b is broken")

    world.machine.script["event"] = timer
    await world.event(Expire(sa(), "soft"))
    messages = world.received()
    assert messages[:3] == [CheckpointInUse("a"), Batch((Checkpoint("a", b"A"),)), CheckpointInUse("b")]
    assert world.machine.calls[-1] == ("abandon", "b")


@run
async def test_a_datagram_that_breaks_the_machine_costs_its_sa_nothing_but_that_step():
    world = await World().start(Checkpoint("a", b"A"))
    world.received()

    def receive(machine):
        machine.working("a")
        machine.out.append(SEND)
        raise ValueError("not a payload")

    world.machine.script["receive"] = receive
    for n in range(1, MAX_RESCUES + 5):  # anybody can send datagrams: they never make it drop an SA
        await world.event(FROM_PEER)
        assert world.machine.calls[-2:] == [("abandon", "a"), ("restore", "a", b"A")]
        assert world.shell.exceptions == n
    messages = world.received()
    assert not any(isinstance(m, Batch | CheckpointForget) for m in messages)
    assert messages[-1] == CheckpointInUse(None)
    errors = [line.message for line in world.lines if line.level == "error"]
    assert "reading a peer's message (a), no. 1 since the start: ValueError: not a payload at" in errors[0]
    assert "test_iked_shell.py" in errors[0]


@run
async def test_an_sa_whose_own_work_breaks_the_machine_again_and_again_is_dropped_alone():
    world = await World().start(Checkpoint("a", b"A"), Checkpoint("b", b"B"))
    world.received()
    world.machine.sas = [installed(0x1000), installed(0x2000)]

    def event(machine):
        machine.working("a")
        raise KeyError("state")

    def abandon(machine):
        machine.sas = [installed(0x2000)]

    world.machine.script.update(event=event, abandon=abandon, restore=lambda m: m.sas.insert(0, installed(0x1000)))
    for _ in range(MAX_RESCUES + 1):
        await world.event(Expire(sa(), "soft"))
    messages = world.received()
    assert CheckpointForget("a") in messages
    assert [m.spi for m in messages if isinstance(m, Delete)] == [0x1000]
    assert CheckpointForget("b") not in messages


@run
async def test_a_checkpoint_that_cannot_be_taken_up_is_dropped_alone():
    world = World()
    register = world.plane.receive()

    def restore(machine):
        if machine.calls[-1][1] == "a":
            raise ValueError("from another version")

    world.machine.script["restore"] = restore
    for one in (Checkpoint("a", b"A"), Checkpoint("b", b"B"), Done(register.seq)):
        world.plane.send(one)
    await world.turn()
    assert ("abandon", "a") in world.machine.calls
    assert world.received().count(CheckpointForget("a")) == 1
    assert world.machine.calls[-1] == ("restore", "b", b"B")


@run
async def test_a_configuration_is_applied_to_the_others_when_one_sa_fails_over_it():
    world = World()
    failures = iter(["a", "b"])

    def configure(machine):
        if (broken := next(failures, None)) is not None:
            machine.working(broken)
            raise ValueError("no such field")

    world.machine.script["configure"] = configure
    await world.start(Checkpoint("a", b"A"), Checkpoint("b", b"B"), Checkpoint("c", b"C"))
    calls = [call[:2] for call in world.machine.calls[3:]]
    assert [call[0] for call in calls].count("configure") == 3
    assert [call[1] for call in calls if call[0] == "abandon"] == ["a", "b"]


@run
async def test_orphans_of_our_interfaces_are_deleted_and_others_left_alone():
    class Connection:
        iface = "sec0"

    world = World()
    world.machine.sas = [installed(0x1000)]
    entries = (sa(0x1000), sa(0x3000), sa(0x4000, iface="sec9"))
    await world.start(entries=entries, connections=[Connection()])
    assert [m.spi for m in world.received() if isinstance(m, Delete)] == [0x3000]


@run
async def test_an_sa_that_the_data_plane_lost_is_told_to_the_machine():
    world = World()
    world.machine.sas = [installed(0x1000), installed(0x2000, "out")]
    await world.start(entries=(sa(0x1000),))
    (event,) = [call[1] for call in world.machine.calls if call[0] == "event"]
    assert (event.sa.spi, event.sa.direction, event.kind) == (0x2000, "out", "deleted")


@run
async def test_an_sa_that_is_refused_is_told_and_one_that_is_accepted_is_not():
    world = await World().start()
    world.received()
    world.machine.script["receive"] = lambda m: m.out.extend([AddSA(7, sa()), AddSA(8, sa(0x2000))])
    await world.event(FROM_PEER)
    (batch,) = world.received()
    first, second = batch.requests
    await world.event(Done(first.seq))
    await world.event(Failed(second.seq, errno.EEXIST, "there is such an SA"))
    assert world.machine.calls[-1] == ("answer", 8, SAFailed("there is such an SA"))
    assert not any(call[:2] == ("answer", 7) for call in world.machine.calls)


@run
async def test_an_sa_that_the_data_plane_could_not_read_is_refused_here():
    world = await World().start()
    world.received()
    world.machine.script["receive"] = lambda m: m.out.extend([AddSA(7, sa(spi=5)), SEND])
    await world.event(FROM_PEER)
    await world.turn()
    assert world.received() == [Batch((SENT,))]
    (answer,) = [call for call in world.machine.calls if call[0] == "answer"]
    assert answer[1] == 7
    assert isinstance(answer[2], SAFailed)


@run
async def test_questions_to_the_data_plane_are_answered():
    world = await World().start()
    world.received()
    world.machine.script["receive"] = lambda m: m.out.extend(
        [ReserveSPI(1, "sec0"), QueryLastUse(2, 0x1000, "192.0.2.1")]
    )
    await world.event(FROM_PEER)
    spi, get = world.received()
    assert isinstance(spi, GetSPI)
    assert isinstance(get, Get)
    await world.event(Reserved(spi.seq, 0xABCD))
    await world.event(Entry(get.seq, sa(), "mature", Lifetime(), 0, Counters(), 0, idle=1.5))
    assert world.machine.calls[-2:] == [("answer", 1, ReservedSPI(0xABCD)), ("answer", 2, LastUse(1.5))]


@run
async def test_an_sa_that_is_not_there_was_never_used():
    world = await World().start()
    world.received()
    world.machine.script["receive"] = lambda m: m.out.append(QueryLastUse(2, 0x1000, "192.0.2.1"))
    await world.event(FROM_PEER)
    (get,) = world.received()
    await world.event(Failed(get.seq, errno.ESRCH, "no such SA"))
    assert world.machine.calls[-1] == ("answer", 2, LastUse(None))


@run
async def test_the_key_holder_is_asked_by_handle_and_its_answers_find_back():
    world = await World().start()
    world.machine.script["receive"] = lambda m: m.out.extend(
        [ComputePRF(1, "handle", "sha1", b"Ni|Nr"), ComputeSignature(2, "handle", "rsa", b"HASH")]
    )
    await world.event(FROM_PEER)
    prf, sign = world.asked
    assert (type(prf), prf.key, prf.hash, prf.data) == (PRFRequest, "handle", "sha1", b"Ni|Nr")
    assert isinstance(sign, SignRequest)
    world.shell.on_key_result(KeyResult(sign.seq, error="not built yet"))
    world.shell.on_key_result(KeyResult(prf.seq, b"SKEYID"))
    world.shell.on_key_result(KeyResult(prf.seq, b"again"))
    assert world.machine.calls[-2:] == [
        ("answer", 2, ComputeFailed("not built yet")),
        ("answer", 1, PRFResult(b"SKEYID")),
    ]


@run
async def test_the_timer_is_set_to_the_machines_deadline_and_never_spins():
    world = await World().start()
    world.machine.script["reset"] = lambda m: setattr(m, "deadline", asyncio.get_running_loop().time() + 0.02)
    assert world.shell.reset("sec0")
    await asyncio.sleep(0.01)
    assert ("handle_timer",) not in world.machine.calls
    await asyncio.sleep(0.03)
    assert world.machine.calls.count(("handle_timer",)) == 1
    world.machine.script["handle_timer"] = lambda m: setattr(m, "deadline", 0.0)
    world.machine.script["reset"] = lambda m: setattr(m, "deadline", 0.0)
    world.shell.reset("sec0")
    await asyncio.sleep(0.05)
    assert 2 < world.machine.calls.count(("handle_timer",)) <= 55


@run
async def test_a_timer_that_raises_is_not_called_again_at_once():
    world = await World().start()

    def broken(machine):
        machine.deadline = 0.0
        raise RuntimeError("no SA to blame")

    world.machine.script["handle_timer"] = broken
    world.machine.script["reset"] = lambda m: setattr(m, "deadline", 0.0)
    world.shell.reset("sec0")
    await asyncio.sleep(0.1)
    assert world.machine.calls.count(("handle_timer",)) == 1


@run
async def test_after_the_farewell_nothing_is_done_any_more():
    world = await World().start()
    world.received()
    world.machine.script["shutdown"] = lambda m: m.out.append(SEND)
    done = []
    world.shell.shutdown(lambda: done.append(True))
    batch, question = world.received()
    assert batch == Batch((SENT,))
    await world.event(FROM_PEER)
    assert world.machine.calls[-1] == ("shutdown",)
    assert not done  # until the data plane has seen it all
    await world.event(Failed(question.seq, errno.ESRCH, "no such SA"))
    assert done


@run
async def test_a_lost_data_plane_stops_the_machine():
    world = await World().start()
    world.plane.close()
    await world.turn()
    assert world.lost == ["the other side closed"]
    assert world.shell.stopped


def test_a_step_that_does_not_fit_one_message_takes_several_in_order():
    outputs = [Send("", 500, "198.51.100.1", 500, bytes([n % 256]) * 1000) for n in range(600)]
    requests = [to_request(output, 0) for output in outputs]
    made = list(batches((request, octets(request)) for request in requests))
    assert [request for batch in made for request in batch.requests] == requests
    assert all(octets_of(batch) <= MAX_MESSAGE and len(batch.requests) <= MAX_REQUESTS for batch in made)


def octets_of(batch):
    return len(msgspec.msgpack.encode(batch))


def test_the_same_kind_of_line_is_not_logged_without_end():
    lines, now = [], [0.0]
    logs = Logs(lines.append, verbose=False, clock=lambda: now[0])
    for _ in range(100):
        logs(Log("warning", "sec0", "garbage", "a malformed message"))
    logs(Log("warning", "sec1", "garbage", "a malformed message"))
    assert [line.message for line in lines] == ["sec0: a malformed message"] * LINES + ["sec1: a malformed message"]
    now[0] = WINDOW + 1
    logs(Log("warning", "sec0", "garbage", "a malformed message"))
    assert lines[-1].message == f"sec0: a malformed message ({100 - LINES} more like this before)"


def test_a_line_does_not_name_its_tunnel_twice():
    lines = []
    logs = Logs(lines.append, verbose=False, clock=lambda: 0.0)
    for message in ("sec1 is up", "sec1: aes-256", "sec10 is not mine", "up"):
        logs(Log("info", "sec1", message, message))
    assert [line.message for line in lines] == ["sec1 is up", "sec1: aes-256", "sec1: sec10 is not mine", "sec1: up"]


def test_debug_lines_go_to_monitors_alone_unless_wanted():
    lines, monitored = [], []
    logs = Logs(lines.append, verbose=False, clock=lambda: 0.0)
    logs.monitors.add(monitored.append)
    logs(Log("debug", "", "x", "detail"))
    assert (len(lines), len(monitored)) == (0, 1)


def test_an_exception_is_logged_without_the_octets_that_it_quotes():
    lines = []
    logs = Logs(lines.append, verbose=False, clock=lambda: 0.0)
    logs.internal_error("computing", ValueError(f"bad key {b'secret'!r}"))
    assert "secret" not in lines[0].message
    assert "ValueError" in lines[0].message


@run
async def test_diffie_hellman_is_computed_beside_the_loop_and_both_sides_agree():
    computer = Computer()

    async def compute(request):
        future = asyncio.get_running_loop().create_future()
        computer.submit(request, future.set_result)
        return await future

    ours = await compute(GenerateKeyPair(1, "ecp256", SEED))
    theirs = await compute(GenerateKeyPair(2, "ecp256", SEED[::-1]))
    assert isinstance(ours, KeyPair)
    secret = await compute(ComputeSharedSecret(3, "ecp256", ours.private, theirs.public))
    assert secret == await compute(ComputeSharedSecret(4, "ecp256", theirs.private, ours.public))
    assert isinstance(secret, SharedSecret)
    bad = await compute(ComputeSharedSecret(5, "ecp256", ours.private, b"\xff" * 64))
    assert isinstance(bad, ComputeFailed)
    assert isinstance(await compute(GenerateKeyPair(6, "modp42", b"")), ComputeFailed)
    computer.close()


@run
async def test_computations_queue_up_to_a_bound():
    computer = Computer()
    results = []
    for n in range(MAX_QUEUE + 10):
        computer.submit(GenerateKeyPair(n, "ecp256", SEED), results.append)
    while len(results) < MAX_QUEUE + 10:
        await asyncio.sleep(0.01)
    assert sum(isinstance(result, ComputeFailed) for result in results) == 10
    computer.close()


@run
async def test_decoupled_the_data_plane_gets_no_sas_and_loses_those_it_has():
    world = await World().start()
    world.received()
    world.machine.sas = [installed(), installed(0x2000, "out")]
    world.shell.decouple(True)
    deleted = [(each.spi, each.direction) for each in world.received() if isinstance(each, Delete)]
    assert deleted == [(0x1000, "in"), (0x2000, "out")]
    world.machine.script["receive"] = lambda m: m.out.extend([AddSA(1, sa(0x3000)), SEND, SaveCheckpoint("a", b"A")])
    await world.event(FROM_PEER)
    (batch,) = [each for each in world.received() if isinstance(each, Batch)]
    assert batch.requests == (SENT, Checkpoint("a", b"A"))
    calls = list(world.machine.calls)
    await world.event(Expire(sa(), "deleted"))
    assert world.machine.calls == calls  # by our own order: nothing that the machine should hear of


@run
async def test_coupled_again_everything_is_negotiated_anew():
    world = await World().start()
    world.shell.decouple(True)
    world.shell.decouple(True)
    assert ("reset", None) not in world.machine.calls
    world.shell.decouple(False)
    assert world.machine.calls[-1] == ("reset", None)
    world.received()
    world.machine.script["receive"] = lambda m: m.out.append(AddSA(1, sa(0x3000)))
    await world.event(FROM_PEER)
    assert any(isinstance(each, Batch) and isinstance(each.requests[0], Add) for each in world.received())
