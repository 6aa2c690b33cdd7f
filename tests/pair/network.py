"""Two speakers, a virtual clock and a network between them that loses, doubles, delays, reorders and translates.

Each `Node` is a whole secd without its processes: a data plane that only remembers which SAs it has, a key holder, a
computer that answers at once or later, and checkpoints that survive `restart`.  It checks by itself what has to hold
in every scenario: no SA is added twice or deleted when it is not there, and a checkpoint precedes the datagram that
depends on it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from secd.ike.connection import Cipher, Connection, Phase1Proposal, Phase2Proposal, PreSharedKey
from secd.ike.contract import (
    AddSA,
    Answer,
    AssignAddress,
    ComputeFailed,
    ComputePRF,
    ComputeSharedSecret,
    ComputeSignature,
    DeleteSA,
    DropCheckpoint,
    Encapsulate,
    ExpectFrom,
    GenerateKeyPair,
    LastUse,
    Log,
    PRFResult,
    QueryLastUse,
    QueryTime,
    ReservedSPI,
    ReserveSPI,
    SaveCheckpoint,
    Send,
    SignatureResult,
    TimeOfDay,
    UpdateSA,
)
from secd.ike.crypto.hashes import hash_named
from secd.ike.speaker import Speaker
from secd.iked.compute import compute
from secd.parent.keys import KeyHolder, KeyHolderError
from secd.sadb.messages import SA, Datagram, Expire

AES = Cipher("aes", 128, 128, 256)
ALICE, BOB = "192.0.2.1", "198.51.100.1"
#: Small and quick; tests of groups say which group they mean.
GROUP = "ecp256"
KEY_HOLDER = KeyHolder()


def connection(local: str, peer: str | None, **changes: object) -> Connection:
    """A connection of `local` to `peer` as most scenarios want it."""
    values: dict[str, object] = {
        "name": "sec0",
        "origin": "/etc/ipsec.conf: 1",
        "iface": "sec0",
        "local": local,
        "peer": peer,
        "phase1": (Phase1Proposal(AES, "sha2-256", GROUP),),
        "phase2": (Phase2Proposal(AES, "hmac-sha2-256", GROUP),),
        "auth": PreSharedKey("key"),
    }
    return Connection(**{**values, **changes})  # type: ignore[arg-type]


@dataclass
class Installed:
    """An SA in a node's data plane."""

    sa: SA
    used: float | None = None


@dataclass
class Node:
    """One host."""

    net: Network
    address: str
    connections: list[Connection]
    keys: dict[str, bytes] = field(default_factory=lambda: {"key": b"a shared secret"})
    seed: int = 0
    compute_delay: float = 0.0

    def __post_init__(self) -> None:
        self.sas: dict[tuple[int, str], Installed] = {}
        self.order: list[tuple[int, str]] = []
        self.checkpoints: dict[str, bytes] = {}
        self.expected: set[str] = set()
        self.logs: list[Log] = []
        self.assigned: list[AssignAddress] = []
        self.sent: list[Send] = []
        self.added: list[SA] = []
        self.spis = itertools.count(0x1000 + 0x10000 * (self.seed + 1))
        self.alive = True
        self.listening = True
        self.steps = 0
        self.kill_at: int | None = None
        self.rng = random.Random(self.seed)
        self.speaker = Speaker(self.rng.randbytes)
        self.net.nodes.append(self)

    # -- inputs -------------------------------------------------------------------------------------------

    def start(self, *, settled: bool = False) -> Node:
        """Configure the speaker; `settled`: long after its start, so that a passive rule is not tried once."""
        if settled:
            self.do(lambda: self.speaker.configure([], self.net.now - 20.0))
        return self.do(lambda: self.speaker.configure(self.connections, self.net.now))

    def do(self, call: Callable[[], object]) -> Node:
        """Call the speaker and carry out what it wants."""
        if self.alive:
            call()
            self.carry_out()
        return self

    def restart(self) -> Node:
        """Kill the process and start another that takes up the checkpoints."""
        self.speaker = Speaker(self.rng.randbytes)
        for key, data in self.checkpoints.items():
            self.speaker.restore(key, data, self.net.now)
        return self.start()

    def reboot(self) -> Node:
        """Lose everything."""
        self.sas.clear()
        self.order.clear()
        self.checkpoints.clear()
        self.speaker = Speaker(self.rng.randbytes)
        return self.start()

    def reconfigure(self, *connections: Connection) -> Node:
        """Load other rules."""
        self.connections = list(connections)
        return self.start()

    # -- outputs ------------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """Do what the speaker wants, as one batch; a node with `kill_at` dies before or after its nth batch."""
        outputs = self.speaker.outputs()
        if not outputs:
            return
        self.steps += 1
        if self.kill_at == self.steps:
            self.restart()
            return
        self._check_order(outputs)
        for output in outputs:
            self._one(output)
        if self.kill_at == -self.steps:
            self.restart()

    def _check_order(self, outputs: list[object]) -> None:
        """No datagram of an SA goes out before the checkpoint of the same step."""
        spoken: set[str] = set()
        for output in outputs:
            if isinstance(output, Send):
                spoken |= {f"{version}-{spi.hex()}" for version in ("v1", "v2") for spi in _spis(output.data)}
            elif isinstance(output, SaveCheckpoint):
                assert output.id not in spoken, "a checkpoint came after the datagram that depends on it"

    def _one(self, output: object) -> None:
        match output:
            case Send():
                self.sent.append(output)
                self.net.send(self, output)
            case SaveCheckpoint(key, data):
                self.checkpoints[key] = data
            case DropCheckpoint(key):
                del self.checkpoints[key]
            case ExpectFrom(addresses, anew):
                self.expected = set(addresses) if anew else self.expected | set(addresses)
            case AddSA(_, sa):
                assert (sa.spi, sa.direction) not in self.sas, "added twice"
                self.sas[sa.spi, sa.direction] = Installed(sa)
                self.order.append((sa.spi, sa.direction))
                self.added.append(sa)
            case DeleteSA(spi, direction, destination):
                gone = self.sas.pop((spi, direction), None)
                assert gone is not None, "deleted what is not there"
                assert gone.sa.destination == destination
                self.order.remove((spi, direction))
            case UpdateSA():
                self._update(output)
            case Log():
                self.logs.append(output)
            case AssignAddress():
                self.assigned.append(output)
            case _:
                answer = self._compute(output)
                number = output.request_id  # type: ignore[attr-defined]
                speaker = self.speaker
                self.net.after(self.compute_delay, lambda: self._answer(speaker, number, answer))

    def _answer(self, speaker: Speaker, number: int, answer: Answer) -> None:
        if speaker is self.speaker:
            self.do(lambda: speaker.answer(number, answer, self.net.now))

    def _update(self, update: UpdateSA) -> None:
        import msgspec

        from secd.sadb.messages import UdpEncap

        entry = self.sas[update.spi, update.direction]
        assert entry.sa.destination == update.destination
        entry.sa = msgspec.structs.replace(
            entry.sa,
            source=update.new_source,
            destination=update.new_destination,
            udpencap=UdpEncap(*update.udpencap) if update.udpencap else None,
        )

    def _compute(self, request: object) -> Answer:
        match request:
            case ReserveSPI():
                return ReservedSPI(next(self.spis))
            case GenerateKeyPair() | ComputeSharedSecret() | Encapsulate():
                return compute(request)
            case ComputePRF(_, key, hash_name, data, pad):
                if key not in self.keys:
                    return ComputeFailed("no such key")
                prf, secret = hash_named(hash_name).prf, self.keys[key]
                return PRFResult(prf(prf(secret, pad) if pad else secret, data))
            case ComputeSignature(_, key, scheme, data):
                return self._sign(key, scheme, data)
            case QueryTime():
                return TimeOfDay(self.net.epoch + self.net.now)
            case QueryLastUse(_, spi, _):
                entry = self.sas.get((spi, "in"))
                used = entry.used if entry is not None else None
                return LastUse(None if used is None else self.net.now - used)
        raise AssertionError(f"unexpected {request}")

    def _sign(self, key: str, scheme: str, data: bytes) -> Answer:
        try:
            return SignatureResult(KEY_HOLDER.sign(KEY_HOLDER.hold(self.keys[key]), scheme, data))
        except KeyHolderError as error:
            return ComputeFailed(str(error))

    # -- what a test wants to know ------------------------------------------------------------------------

    def outbound(self, iface: str = "sec0") -> SA | None:
        """The SA that this node's traffic takes: the newest."""
        for key in reversed(self.order):
            if key[1] == "out" and self.sas[key].sa.iface == iface:
                return self.sas[key].sa
        return None

    def pairs(self) -> int:
        """How many outbound SAs there are."""
        return sum(1 for _, direction in self.sas if direction == "out")

    def codes(self) -> list[str]:
        """The codes of the log."""
        return [log.code for log in self.logs]

    def said(self, code: str) -> list[str]:
        """The log lines of a code."""
        return [log.message for log in self.logs if log.code == code]

    def expire(self, spi: int, direction: str, kind: str) -> None:
        """The data plane says that an SA has reached a limit, or that somebody has removed it."""
        entry = self.sas[spi, direction]
        if kind != "soft":
            del self.sas[spi, direction]
            self.order.remove((spi, direction))
        self.do(lambda: self.speaker.event(Expire(entry.sa, kind), self.net.now))  # type: ignore[arg-type]


def _spis(data: bytes) -> tuple[bytes, bytes]:
    """The cookies, or SPIs, of an IKE message."""
    return data[:8], data[8:16]


@dataclass
class Network:
    """The clock and the wire.  `drop`, `loss` ... concern every datagram."""

    latency: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplicates: float = 0.0
    seed: int = 1
    epoch: float = 1_790_000_000.0

    def __post_init__(self) -> None:
        self.now = 1000.0
        self.nodes: list[Node] = []
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.counter = itertools.count()
        self.rng = random.Random(self.seed)
        self.drop: Callable[[int, Send], bool] = lambda number, send: False
        self.carried = 0
        self.nats: dict[str, Nat] = {}

    def after(self, delay: float, call: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self.queue, (self.now + delay, next(self.counter), call))

    def send(self, node: Node, send: Send) -> None:
        """Put a datagram on the wire."""
        self.carried += 1
        if self.drop(self.carried, send) or self.rng.random() < self.loss:
            return
        copies = 2 if self.rng.random() < self.duplicates else 1
        for _ in range(copies):
            self.after(self.latency + self.rng.random() * self.jitter, lambda: self.deliver(node, send))

    def deliver(self, node: Node, send: Send) -> None:
        """Bring a datagram to its receiver, through the NATs of both."""
        source = (send.local or node.address, send.local_port)
        nat = self.nats.get(node.address)
        if nat is not None:
            source = nat.outside(source)
        to = (send.remote, send.remote_port)
        for other in self.nats.values():
            if to[0] == other.public:
                inside = other.inside(to)
                if inside is None:
                    return
                to = inside
        for receiver in self.nodes:
            if receiver.address == to[0] and receiver.listening and send.data != b"\xff":
                datagram = Datagram(to[0], to[1], *source, send.data)
                receiver.do(lambda receiver=receiver, datagram=datagram: receiver.speaker.receive(datagram, self.now))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, at most `seconds`; stops as soon as `until` holds, and says whether it does."""
        end = self.now + seconds
        for _ in range(1_000_000):
            if until is not None and until():
                return True
            at = self.queue[0][0] if self.queue else end + 1
            deadlines = [
                (deadline, node)
                for node in self.nodes
                if node.alive and (deadline := node.speaker.next_deadline()) is not None
            ]
            first = min(deadlines, key=lambda each: each[0], default=(end + 1, None))
            if min(at, first[0]) > end:
                self.now = end
                break
            if at <= first[0]:
                self.now = max(self.now, at)
                heapq.heappop(self.queue)[2]()
            else:
                self.now = max(self.now, first[0])
                node = first[1]
                assert node is not None
                node.do(lambda node=node: node.speaker.handle_timer(self.now))
        else:
            raise AssertionError("the clock does not advance")
        return until() if until is not None else True


@dataclass
class Nat:
    """A masquerading NAT: `public` is what the world sees of `private`."""

    private: str
    public: str
    first_port: int = 20000

    def __post_init__(self) -> None:
        self.table: dict[tuple[str, int], int] = {}

    def outside(self, source: tuple[str, int]) -> tuple[str, int]:
        """The source as the world sees it."""
        port = self.table.setdefault(source, self.first_port + len(self.table))
        return self.public, port

    def inside(self, to: tuple[str, int]) -> tuple[str, int] | None:
        """Whom a datagram from outside is for; None: nobody."""
        return next((source for source, port in self.table.items() if port == to[1]), None)

    def rebind(self) -> None:
        """Forget every mapping; new ones get other ports."""
        self.first_port += 1000
        self.table.clear()


def matches(one: Node, other: Node, iface: str = "sec0") -> bool:
    """Whether what either sends is received by the other, under the same keys."""
    return _carries(one, other, iface) and _carries(other, one, iface)


def _carries(sender: Node, receiver: Node, iface: str) -> bool:
    out = sender.outbound(iface)
    if out is None:
        return False
    inbound = receiver.sas.get((out.spi, "in"))
    return (
        inbound is not None
        and inbound.sa.encryption_key == out.encryption_key
        and inbound.sa.auth_key == out.auth_key
        and inbound.sa.encryption == out.encryption
        and inbound.sa.auth == out.auth
    )


def traffic(net: Network, one: Node, other: Node, seconds: float, step: float = 0.5) -> int:
    """Packets both ways each `step`; returns how many found no SA to receive them."""
    lost = 0
    end = net.now + seconds
    while net.now < end:
        net.run(min(step, end - net.now))
        for sender, receiver in ((one, other), (other, one)):
            out = sender.outbound()
            entry = receiver.sas.get((out.spi, "in")) if out is not None else None
            if out is None or entry is None or entry.sa.encryption_key != out.encryption_key:
                lost += 1
            else:
                entry.used = net.now
    return lost


def pair(net: Network | None = None, *, passive: bool = True, **changes: object) -> tuple[Network, Node, Node]:
    """Alice, active, and Bob, `passive`, both started, on a network."""
    net = net or Network()
    mode = "passive" if passive else "active"
    alice = Node(net, ALICE, [connection(ALICE, BOB, **changes)], seed=1)
    bob = Node(net, BOB, [connection(BOB, ALICE, **{**changes, "mode": mode})], seed=2)
    return net, alice, bob


def start(net: Network, alice: Node, bob: Node, seconds: float = 5.0) -> None:
    """Start both and wait until the tunnel is up on both sides; Bob's one try after his start is not wanted."""
    bob.start(settled=True)
    alice.start()
    assert net.run(seconds, until=lambda: matches(alice, bob)), [log.message for log in alice.logs + bob.logs]
