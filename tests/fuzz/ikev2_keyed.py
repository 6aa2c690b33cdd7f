"""The attacker of `keyed.py` against IKEv2.

Beside Alice and Bob there is Carol, another peer of Bob's: what an insider does with Alice's keys must not touch her.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chains import Chain, encode
from ikev2_chains import another_spi, anything, chain_of, delete, mutate, rekey
from ikev2_scene import Tapped2, names_of, prove, read, seal, seal_octets, whose
from keyed import NAT_ADDRESS, Round, Turn, again, header, raw, sign, with_length
from network import ALICE, BOB, Nat, matches, traffic
from octets import mangle
from scene import Failure, Input, Tapped
from v2_support import AES, CHACHA, GCM, connection

from secd.ike.connection import ChildProposal, DeadPeerDetection, IKEProposal, PostQuantumKey, PreSharedKey
from secd.ike.contract import Send
from secd.ike.v2 import exchange
from secd.ike.v2.context import Session
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.iana import ExchangeType, Flag, PayloadType
from secd.ike.wire.ikev2.message import Header, parse_header, parse_payloads
from secd.sadb.messages import PathChange

CAROL = "203.0.113.50"
PROVIDED = (
    ("address", "10.9.0.1/30"), ("address", "2001:db8:9::1/64"), ("netmask", "255.255.255.0"),
    ("name-server", "10.9.0.1"),
)  # fmt: skip
ROAMING = ("192.0.2.201", "192.0.2.202")


class Turn2(Turn):
    """One message on its way; what is not sealed by somebody with the keys can only be the message itself."""

    def make(self, data: bytes, kind: str, *, insider: bool = False, honest_source: bool = False) -> Input:
        return super().make(data, kind, insider=insider or data == self.send.data, honest_source=honest_source)

    @property
    def session(self) -> Session | None:
        """Whom the message is for."""
        return whose(self.node, self.send.data, self.source[0])


# -- kinds of inputs --------------------------------------------------------------------------------------


def clear(turn: Turn2) -> Input:
    """A first message changed, or something in clear where it should be protected."""
    rng, head = turn.rng, parse_header(turn.send.data)
    names = names_of(turn.node, turn.seen)
    data = bytearray(turn.send.data[:HEADER_OCTETS])
    if head.exchange == ExchangeType.IKE_SA_INIT and rng.random() < 0.8:
        chain = _in_clear(turn.send.data)
        chain = mutate(rng, chain, names) if rng.random() < 0.8 else chain
        if rng.random() < 0.4 and not head.response:  # as if another one had begun
            data[:8] = rng.randbytes(8)
    else:
        chain = [anything(rng, names) for _ in range(rng.randint(1, 3))]
        data[18] = rng.choice((data[18], ExchangeType.INFORMATIONAL, ExchangeType.IKE_SA_INIT))
        data[19] ^= rng.choice((0, 0, Flag.RESPONSE, Flag.INITIATOR, Flag.RESPONSE | Flag.INITIATOR))
    data[16] = chain[0][0] & 0xFF if chain else 0
    return turn.make(with_length(bytes(data) + encode(chain, rng if rng.random() < 0.2 else None)), "clear")


def sealed(turn: Turn2) -> Input:
    """What is in the message, changed, under the same header and the right keys."""
    rng, session = turn.rng, turn.session
    chain = read(turn.node, turn.send, turn.source)
    if session is None or session.sa.keys is None or not chain:
        return clear(turn)
    head = parse_header(turn.send.data)
    chain = mutate(rng, chain, names_of(turn.node, turn.seen))
    if head.exchange == ExchangeType.IKE_AUTH and rng.random() < 0.8:
        chain = prove(turn.node, session, head.message_id, chain)
    return turn.make(_protect(turn, session, head, chain), "sealed", insider=True)


def own(turn: Turn2) -> Input:
    """A request of the insider's own under any SA of Alice's and Bob's, the next one or another."""
    rng = turn.rng
    session = _any_session(turn)
    if session is None:
        return clear(turn)
    sa = session.sa
    number = rng.choice((sa.next_in, sa.next_in, sa.next_in, sa.next_in, sa.next_in - 1, sa.next_in + 1, 0)) % 2**32
    kind = rng.choice(
        (ExchangeType.INFORMATIONAL, ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA,
         ExchangeType.CREATE_CHILD_SA, ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_FOLLOWUP_KE,
         ExchangeType.IKE_AUTH, ExchangeType.IKE_INTERMEDIATE, ExchangeType.IKE_SESSION_RESUME, 99)
    )  # fmt: skip
    chain = _child(turn) if kind == ExchangeType.CREATE_CHILD_SA else _told(turn)
    head = request_head(session, kind, number)
    return turn.make(_protect(turn, session, head, chain), "own request", insider=True)


def answer(turn: Turn2) -> Input:
    """An answer of the insider's own to what the receiver has asked."""
    rng = turn.rng
    waiting = [each for each in turn.node.sessions() if each.sa.request is not None and _is_alices(each)]
    if not waiting:
        return own(turn)
    session = rng.choice(waiting)
    request = session.sa.request
    asked = parse_header(request.sent[0])
    if asked.exchange == ExchangeType.IKE_SA_INIT or session.sa.keys is None:
        return clear(turn)
    chain = _child(turn) if asked.exchange == ExchangeType.CREATE_CHILD_SA and rng.random() < 0.7 else _told(turn)
    head = replace(request_head(session, asked.exchange, request.message_id), flags=_FLAGS[session.initiator])
    return turn.make(_protect(turn, session, head, chain), "own answer", insider=True)


def fragment(turn: Turn2) -> Input:
    """A fragment of the message, or of something else, by the insider."""
    rng, session = turn.rng, turn.session
    if session is None or session.sa.keys is None:
        return clear(turn)
    head = parse_header(turn.send.data)
    chain = read(turn.node, turn.send, turn.source) or _told(turn)
    if rng.random() < 0.5:
        chain = mutate(rng, chain, names_of(turn.node, turn.seen))
    octets, total = encode(chain), rng.choice((1, 2, 2, 3, 8, 64, 65, 65535, 0))
    number = rng.choice((1, 1, 2, 2, 3, total, 0, 65535)) & 0xFFFF
    part = -(-len(octets) // max(total, 1))
    piece = (
        octets[(number - 1) * part : number * part] if rng.random() < 0.8 else rng.randbytes(rng.choice((0, 9, 1400)))
    )
    first = chain[0][0] if chain and number == 1 else rng.choice((0, 0, 41))
    return turn.make(seal_octets(rng, session, head, piece, first, (number, total)), "fragment", insider=True)


def _protect(turn: Turn2, session: Session, head: Header, chain: Chain) -> bytes:
    rng = turn.rng
    if rng.random() < 0.08:
        plaintext = mangle(rng, encode(chain), most=1)
        return seal_octets(rng, session, head, plaintext, chain[0][0] if chain else 0)
    return seal(rng, session, head, chain, wrong=rng.random() < 0.1)


def request_head(session: Session, kind: int, number: int) -> Header:
    """Give the header of a request to `session`."""
    return Header(session.sa.spi_i, session.sa.spi_r, kind, 0 if session.initiator else Flag.INITIATOR, number)


#: Flags of an answer to who has begun the IKE SA, and who has not.
_FLAGS = {True: Flag.RESPONSE, False: Flag.RESPONSE | Flag.INITIATOR}


def _is_alices(session: Session) -> bool:
    return session.sa.tunnel in ("sec0", "") and session.sa.endpoint.remote != CAROL


def _any_session(turn: Turn2) -> Session | None:
    found = [each for each in turn.node.sessions() if each.sa.keys is not None and _is_alices(each)]
    return turn.rng.choice(found) if found else None


def _told(turn: Turn2) -> Chain:
    """What an INFORMATIONAL might say."""
    rng, names = turn.rng, names_of(turn.node, turn.seen)
    if rng.random() < 0.3:
        return [delete(rng, names)]
    return [anything(rng, names) for _ in range(rng.choice((0, 1, 1, 1, 2, 5)))]


def _child(turn: Turn2) -> Chain:
    """What CREATE_CHILD_SA might say: a pair, a pair in place of another, or another IKE SA."""
    rng, names = turn.rng, names_of(turn.node, turn.seen)
    if rng.random() < 0.3:
        chain = _offer(turn, 8)[:3]
    else:
        chain = new_pair(turn)
        if rng.random() < 0.5:
            chain.insert(0, rekey(rng, names))
    return mutate(rng, chain, names) if rng.random() < 0.5 else chain


def new_pair(turn: Turn2) -> Chain:
    """What asks for a pair: as it was once asked for, with an SPI that nobody has."""
    return _offer(turn, 4)


def _offer(turn: Turn2, octets: int) -> Chain:
    rng, bodies = turn.rng, turn.seen.bodies
    kinds = (PayloadType.SA, PayloadType.NONCE, PayloadType.KE, PayloadType.TSi, PayloadType.TSr)
    protocol = 3 if octets == 4 else 1
    offers = [body for body in bodies.get(PayloadType.SA, []) if body[5:6] == bytes((protocol,))]
    chosen = {**bodies, PayloadType.SA: offers}
    chain = [(kind, rng.choice(chosen[kind])) for kind in kinds if chosen.get(kind)]
    return [(kind, another_spi(rng, body, octets) if kind == PayloadType.SA else body) for kind, body in chain]


def _in_clear(data: bytes) -> Chain:
    try:
        return chain_of(parse_payloads(data[16], data[HEADER_OCTETS:]))
    except WireError:
        return []


# -- a life -----------------------------------------------------------------------------------------------


class Round2(Round):
    """One life of a tunnel of IKEv2 under attack."""

    VERSION = 2
    OUTSIDER: tuple[Callable[[Any], Input], ...] = (raw, raw, header, again, clear, clear, clear)
    INSIDER: tuple[Callable[[Any], Input], ...] = (
        raw, header, again, clear, sealed, sealed, sealed, sealed, own, own, own, answer, answer, fragment,
    )  # fmt: skip

    def _make(self, seed: int) -> None:
        rng = self.rng
        exchange.FRAGMENT_MTU = rng.choice((1280, 1280, 300))
        changes = self._settings()
        anybody = rng.random() < 0.4
        self.roams = anybody and rng.random() < 0.4
        ask: dict[str, object] = {"request": (("address", "any"),)} if rng.random() < 0.3 else {}
        alice = connection(None if self.roams else ALICE, BOB, **{**changes, **ask})
        bob = connection(BOB, None if anybody else ALICE, **{**changes, "mode": "passive", "provide": PROVIDED})
        others = {"name": "sec1", "iface": "sec1", "auth": PreSharedKey("other")}
        for_carol = connection(BOB, CAROL, **{**changes, **others, "mode": "passive", "ppk": None})
        keys = {"key": b"a shared secret", "other": b"another secret", "ppk": b"one" * 11}
        ours = {name: key for name, key in keys.items() if name != "other"}
        self.alice = Tapped2(self.net, ALICE, [alice], ours, seed=seed & 0xFFFF)
        self.bob = Tapped2(self.net, BOB, [bob, for_carol], dict(keys), seed=1 + (seed & 0xFFFF))
        carols = connection(CAROL, BOB, **{**changes, "auth": PreSharedKey("other"), "ppk": None, "name": "sec1",
                                           "iface": "sec1", "dpd": DeadPeerDetection()})  # fmt: skip
        self.carol = Tapped2(self.net, CAROL, [carols], {"other": keys["other"]}, seed=2 + (seed & 0xFFFF))
        if rng.random() < 0.25:
            sign(self.alice, self.bob)
        if anybody and not self.roams and rng.random() < 0.5:
            self.net.nats[ALICE] = Nat(ALICE, NAT_ADDRESS)

    def _settings(self) -> dict[str, object]:
        rng = self.rng
        cipher = rng.choice((AES, GCM, GCM, CHACHA))
        auths = ("hmac-sha2-256",) if cipher is AES else ()
        groups = rng.choice((("ecp256",), ("curve25519", "ecp256"), ("ecp256", "curve25519")))
        more: tuple[tuple[str, ...], ...] = rng.choice(
            ((), (), (), (("ecp256",),), (("mlkem768", "none"), ("ecp256",)))
        )
        pfs = rng.choice(((), ("ecp256",), ("curve25519", "none")))
        return {
            "ikesa": (IKEProposal((cipher,), (rng.choice(("hmac-sha1", "hmac-sha2-256")),), auths, groups, more),),
            "childsa": (ChildProposal((cipher,), auths, pfs, (rng.random() < 0.5,), more if pfs else ()),),
            "ike_lifetime": rng.choice((120, 3600)), "lifetime": rng.choice((60, 1200)),
            "dpd": rng.choice((None, DeadPeerDetection(), DeadPeerDetection(5, 2, 3))),
            "mobike": rng.random() < 0.8, "redirect": rng.random() < 0.3, "fragmentation": rng.random() < 0.8,
            "ppk": rng.choice((None, None, PostQuantumKey("ppk", b"ours", rng.random() < 0.5))),
        }  # fmt: skip

    def run(self) -> None:
        self.carol.start()
        try:
            super().run()
        finally:
            exchange.FRAGMENT_MTU = 1280

    def _new_turn(self, send: Send, node: Tapped, source: tuple[str, int]) -> Turn:
        return Turn2(self.rng, self.net, node, send, source, self.seen, self.arrived, self.insider)

    def _turn(self, send: Send, node: Tapped, source: tuple[str, int]) -> bool:
        if node is self.carol or source[0] == CAROL:
            return True  # nobody stands between Carol and Bob
        return super()._turn(send, node, source)

    def _bring(self, node: Tapped, input_: Input) -> None:
        before = self.bob.essence("sec1")
        super()._bring(node, input_)
        after = self.bob.essence("sec1")
        if before != after:
            text = f"{input_.kind}: Carol's tunnel was {before}, is {after}"
            raise Failure(f"{text}\n  {input_.data.hex()}")

    def _chain(self, send: Send, node: Tapped) -> Chain:
        source = next((each.address for each in self.net.nodes if each.address != node.address), "")
        return read(node, send, (send.local or source, send.local_port))

    def _is_read(self, send: Send, node: Tapped) -> bool:
        """Say whether a message is the next of its kind; any other is passed over, and may be read later."""
        head = parse_header(send.data)
        session = node.ctx.find(head, send.local)
        if session is None or head.exchange == ExchangeType.IKE_SA_INIT:
            return head.exchange == ExchangeType.IKE_SA_INIT
        if session.sa.keys is None:
            return False
        if head.response:
            return session.sa.request is not None and session.sa.request.message_id == head.message_id
        return bool(head.message_id <= session.sa.next_in)

    def _roam(self) -> None:
        if self.roams:
            self.alice.address = self.rng.choice((ALICE, *ROAMING))
            if self.rng.random() < 0.5:
                self.alice.do(lambda: self.alice.speaker.event(PathChange(), self.net.now))
            self.net.run(self.rng.choice((5.0, 30.0)))

    def _flood(self) -> None:
        """First messages of others, so many that cookies are asked for."""
        first = next((each for each in self.alice.sent if each.data[18] == ExchangeType.IKE_SA_INIT), None)
        if first is None or not self.bob.alive:
            return
        for at in range(self.rng.choice((10, 40, 80))):
            data = self.rng.randbytes(8) + first.data[8:]
            self._bring(self.bob, Input(data, f"198.18.{at % 5}.{at}", 500, 500, False, "flood"))

    def _early(self) -> None:
        """Traffic of Alice's both ways, so that pairs are seen to be used."""
        traffic(self.net, self.alice, self.bob, 5.0, step=0.5)

    LIFE: tuple[Callable[[Any], None], ...] = (*Round.LIFE, _roam, _roam, _flood, _early)

    def _recover(self) -> None:
        super()._recover()
        if not matches(self.carol, self.bob, "sec1") and not self.net.run(
            300.0, until=lambda: matches(self.carol, self.bob, "sec1")
        ):
            raise Failure("Carol's tunnel is not up")

    def _end(self) -> None:
        self.carol.reconfigure()
        self.net.run(5.0)
        super()._end()

    def _names_left(self, node: Tapped) -> dict[str, Any]:
        ctx = node.ctx
        return {"SPIs": ctx._by_spi, "first messages": ctx._by_first,
                "tunnels": [name for name, held in ctx._by_tunnel.items() if held]}  # fmt: skip
