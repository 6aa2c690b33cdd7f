"""What is fuzzed: a target takes a random source and puts inputs through; it raises when something gives way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
from chains import Names, encode, mutate
from ikev2_keyed import Round2
from ikev2_scene import Tapped2
from keyed import AggressiveRound, Round, play
from network import ALICE, BOB, connection, start
from octets import mangle
from scene import Attack, Failure, FuzzNetwork, Tapped
from test_wire_messages import CORPUS
from v2_support import connection as connection2

from secd.conf import addresses
from secd.conf.hostname import HostnameError, parse_hostname
from secd.conf.iked import grammar as iked_grammar
from secd.conf.ipsec.compile import compile_rules
from secd.conf.ipsec.grammar import parse_text
from secd.conf.ipsec.unparse import rules_text
from secd.control import messages as control
from secd.control.family import IkedToParent, ParentToIked, ParentToSadb, SadbToParent
from secd.ike.connection import Connection
from secd.ike.speaker import Speaker
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.isakmp import parse_payloads
from secd.sadb import messages as sadb
from secd.sadb.messages import SA, Datagram, Identity, Lifetime, UdpEncap

_NO_MESSAGE = (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError)
TESTS = Path(__file__).parents[1]


@dataclass
class Target:
    """`once` puts one input through, or as many as it says."""

    name: str
    once: Callable[[Random], int | None]
    notes: Callable[[], str] = field(default=lambda: "")


# -- IKE --------------------------------------------------------------------------------------------------


def keyed(name: str, kind: type[Round], inputs: int = 1500) -> Target:
    """Whole lives of a tunnel under attack."""
    attack = Attack()

    def once(rng: Random) -> int:
        before = attack.inputs
        play(rng.getrandbits(40), attack, inputs, kind)
        return attack.inputs - before

    def notes() -> str:
        return f"{len(attack.states)} states, slowest input {attack.slowest * 1000:.0f} ms, {attack.kinds}"

    return Target(name, once, notes=notes)


def wire() -> Target:
    """The parser of IKEv1's payloads; what it accepts has to be written as it came."""
    names = Names(bodies={})

    def once(rng: Random) -> None:
        first, body = rng.choice(CORPUS)
        if rng.random() < 0.5:
            data = mangle(rng, body, [rng.choice(CORPUS)[1]])
        else:
            chain = mutate(rng, [(p.type, p.body) for p in parse_payloads(first, body, padded=True).payloads], names)
            data, first = encode(chain, rng), chain[0][0] if chain else 0
        try:
            chain_ = parse_payloads(first, data, padded=rng.random() < 0.5)
        except WireError:
            return
        again = encode_payloads(chain_.payloads)
        if again != chain_.octets:
            raise Failure(f"{data.hex()} is written as {again.hex()}")

    return Target("wire", once)


def checkpoints(
    name: str = "checkpoints", kind: type[Tapped] = Tapped, rule: Callable[..., Connection] = connection
) -> Target:
    """Checkpoints that were damaged: refused, or lived with."""
    saved: list[tuple[str, bytes]] = []
    net = FuzzNetwork()
    alice = kind(net, ALICE, [rule(ALICE, BOB)], seed=1)
    bob = kind(net, BOB, [rule(BOB, ALICE, mode="passive")], seed=2)

    def keep() -> None:
        saved.extend(each for each in alice.checkpoints.items() if each not in saved)

    net.attacker = lambda *_: keep() is None
    start(net, alice, bob)
    alice.do(lambda: alice.speaker.rekey("sec0", "ike", net.now))
    net.run(5.0)
    keep()

    def once(rng: Random) -> None:
        id_, data = rng.choice(saved)
        if rng.random() < 0.5:
            damaged = mangle(rng, data, [rng.choice(saved)[1]])
        else:
            damaged = msgspec.msgpack.encode(disturb(rng, msgspec.msgpack.decode(data)))
        own = FuzzNetwork(seed=rng.getrandbits(20))
        node = kind(own, ALICE, [rule(ALICE, BOB)], seed=3)
        node.speaker = Speaker(node.rng.randbytes)
        try:
            node.speaker.restore(id_, damaged, own.now)
        except _NO_MESSAGE:
            return
        node.checkpoints[id_] = damaged
        try:
            node.speaker.configure(node.connections, own.now)
            for _ in range(3):
                node.speaker.handle_timer(own.now)
                own.now += 30.0
            node.speaker.receive(Datagram(ALICE, 500, BOB, 500, rng.choice(CORPUS)[1]), own.now)
            node.speaker.abandon(id_, own.now)
        except Exception as error:
            # The shell puts such an SA aside; what it must not do is to take the machine along.
            node.speaker.abandon(id_, own.now)
            if not isinstance(error, _BORNE):
                raise
        node.checkpoints.clear()
        node.check_sizes()

    return Target(name, once)


#: What a damaged SA may raise when it is worked on, all of which ends that SA alone.
_BORNE = (ValueError, KeyError, TypeError, ArithmeticError, LookupError, AttributeError, WireError)


def disturb(rng: Random, value: Any) -> Any:
    """Change one thing in a decoded MessagePack value."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: disturb(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], disturb(rng, value[at]), *value[at + 1 :]] if rng.random() < 0.8 else value * 2
    if isinstance(value, bytes) and rng.random() < 0.8:
        return mangle(rng, value)
    if isinstance(value, str) and rng.random() < 0.8:
        return mangle(rng, value.encode()).decode("utf-8", "replace")
    if isinstance(value, bool):
        return not value
    numbers = (0, 1, -1, 255, 65535, 65536, 2**32 - 1, 2**32, 2**63, 0.0, -1.0, 1e300, float("nan"), float("inf"))
    return rng.choice((*numbers, None, "", b"", [], {}, rng.getrandbits(32)))


# -- files ------------------------------------------------------------------------------------------------


def texts(*patterns: str) -> list[str]:
    """The golden inputs, as what is mangled."""
    return [path.read_text() for pattern in patterns for path in sorted((TESTS / "golden").glob(pattern))]


def mangle_text(rng: Random, text: str, others: list[str], words: tuple[str, ...]) -> str:
    """Change a text by its words and lines, or by its octets."""
    if rng.random() < 0.3:
        return mangle(rng, text.encode(), [rng.choice(others).encode()]).decode("utf-8", "surrogateescape")
    lines = text.splitlines() or [""]
    at = rng.randrange(len(lines))
    parts = lines[at].split(" ")
    for _ in range(rng.randint(1, 3)):
        where = rng.randrange(len(parts) + 1)
        change = rng.randrange(5)
        if change == 0:
            parts.insert(where, rng.choice(words))
        elif change == 1 and parts:
            del parts[min(where, len(parts) - 1)]
        elif change == 2:
            parts.insert(where, rng.choice(rng.choice(others).split() or [""]))
        elif change == 3 and parts:
            parts[min(where, len(parts) - 1)] = rng.choice(words)
        elif parts:
            spot = min(where, len(parts) - 1)
            parts[spot] = parts[spot] * rng.choice((2, 3, 50))
    lines[at] = " ".join(parts)
    if rng.random() < 0.1:
        lines *= rng.choice((2, 20))
    return "\n".join(lines[:200])


_WORDS = ("{", "}", "(", ")", ",", "=", '"', "'", "\\", "#", "$x", "any", "sec0", "em0", "from", "to", "peer", "local",
          "psk", "0", "-1", "4294967296", "99999999999999999999", "0x", "0xfg", "10.0.0.1", "10.0.0.0/33", "::1/129",
          "::", "\t", "\x00", "é", "\udcff", "up", "mtu", "inet", "inet6", "dest", "NONE",
          "255.255.255.253",
          "2001:db8::/64")  # fmt: skip


#: Around whatever parses: nobody asks the network what a mangled name means, and none is remembered.
without_resolver = patch.object(addresses, "_look_up", lambda name: [])


def ipsec_conf() -> Target:
    """ipsec.conf, as far as the parent is sent it."""
    known = texts("ipsecctl/*.in")

    @without_resolver
    def once(rng: Random) -> None:
        parsed = parse_text(mangle_text(rng, rng.choice(known), known, _WORDS).replace("include", "exclude"))
        compiled = compile_rules(parsed.rules)
        for rule in (*compiled.connections, *compiled.manual):
            if msgspec.msgpack.decode(msgspec.msgpack.encode(rule), type=control.ToParent) != rule:
                raise Failure(f"{rule} does not come over as it is")
        list(rules_text(parsed.rules, with_keys=True))

    return Target("ipsec.conf", once)


def iked_conf() -> Target:
    """iked.conf, parsed."""
    known = texts("ikectl/*.in") or [""]

    @without_resolver
    def once(rng: Random) -> None:
        iked_grammar.parse_text(mangle_text(rng, rng.choice(known), known, _WORDS).replace("include", "exclude"))

    return Target("iked.conf", once)


def hostname() -> Target:
    """hostname.secN."""
    known = [
        "inet 169.254.64.94 255.255.255.252 169.254.64.93\nup\n",
        "inet alias 10.0.0.1/30\ndest 10.0.0.2\nmtu 1400\ndescription \"a line\"\ntunneldf\n-tunneldf\nup\n",
        "inet6 fd00::1 64\ninet6 fd00::2/128 fd00::3\nrdomain 7\n!ip route add 10.0.0.0/8 dev $if\n# no\ndown\n",
        "inet 10.0.0.1 0xfffffffe 10.0.0.0 up mtu 1400 \\\n mssclamp\n",
    ]  # fmt: skip

    def once(rng: Random) -> None:
        try:
            parse_hostname(mangle_text(rng, rng.choice(known), known, _WORDS), path="f", interface="sec0")
        except HostnameError as error:
            if not str(error).startswith("f"):
                raise Failure(f"{error!r} does not say where") from error

    return Target("hostname.secN", once)


# -- messages between processes ---------------------------------------------------------------------------


def messages() -> Target:
    """Every message of every local socket: only what is one is taken for one, and none shows a key."""
    kinds = [sadb.Request, sadb.FromServer, control.ToParent, control.ToIked, control.Reply,
             IkedToParent, ParentToIked, ParentToSadb, SadbToParent]  # fmt: skip
    decoders = [msgspec.msgpack.Decoder(kind) for kind in kinds]
    known = [msgspec.msgpack.encode(each) for each in samples()]

    def once(rng: Random) -> None:
        data = rng.choice(known)
        if rng.random() < 0.6:
            data = msgspec.msgpack.encode(disturb(rng, msgspec.msgpack.decode(data)))
        else:
            data = mangle(rng, data, [rng.choice(known)])
        for decoder in decoders:
            try:
                message = decoder.decode(data)
            except _NO_MESSAGE:
                continue
            if _SECRET.decode() in repr(message):
                raise Failure(f"{type(message).__name__} shows a key")

    return Target("messages", once)


_SECRET = b"SECRETSECRETSECRETSE"


def samples() -> Iterator[Any]:
    """One of each kind that carries something."""
    sa = SA(0x1000, "out", "sec0", "192.0.2.1", "192.0.2.2", "aes-128", b"e" * 16, "hmac-sha1", _SECRET,
            udpencap=UdpEncap(), hard=Lifetime(1, 2, 3, 4), identity_source=Identity("fqdn", "a.example"))  # fmt: skip
    yield from (sadb.Add(1, sa), sadb.GetSPI(2, "sec0"), sadb.Register(3, "monitor"), sadb.Dump(4), sadb.Flush(5, None))
    yield from (sadb.Get(6, 0x1000, "in", "192.0.2.1"), sadb.Delete(7, 0x1000, "in", "192.0.2.1"), sadb.CountersGet(8))
    yield sadb.Update(9, 0x1000, "in", "192.0.2.1", "192.0.2.3", "192.0.2.1", UdpEncap(4500, 1))
    yield from (
        sadb.InterfaceCreate(10, "sec7"),
        sadb.InterfaceDestroy(11, "sec7"),
        sadb.InterfaceSet(12, "sec7", True),
    )
    yield sadb.Batch(
        (sadb.Add(13, sa), sadb.Checkpoint("x", b"data"), Datagram("192.0.2.1", 500, "192.0.2.2", 500, b"d"))
    )
    yield from (sadb.InterfaceDump(14), sadb.CheckpointInUse(None), sadb.CheckpointForget("x"))
    add = control.AddConnection(connection(ALICE, BOB), _SECRET)
    yield from (control.LoadBegin("-"), add, control.AddManual("f: 1", sa), control.LoadCommit(), control.ShowRules())
    yield from (control.ShowProcesses(), control.ShowStatus(), control.Reset("sec0"), control.Rekey("sec0", "ike"))
    yield control.Monitor()


#: What is played in whole lives: by the fuzzer's name.
ROUNDS = {"keyed": Round, "keyed-aggressive": AggressiveRound, "keyed-ikev2": Round2}

ALL: dict[str, Callable[[], Target]] = {
    **{name: partial(keyed, name, kind) for name, kind in ROUNDS.items()},
    "wire": wire,
    "checkpoints": checkpoints,
    "checkpoints-ikev2": partial(checkpoints, "checkpoints-ikev2", Tapped2, connection2),
    "ipsec.conf": ipsec_conf,
    "iked.conf": iked_conf,
    "hostname.secN": hostname,
    "messages": messages,
}
