"""The attacker of `scene.py`: what is brought in at each message, the life around it, and what must hold at the end.

A round is one life of a tunnel, made by a seed: handshakes, rekeys of both kinds, deaths, restarts, deletes, moves.
In rounds of an outsider the tunnel has to get over everything by itself; an insider may have said anything in the
peer's name, so after his rounds an honest peer that starts anew has to come up.  At the end the rules go, and nothing
may be left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pki
from chains import Chain, anything, chain_of, encode, mutate
from msgspec.structs import replace
from network import ALICE, BOB, Nat, connection, matches, traffic
from octets import mangle
from scene import (
    STRANGER,
    Attack,
    Failure,
    FuzzNetwork,
    Input,
    Seen,
    Tapped,
    fresh,
    is_authentic,
    names_of,
    prove_aggressive,
    rehash,
    seal,
)

from secd.ike.connection import (
    Cipher,
    DeadPeerDetection,
    Phase1Proposal,
    Phase2Proposal,
    PreSharedKey,
    Signature,
)
from secd.ike.contract import Send
from secd.ike.v1.state import AnswerSent
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import ExchangeType, Flag, PayloadType
from secd.ike.wire.isakmp import Header, major_version, parse_header, parse_payloads
from secd.sadb.messages import Identity, NewMapping

#: Virtual seconds in which a tunnel has to be up again, with everything that was forged timed out first.
PATIENCE = 3000.0
NAT_ADDRESS = "192.0.2.99"


@dataclass
class Turn:
    """One message on its way, and what the attacker knows."""

    rng: Random
    net: FuzzNetwork
    node: Tapped
    send: Send
    source: tuple[str, int]
    seen: Seen
    arrived: set[bytes]
    insider: bool

    def make(self, data: bytes, kind: str, *, insider: bool = False, honest_source: bool = False) -> Input:
        """An input, from the peer's address or sometimes from elsewhere."""
        address, port = self.source
        to = 500 if self.send.remote_port == 500 else 4500
        if not honest_source and self.rng.random() < 0.15:
            address, port, to = self.rng.choice(
                ((STRANGER, port, to), (address, 40000, to), (address, port, 500), (address, 4500, 4500))
            )
        sealed_as = self.net.sealed.get(self.send.data)
        insider = insider or is_authentic(data, sealed_as) or proves_the_same(data, self.send.data)
        return Input(data, address, port, to, insider, kind)


# -- kinds of inputs --------------------------------------------------------------------------------------


def raw(turn: Turn) -> Input:
    """The octets of the datagram, mangled; most often under a header whose length fits."""
    others = [each.data for each in turn.seen.datagrams]
    data = mangle(turn.rng, turn.send.data, others)
    if turn.rng.random() < 0.8:
        data = with_length(data)
    return turn.make(data, "octets")


def header(turn: Turn) -> Input:
    """Right payloads under a wrong header."""
    data = bytearray(turn.send.data)
    for _ in range(turn.rng.randint(1, 2)):
        at = turn.rng.choice((0, 8, 16, 17, 18, 18, 19, 19, 20, 23, 24))
        data[at] = turn.rng.choice((0, 1, 2, 4, 5, 6, 16, 32, 33, data[at] ^ 1, turn.rng.randrange(256)))
    return turn.make(with_length(bytes(data)), "header")


def again(turn: Turn) -> Input:
    """Something recorded, in either direction, to whomever."""
    old = turn.rng.choice(turn.seen.datagrams)
    return turn.make(old.data, "replay", insider=old.data not in turn.arrived, honest_source=True)


def clear(turn: Turn) -> Input:
    """A message in clear with its payloads changed, or something in clear where it should be encrypted."""
    head = parse_header(turn.send.data)
    names = names_of(turn.node, turn.seen)
    if head.encrypted or turn.rng.random() < 0.2:
        chain = [anything(turn.rng, names) for _ in range(turn.rng.randint(1, 3))]
        data = bytearray(turn.send.data[:HEADER_OCTETS])
        data[19] &= ~Flag.ENCRYPTION
        data[18] = turn.rng.choice((data[18], ExchangeType.INFORMATIONAL, ExchangeType.INFORMATIONAL))
    else:
        chain = mutate(turn.rng, _in_clear(turn.send.data), names)
        data = bytearray(turn.send.data[:HEADER_OCTETS])
        if turn.rng.random() < 0.3:  # as if another peer had begun
            data[:8] = turn.rng.randbytes(8)
    data[16] = chain[0][0] & 0xFF if chain else 0
    return turn.make(with_length(bytes(data) + encode(chain, turn.rng if turn.rng.random() < 0.2 else None)), "clear")


def sealed(turn: Turn) -> Input:
    """What was sealed, changed, under the same key; the hash is made right for an insider alone."""
    rng, node = turn.rng, turn.node
    found = turn.net.sealed.get(turn.send.data)
    if found is None:
        return clear(turn)
    if not turn.insider and not _covered(node, found.header):
        return clear(turn)
    chain = mutate(rng, found.chain, names_of(node, turn.seen))
    if turn.insider and rng.random() < 0.8:
        chain = rehash(node, found.header, chain)
    body = encode(chain, rng if rng.random() < 0.1 else None)
    if rng.random() < 0.1:
        body = mangle(rng, body, most=1)
    data = seal(found.header, body, chain[0][0] if chain else 0, found.cbc)
    return turn.make(data, "sealed", insider=turn.insider)


def _covered(node: Tapped, head: Header) -> bool:
    """Say whether the hash of a message covers all of it: those of main mode and HASH(3) cover a part."""
    session = node.speaker._v1.ctx.by_cookie(head.initiator_cookie)
    quick = session.sa.quick.get(head.message_id) if session is not None else None
    return head.message_id != 0 and not (quick is not None and isinstance(quick.state, AnswerSent))


def own(turn: Turn) -> Input:
    """An exchange of the insider's own, under any SA of the receiver."""
    rng, node = turn.rng, turn.node
    sessions = node.sessions()
    exchange = rng.choice((ExchangeType.INFORMATIONAL, ExchangeType.INFORMATIONAL, ExchangeType.QUICK,
                           ExchangeType.TRANSACTION, ExchangeType.NEW_GROUP))  # fmt: skip
    begun = fresh(rng, rng.choice(sessions), exchange) if sessions else None
    if begun is None or not turn.insider:
        return clear(turn)
    head, cbc = begun
    names = names_of(node, turn.seen)
    if exchange == ExchangeType.QUICK:
        wanted = (PayloadType.SA, PayloadType.NONCE, PayloadType.KE, PayloadType.ID, PayloadType.ID)
        chain = [(kind, rng.choice(names.bodies[kind])) for kind in wanted if names.bodies.get(kind)]
        chain = chain if rng.random() < 0.3 else mutate(rng, chain, names)
    else:
        chain = [anything(rng, names) for _ in range(rng.choice((1, 1, 1, 2, 5)))]
    chain = rehash(node, head, [(PayloadType.HASH, b""), *chain])
    return turn.make(seal(head, encode(chain), chain[0][0], cbc), "own exchange", insider=True)


Kind = Callable[[Turn], Input]
OUTSIDER = (raw, raw, header, again, clear, clear, clear, sealed)
INSIDER = (raw, header, again, clear, sealed, sealed, sealed, sealed, own, own, own)


def with_length(data: bytes) -> bytes:
    """Make the header tell the datagram's length."""
    return data[:24] + len(data).to_bytes(4, "big") + data[28:] if len(data) >= HEADER_OCTETS else data


def _in_clear(data: bytes) -> list[tuple[int, bytes]]:
    try:
        return chain_of(parse_payloads(data[16], data[HEADER_OCTETS:]).payloads)
    except WireError:
        return []


# -- a life -----------------------------------------------------------------------------------------------


class Round:
    """One life of a tunnel of IKEv1 under attack."""

    VERSION = 1
    OUTSIDER: tuple[Kind, ...] = OUTSIDER
    INSIDER: tuple[Kind, ...] = INSIDER

    def __init__(self, seed: int, attack: Attack, budget: int) -> None:
        self.rng = Random(seed)
        self.attack, self.budget = attack, budget
        self.insider = self.rng.random() < 0.6
        self.seen = Seen()
        self.net = FuzzNetwork(seed=seed)
        self.met: set[bytes] = set()
        self.arrived: set[bytes] = set()
        self._make(seed)
        self.net.attacker = self._turn

    def _make(self, seed: int) -> None:
        """Make both ends."""
        changes = self._settings()
        anybody = self.rng.random() < 0.3
        alice = connection(ALICE, BOB, **changes)
        bob = connection(BOB, None if anybody else ALICE, **{**changes, "mode": "passive"})
        if anybody:
            other = connection(BOB, None, **{**changes, "mode": "passive", "name": "sec1", "iface": "sec1",
                                             "auth": PreSharedKey("other")})  # fmt: skip
        keys = {"key": b"a shared secret", "other": b"another secret"}
        self.alice = Tapped(self.net, ALICE, [alice], dict(keys), seed=seed & 0xFFFF)
        self.bob = Tapped(self.net, BOB, [bob, *([other] if anybody else [])], dict(keys), seed=1 + (seed & 0xFFFF))
        if anybody and self.rng.random() < 0.5:
            self.net.nats[ALICE] = Nat(ALICE, NAT_ADDRESS)

    def _settings(self) -> dict[str, object]:
        rng = self.rng
        cipher = rng.choice((Cipher("aes", 128, 128, 256), Cipher("aes", 256, 128, 256), Cipher("3des")))
        esp = rng.choice((Cipher("aes", 128, 128, 256), Cipher("aes-gcm", 128, 128, 256)))
        auth = "" if esp.name == "aes-gcm" else "hmac-sha2-256"
        group = rng.choice(("", "", "ecp256"))
        return {
            "phase1": (Phase1Proposal(cipher, rng.choice(("sha1", "sha2-256")), "ecp256"),),
            "phase1_lifetime": rng.choice((120, 3600)),
            "phase2": (Phase2Proposal(esp, auth, group),),
            "phase2_lifetime": rng.choice((60, 1200)),
            "dpd": rng.choice((None, DeadPeerDetection(), DeadPeerDetection(5, 2, 3))),
        }

    def run(self) -> None:
        """Live, be attacked, recover, end, leave nothing."""
        self.bob.start(settled=True)
        self.alice.start()
        for _ in range(40):
            if self.budget <= 0:
                break
            self.net.run(5.0, until=self._up)
            self.rng.choice(self.LIFE)(self)
        self.net.attacker = None
        self._recover()
        self._end()

    def _up(self) -> bool:
        return matches(self.alice, self.bob)

    def _turn(self, send: Send, node: Tapped, source: tuple[str, int]) -> bool:
        """The attacker's turn at a message; says whether it arrives."""
        if send.data in self.met or major_version(send.data) != self.VERSION:
            return True
        self.met.add(send.data)
        self.seen.record(send, self._chain(send, node))
        self.attack.note(node)
        for _ in range(min(self.budget, self.rng.choice((2, 8, 24)))):
            self.budget -= 1
            turn = self._new_turn(send, node, source)
            self._bring(node, self.rng.choice(self.INSIDER if self.insider else self.OUTSIDER)(turn))
        arrives = node.listening and self.rng.random() < 0.95
        if arrives and self._is_read(send, node):
            self.arrived.add(send.data)
        return arrives

    def _new_turn(self, send: Send, node: Tapped, source: tuple[str, int]) -> Turn:
        return Turn(self.rng, self.net, node, send, source, self.seen, self.arrived, self.insider)

    def _bring(self, node: Tapped, input_: Input) -> None:
        self.attack.bring(self.net, node, input_)

    def _chain(self, send: Send, node: Tapped) -> Chain:
        """What is in a message."""
        found = self.net.sealed.get(send.data)
        return found.chain if found is not None else _in_clear(send.data)

    def _is_read(self, send: Send, node: Tapped) -> bool:
        """Say whether a message that arrives is read: what comes before phase 1 is finished may be later."""
        session = node.ctx.by_cookie(send.data[:8])
        return not parse_header(send.data).message_id or (session is not None and session.sa.established)

    # -- what happens in a life ---------------------------------------------------------------------------

    def _time(self) -> None:
        self.net.run(self.rng.choice((1.0, 10.0, 40.0, 100.0)))

    def _traffic(self) -> None:
        traffic(self.net, self.alice, self.bob, self.rng.choice((2.0, 20.0)), step=1.0)

    def _rekey(self) -> None:
        for node in self.rng.choice(((self.alice,), (self.bob,), (self.alice, self.bob))):
            what = self.rng.choice(("ike", "child"))
            node.do(lambda node=node, what=what: node.speaker.rekey("sec0", what, self.net.now))
        self.net.run(3.0)

    def _reset(self) -> None:
        node = self.rng.choice((self.alice, self.bob))
        node.do(lambda: node.speaker.reset("sec0", self.net.now))

    def _restart(self) -> None:
        self.rng.choice((self.alice, self.bob)).restart()

    def _reboot(self) -> None:
        self.rng.choice((self.alice, self.bob)).reboot()

    def _silence(self) -> None:
        node = self.rng.choice((self.alice, self.bob))
        node.listening = False
        self.net.run(self.rng.choice((5.0, 60.0)))
        node.listening = True

    def _expire(self) -> None:
        node = self.rng.choice((self.alice, self.bob))
        if node.sas:
            spi, direction = self.rng.choice(list(node.sas))
            node.expire(spi, direction, self.rng.choice(("soft", "hard", "deleted")))

    def _move(self) -> None:
        node = self.rng.choice((self.alice, self.bob))
        inbound = [(spi, entry) for (spi, direction), entry in node.sas.items() if direction == "in"]
        if inbound and self.insider:
            spi, entry = self.rng.choice(inbound)
            event = NewMapping(spi, entry.sa.iface, self.rng.choice((entry.sa.source, STRANGER)), 4500)
            node.do(lambda: node.speaker.event(event, self.net.now))

    LIFE: tuple[Callable[[Round], None], ...] = (
        _time, _time, _traffic, _rekey, _rekey, _rekey, _reset, _restart, _reboot, _silence, _expire, _move,
    )  # fmt: skip

    # -- afterwards ---------------------------------------------------------------------------------------

    def _recover(self) -> None:
        if self.insider:
            self.alice.listening = self.bob.listening = True
            self.alice.reboot()
        if not self.net.run(PATIENCE, until=self._up):
            said = [log.message for log in self.alice.logs[-4:] + self.bob.logs[-4:]]
            raise Failure(f"an honest peer did not come up again within {PATIENCE:g} s: {said}")

    def _end(self) -> None:
        for node in (self.alice, self.bob):
            node.check()
            node.reconfigure()
        self.net.run(120.0)
        for node in (self.alice, self.bob):
            world = node.speaker._world
            left = {
                "SAs": node.sas, "sessions": node.ctx.sessions, "checkpoints": node.checkpoints,
                "timers": world.timers._at, "questions": world.steps._waiting, **self._names_left(node),
            }  # fmt: skip
            if found := {what: list(value) for what, value in left.items() if value}:
                raise Failure(f"{node.address} is left with {found} after its rules are gone")

    def _names_left(self, node: Tapped) -> dict[str, Any]:
        return {"cookies": node.ctx._by_cookie}


def proves_the_same(data: bytes, original: bytes) -> bool:
    """Whether this is aggressive mode's second message with all that its hash covers: not vendor ids and the like."""
    covered = {PayloadType.KE, PayloadType.NONCE, PayloadType.ID, PayloadType.HASH, PayloadType.SIG}
    if len(data) < HEADER_OCTETS or data[18] != ExchangeType.AGGRESSIVE or data[:16] != original[:16]:
        return False
    said, was = dict(_in_clear(data)), dict(_in_clear(original))
    return bool(was) and all(said.get(type_) == body for type_, body in was.items() if type_ in covered)


def proven(turn: Turn) -> Input:
    """Aggressive mode's second message, which is in clear, changed and with the right hash again."""
    head = parse_header(turn.send.data)
    chain = mutate(turn.rng, _in_clear(turn.send.data), names_of(turn.node, turn.seen))
    if head.encrypted or head.exchange != ExchangeType.AGGRESSIVE or not chain:
        return sealed(turn)
    chain = prove_aggressive(turn.node, head, chain)
    data = bytearray(turn.send.data[:HEADER_OCTETS])
    data[16] = chain[0][0] & 0xFF
    return turn.make(with_length(bytes(data) + encode(chain)), "proven", insider=True)


class AggressiveRound(Round):
    """The same with aggressive mode, by a pre-shared key or by signatures."""

    INSIDER = (*Round.INSIDER, proven, proven, proven)

    def _settings(self) -> dict[str, object]:
        return {**super()._settings(), "exchange": "aggressive", "aggressive_psk": True}

    def _make(self, seed: int) -> None:
        super()._make(seed)
        if self.rng.random() < 0.3:
            sign(self.alice, self.bob)


def sign(alice: Tapped, bob: Tapped) -> None:
    """Let these two authenticate each other by certificates in their first rule."""
    names = Identity("fqdn", "alice.example"), Identity("fqdn", "bob.example")
    for node, ours, theirs in ((alice, *names), (bob, *reversed(names))):
        key, certificate, authority = certified(ours.text)
        auth = Signature("rsa", (certificate,), (authority,))
        rule = replace(node.connections[0], auth=auth, srcid=ours, dstid=theirs)
        node.connections = [rule, *node.connections[1:]]
        node.keys["rsa"] = key


@cache
def certified(name: str) -> tuple[bytes, bytes, bytes]:
    """A private key, its certificate for `name`, and that of the authority."""
    authority, key = pki.Authority("Fuzz"), pki.rsa_key(f"fuzz {name}")
    return pki.pem(key), pki.der(authority.leaf(name, key=key)), authority.der


def play(seed: int, attack: Attack, budget: int = 300, kind: type[Round] = Round) -> None:
    """Play one round; a failure names what is needed to play it again."""
    try:
        kind(seed, attack, budget).run()
    except Exception as error:
        if isinstance(error, Failure):
            raise Failure(f"{kind.__name__} {seed}: {error}") from error.__cause__
        raise Failure(f"{kind.__name__} {seed}: {type(error).__name__}: {error}") from error
