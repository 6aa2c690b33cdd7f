"""Two live machines with an attacker between them who may hold their keys.

At every message on its way the attacker has a turn: mutants of this message, of older ones, and messages of its own,
in clear, as they came, or sealed under the keys of the moment with right hashes.  After each the receiver must not
have raised, and must be within its bounds; what was not made with the keys must have changed nothing that is
established.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chains import Chain, Names, chain_of, encode
from network import Network, Node

from secd.ike.contract import Send
from secd.ike.crypto.hashes import hash_named
from secd.ike.crypto.ikev1 import CbcState, hash_1, hash_2, hash_3, hash_i, hash_r, skeyid_psk_data
from secd.ike.speaker import Speaker
from secd.ike.v1.context import Session
from secd.ike.v1.state import (
    AggressiveAnswered,
    AggressiveSent,
    AnswerSent,
    IdentitySent,
    KeyAnswered,
    ProposalSent,
)
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import ExchangeType, Flag, PayloadType
from secd.ike.wire.isakmp import Header, encode_with_body, parse_header
from secd.ike.wire.payloads import IDPayload
from secd.sadb.messages import MAX_CHECKPOINT, Datagram

STRANGER = "203.0.113.7"
#: ISAKMP SAs, half-open ones included, that a node of two tunnels may hold.
MAX_SESSIONS = 168
#: Log lines that one input may cause: the burst that is let through.
LINES = 21
#: Seconds of processor time that one input may take.
SLOW = 0.5


class Failure(AssertionError):
    """An input did what no input may do."""


@dataclass(frozen=True)
class Input:
    """A datagram of the attacker's.  `insider`: it was made with the keys, and so may do what the peer may."""

    data: bytes
    source: str
    source_port: int
    port: int
    insider: bool
    kind: str


@dataclass
class Sealed:
    """What was sealed, and how."""

    header: Header
    chain: Chain
    cbc: CbcState


class Tapped(Node):
    """A node whose questions are answered before anything else happens; of IKEv1, and what it seals is listened to."""

    net: FuzzNetwork

    @property
    def speaker(self) -> Speaker:  # type: ignore[override]
        return self._speaker

    @speaker.setter
    def speaker(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self.tap()

    def do(self, call: Callable[[], object]) -> Node:
        super().do(call)
        self.net.answer_all()
        return self

    @property
    def ctx(self) -> Any:
        return self.speaker._v1.ctx

    def tap(self) -> None:
        self.net.listen(self.speaker)

    def sessions(self) -> list[Any]:
        return list(self.ctx.sessions.values())

    def essence(self) -> dict[str, object]:
        """What an outsider must not change: everything established."""
        return essence(self)

    def check(self) -> None:
        """See that everything is as it has to be after an input."""
        self.check_sizes()

    def check_sizes(self) -> None:
        """See that everything that could grow is within its bounds."""
        check_bounds(self)

    def states_seen(self) -> set[str]:
        """Name the states that its SAs are in."""
        seen = set()
        for session in self.sessions():
            seen.add(f"{session.sa.role} {type(session.sa.phase1).__name__}")
            seen |= {f"{session.sa.role} quick {type(each.state).__name__}" for each in session.sa.quick.values()}
        return seen


@dataclass
class FuzzNetwork(Network):
    """A network with a tap, and an attacker who is told of each message before it arrives."""

    attacker: Callable[[Send, Tapped, tuple[str, int]], bool] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sealed: dict[bytes, Sealed] = {}
        self.soon: deque[Callable[[], None]] = deque()
        self._answering = False

    def listen(self, speaker: Speaker) -> None:
        ctx = speaker._v1.ctx
        seal = ctx.seal

        def listening(session, exchange, message_id, payloads, cbc):  # type: ignore[no-untyped-def]
            data, iv = seal(session, exchange, message_id, payloads, cbc)
            self.sealed[data] = Sealed(parse_header(data), chain_of(payloads), cbc)
            return data, iv

        ctx.seal = listening  # type: ignore[method-assign]

    def after(self, delay: float, call: Callable[[], None]) -> None:
        if delay > 0:
            super().after(delay, call)
        else:
            self.soon.append(call)

    def answer_all(self) -> None:
        if self._answering:
            return
        self._answering = True
        try:
            while self.soon:
                self.soon.popleft()()
        finally:
            self._answering = False

    def deliver(self, node: Node, send: Send) -> None:
        receiver = next((each for each in self.nodes if each.address == send.remote), None)
        if self.attacker is not None and isinstance(receiver, Tapped) and send.data != b"\xff":
            source = (send.local or node.address, send.local_port)
            if node.address in self.nats:
                source = self.nats[node.address].outside(source)
            if not self.attacker(send, receiver, source):
                return
        super().deliver(node, send)


@dataclass
class Seen:
    """What the attacker has recorded."""

    datagrams: deque[Send] = field(default_factory=lambda: deque(maxlen=40))
    bodies: dict[int, list[bytes]] = field(default_factory=dict)

    def record(self, send: Send, chain: Chain) -> None:
        self.datagrams.append(send)
        for type_, body in chain:
            known = self.bodies.setdefault(type_, [])
            if body not in known:
                known.append(body)
                del known[:-12]


# -- the keys of the moment -------------------------------------------------------------------------------


def names_of(node: Tapped, seen: Seen) -> Names:
    """Everything that the node's SAs are called."""
    cookies, spis = [], []
    for session in node.sessions():
        sa = session.sa
        cookies.append(sa.icookie + sa.rcookie)
        spis += [each.to_bytes(4, "big") for child in sa.children for each in (child.spi_in, child.spi_out)]
        spis += [
            each.state.spi.to_bytes(4, "big")
            for each in sa.quick.values()
            if isinstance(each.state, ProposalSent | AnswerSent)
        ]
    return Names(cookies, spis, seen.bodies)


def rehash(node: Tapped, header: Header, chain: Chain) -> Chain:
    """Give the hash that `node` expects in this place."""
    session = node.speaker._v1.ctx.by_cookie(header.initiator_cookie)
    if session is None:
        return chain
    try:
        if header.exchange in (ExchangeType.IDENTITY_PROTECTION, ExchangeType.AGGRESSIVE):
            return _prove(node, session, chain)
        if not chain or chain[0][0] != PayloadType.HASH:
            return chain
        prf, skeyid_a, rest = session.prf, session.keys.skeyid_a, encode(chain[1:])
    except WireError:
        return chain
    quick = session.sa.quick.get(header.message_id)
    state = quick.state if quick is not None else None
    if isinstance(state, ProposalSent):
        value = hash_2(prf, skeyid_a, header.message_id, state.nonce, rest)
    elif isinstance(state, AnswerSent):
        value = hash_3(prf, skeyid_a, header.message_id, state.nonce_i, state.nonce_r)
    else:
        value = hash_1(prf, skeyid_a, header.message_id, rest)
    return [(PayloadType.HASH, value), *chain[1:]]


def _prove(node: Tapped, session: Session, chain: Chain) -> Chain:
    sa, state = session.sa, session.sa.phase1
    identity = next((body for type_, body in chain if type_ == PayloadType.ID), b"")
    cookies = {"cky_i": sa.icookie, "cky_r": sa.rcookie}
    if isinstance(state, KeyAnswered):
        skeyid = session.prf.prf(next(iter(node.keys.values())), skeyid_psk_data(state.nonce_i, state.nonce_r))
        value = hash_i(session.prf, skeyid, g_xi=state.peer_public, g_xr=state.public, **cookies, sai_b=state.offer,
                       idii_b=identity)  # fmt: skip
    elif isinstance(state, IdentitySent):
        value = hash_r(session.prf, state.skeyid, g_xi=state.public, g_xr=state.peer_public, **cookies,
                       sai_b=state.offer, idir_b=identity)  # fmt: skip
    elif isinstance(state, AggressiveAnswered):
        identity = IDPayload(*state.identity).body
        value = hash_i(session.prf, state.skeyid, g_xi=state.peer_public, g_xr=state.public, **cookies,
                       sai_b=state.offer, idii_b=identity)  # fmt: skip
    else:
        return chain
    return with_hash(chain, value)


def with_hash(chain: Chain, value: bytes) -> Chain:
    """Give the chain with `value` in the place of its hash."""
    return [(type_, value if type_ == PayloadType.HASH else body) for type_, body in chain]


def prove_aggressive(node: Tapped, header: Header, chain: Chain) -> Chain:
    """Make the hash of aggressive mode's second message right for what it says."""
    session = node.ctx.by_cookie(header.initiator_cookie)
    state = session.sa.phase1 if session is not None else None
    said = dict(chain)
    if not isinstance(state, AggressiveSent) or not {PayloadType.KE, PayloadType.NONCE, PayloadType.ID} <= set(said):
        return chain
    prf = hash_named(node.connections[0].phase1[0].hash)
    skeyid = prf.prf(next(iter(node.keys.values())), skeyid_psk_data(state.nonce, said[PayloadType.NONCE]))
    cookies = {"cky_i": header.initiator_cookie, "cky_r": header.responder_cookie}
    value = hash_r(prf, skeyid, g_xi=state.public, g_xr=said[PayloadType.KE], **cookies, sai_b=state.offer,
                   idir_b=said[PayloadType.ID])  # fmt: skip
    return with_hash(chain, value)


def seal(header: Header, body: bytes, first: int, cbc: CbcState) -> bytes:
    """Encrypt a message."""
    encrypted, _ = cbc.encrypt(body or bytes(16))
    return encode_with_body(header, first & 0xFF, encrypted)


def fresh(rng: Random, session: Session, exchange: ExchangeType) -> tuple[Header, CbcState] | None:
    """Begin an exchange under an SA of the receiver's, as its peer could."""
    try:
        message_id = rng.choice((0, rng.getrandbits(32), rng.getrandbits(32), *session.sa.used[-2:]))
        header = Header(session.sa.icookie, session.sa.rcookie, exchange, Flag.ENCRYPTION, message_id)
        return header, session.phase2_cbc(message_id)
    except WireError:
        return None


def is_authentic(data: bytes, sealed: Sealed | None) -> bool:
    """Say whether a mutant still says what was sealed, as far as a hash covers it.

    None covers padding, flags, the exchange type and the type of the payload behind a HASH; HASH_I and HASH_R cover
    the identity alone.
    """
    if sealed is None or len(data) < HEADER_OCTETS + 8:
        return False
    try:
        header = parse_header(data)
        plain, _ = sealed.cbc.decrypt(data[HEADER_OCTETS:])
    except WireError:
        return False
    was = sealed.header
    same = (header.initiator_cookie, header.responder_cookie, header.message_id) == (
        was.initiator_cookie, was.responder_cookie, was.message_id,
    )  # fmt: skip
    chain = sealed.chain
    if not was.message_id:
        chain = chain[: 1 + next((at for at, (type_, _) in enumerate(chain) if type_ == PayloadType.HASH), 0)]
    expected, got = bytearray(encode(chain)), bytearray(plain[: len(encode(chain))])
    for at in (0, len(encode(chain[:-1]))):
        if at < len(got):
            expected[at] = got[at]
    return same and got == expected


# -- what must hold ---------------------------------------------------------------------------------------


def essence(node: Tapped) -> dict[str, object]:
    """What an outsider must not change: everything established."""
    return {
        session.id: (
            session.sa.phase1,
            session.sa.endpoint,
            session.sa.expires,
            session.sa.retire_at,
            len(session.sa.used),
            session.sa.dpd_received,
            [(c.spi_in, c.spi_out, c.installed, c.gone_at, c.retire_at, c.stale, c.endpoint, c.expires)
             for c in session.sa.children],
            [(mid, type(quick.state), quick.iv) for mid, quick in session.sa.quick.items()],
        )
        for session in node.sessions()
        if session.sa.established
    }  # fmt: skip


def sizes_of(ctx: Any, node: Tapped) -> dict[str, tuple[int, int]]:
    """How large is what both versions have, and how large it may be."""
    world = node.speaker._world
    return {
        "timers": (len(world.timers._at), len(ctx.sessions) + len(world.tunnels)),
        "heap": (len(world.timers._heap), 65 + 4 * (len(world.timers._at) + 1)),
        "questions": (len(world.steps._waiting), 64),
        "installs": (len(ctx.installs), ctx.MAX_INSTALLS),
        "contacted": (len(ctx.contacted), 64),
        "touched": (len(ctx.touched), 0),
        "step": (len(world.outbox._step), 0),
        "checkpoints": (len(node.checkpoints), len(ctx.sessions)),
    }


def check_bounds(node: Tapped) -> None:
    """Everything that could grow is within its bounds."""
    ctx = node.speaker._v1.ctx
    sizes = sizes_of(ctx, node) | {
        "sessions": (len(ctx.sessions), MAX_SESSIONS),
        "cookies": (len(ctx._by_cookie), len(ctx.sessions)),
    }
    for session in ctx.sessions.values():
        sizes |= {
            f"{session.id} children": (len(session.sa.children), 32),
            f"{session.id} recent": (len(session.sa.recent), 2048),
            f"{session.id} used": (len(session.sa.used), 4096),
            f"{session.id} checkpoint": (len(session.saved), MAX_CHECKPOINT),
        }
    for what, (size, limit) in sizes.items():
        if size > limit:
            raise Failure(f"{what}: {size}, at most {limit} are expected")


def _goes_on(data: bytes) -> bool:
    """Whether this is a second fragment of a message, or a later one (RFC 7383)."""
    return len(data) >= 36 and data[17] >> 4 == 2 and data[16] == 53 and data[32:34] > b"\0\1"


class Attack:
    """Brings inputs to a receiver and watches what they do."""

    def __init__(self) -> None:
        self.inputs = 0
        self.slowest = 0.0
        self.kinds: dict[str, int] = {}
        self.states: set[str] = set()

    def bring(self, net: FuzzNetwork, node: Tapped, input_: Input) -> None:
        """One input."""
        before = None if input_.insider else node.essence()
        sent, logged = len(node.sent), len(node.logs)
        datagram = Datagram(node.address, input_.port, input_.source, input_.source_port, input_.data)
        began = time.process_time()
        try:
            node.do(lambda: node.speaker.receive(datagram, net.now))
            node.check()
        except Exception as error:
            raise Failure(f"{input_.kind}: {type(error).__name__}: {error}\n  {input_.data.hex()}") from error
        took = time.process_time() - began
        self.inputs += 1
        self.kinds[input_.kind] = self.kinds.get(input_.kind, 0) + 1
        if took > self.slowest:
            self.slowest = took
            if took > SLOW:
                raise Failure(f"{input_.kind}: took {took:.2f} s\n  {input_.data.hex()}")
        if before is not None:
            after = node.essence()
            changed = {id_: (was, after.get(id_)) for id_, was in before.items() if after.get(id_) != was}
            answers = sum(1 for each in node.sent[sent:] if not _goes_on(each.data))
            if changed or answers > 2 or len(node.logs) - logged > LINES:
                text = f"{input_.kind}: an outsider changed {changed}, was answered {answers} times"
                raise Failure(f"{text}\n  {input_.data.hex()}")

    def note(self, node: Tapped) -> None:
        """Remember in which states the receiver was attacked."""
        self.states |= node.states_seen()
