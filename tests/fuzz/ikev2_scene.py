"""The scene of `scene.py` for IKEv2: what the attacker can read and seal, and what must hold after each input."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from chains import Chain, Names, encode
from ikev2_chains import chain_of
from scene import Failure, Seen, Tapped, sizes_of

from secd.ike.contract import Send
from secd.ike.crypto.errors import NotAuthentic
from secd.ike.crypto.ikev2_ciphers import DirectionKeys
from secd.ike.crypto.ikev2_messages import Opened
from secd.ike.v2 import exchange, proof
from secd.ike.v2.context import Message, Session
from secd.ike.v2.state import AuthSent, Between, Established, InitAnswered, Starting
from secd.ike.wire.cursor import Reader, WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.iana import PayloadType
from secd.ike.wire.ikev2.message import Header, parse_header, parse_payloads
from secd.ike.wire.ikev2.payloads import IDiPayload, IDrPayload
from secd.sadb.messages import MAX_CHECKPOINT, Datagram

#: IKE SAs that a node may hold: those that others have begun and that are unfinished, and those of its tunnels.
MAX_SESSIONS = 1024 + 3 * 24


class Tapped2(Tapped):
    """A node of IKEv2: nothing needs to be listened to, for who has its keys can read all that comes to it."""

    @property
    def ctx(self) -> Any:
        return self.speaker._v2.ctx

    def tap(self) -> None:
        pass

    def essence(self, tunnel: str = "") -> dict[str, object]:
        """Give what is established, of one tunnel or of all."""
        return {
            session.id: (
                type(session.sa.phase), session.since, session.sa.endpoint, session.sa.expires, session.sa.rekey_at,
                session.sa.delete_at, session.sa.successor, session.sa.next_in, session.sa.nat, session.sa.assigned,
                [(c.spi_in, c.spi_out, c.endpoint, c.installed, c.lost, c.replaced, c.told, c.delete_at, c.gone_at,
                  c.expires, c.outbound is not None) for c in session.sa.children],
            )
            for session in self.sessions()
            if session.sa.established and tunnel in ("", session.sa.tunnel)
        }  # fmt: skip

    def check(self) -> None:
        self.check_sizes()
        for session in self.sessions():
            if not session.sa.half_open:
                self._check_kept(session)

    def check_sizes(self) -> None:
        ctx = self.ctx
        sessions = ctx.sessions
        sizes = sizes_of(ctx, self) | {
            "sessions": (len(sessions), MAX_SESSIONS),
            "sessions by SPI": (len(ctx._by_spi), len(sessions)),
            "sessions by first message": (len(ctx._by_first), len(sessions)),
            "sessions by tunnel": (sum(map(len, ctx._by_tunnel.values())), len(sessions)),
        }
        by_tunnel: dict[str, int] = {}
        for session in sessions.values():
            if session.sa.half_open:
                continue
            by_tunnel[session.sa.tunnel] = by_tunnel.get(session.sa.tunnel, 0) + 1
            waiting = sum(len(part) for each in session.incoming.values() for part in each.parts.parts.values())
            sizes |= {
                f"{session.id} children": (len(session.sa.children), 32),
                f"{session.id} incoming": (waiting, 2 * exchange.MAX_MESSAGE),
                f"{session.id} checkpoint": (len(session.saved), MAX_CHECKPOINT),
            }  # fmt: skip
        sizes |= {f"sessions of {name or 'no tunnel'}": (count, 24) for name, count in by_tunnel.items()}
        for what, (size, limit) in sizes.items():
            if size > limit:
                raise Failure(f"{what}: {size}, at most {limit} are expected")

    def _check_kept(self, session: Session) -> None:
        if isinstance(session.sa.phase, Starting):
            return
        data = msgspec.msgpack.encode(session.sa)
        if self.checkpoints.get(session.id) != data:
            raise Failure(f"{session.id} in {type(session.sa.phase).__name__}: its checkpoint is not what it is")

    def states_seen(self) -> set[str]:
        seen = set()
        for session in self.sessions():
            seen.add(f"{session.sa.role} {type(session.sa.phase).__name__}")
            if session.sa.request is not None and isinstance(session.sa.phase, Established):
                seen.add(f"{session.sa.role} waits for {type(session.sa.request.purpose).__name__}")
            if session.sa.pending is not None:
                seen.add(f"{session.sa.role} Pending")
        return seen


# -- the keys of the moment -------------------------------------------------------------------------------


def whose(node: Tapped, data: bytes, remote: str) -> Session | None:
    """Whom a message to `node` is for."""
    try:
        found: Session | None = node.ctx.find(parse_header(data), remote)
    except WireError:
        return None
    return found


def keys_to(session: Session) -> DirectionKeys | None:
    """Give the keys that protect what `session` receives."""
    phase = session.sa.phase
    keys = phase.keys if isinstance(phase, Between) else session.sa.keys
    return keys.of(initiator=not session.initiator) if keys is not None else None


def read(node: Tapped, send: Send, source: tuple[str, int]) -> Chain:
    """What is in a message to `node`, protected or not; of a fragment, nothing."""
    try:
        head = parse_header(send.data)
        if head.next_payload not in (PayloadType.SK, PayloadType.SKF):
            return chain_of(parse_payloads(head.next_payload, send.data[HEADER_OCTETS:]))
        session = node.ctx.find(head, source[0])
        if session is None:
            return []
        datagram = Datagram(node.address, send.remote_port, *source, send.data)
        opened = exchange._open(session, Message(datagram, head))
    except (WireError, NotAuthentic):
        return []
    return chain_of(opened.chain) if isinstance(opened, Opened) else []


def names_of(node: Tapped, seen: Seen, tunnel: str = "sec0") -> Names:
    """Everything that the SAs of a tunnel are called; of pairs only the SPIs."""
    sessions = [each for each in node.sessions() if each.sa.tunnel == tunnel]
    cookies = [each.sa.spi_i for each in sessions] + [each.sa.spi_r for each in sessions]
    spis = [
        n.to_bytes(4, "big") for each in sessions for c in each.sa.children for n in (c.spi_out, c.spi_out, c.spi_in)
    ]
    return Names(cookies, spis, seen.bodies)


def prove(node: Tapped, session: Session, message_id: int, chain: Chain) -> Chain:
    """Make AUTH right for the identity in `chain`, with the key that the node shares with its peer."""
    phase = session.sa.phase
    if not isinstance(phase, InitAnswered | AuthSent) or session.sa.keys is None:
        return chain
    responder = isinstance(phase, InitAnswered)
    wanted, kind = (PayloadType.IDi, IDiPayload) if responder else (PayloadType.IDr, IDrPayload)
    body = next((body for type_, body in chain if type_ == wanted), None)
    try:
        identity = kind.parse(Reader(body or b"", "identity"))
        covered = proof.Covered(phase.transcript, session.sa.keys, message_id)
        signed = proof.octets(session, covered, identity, initiator=responder)
    except WireError:
        return chain
    prf = session.prf.hash.prf
    value = prf(prf(node.keys["key"], proof.KEY_PAD), signed)
    return [(type_, b"\x02\0\0\0" + value if type_ == PayloadType.AUTH else body) for type_, body in chain]


def seal(rng: Random, session: Session, head: Header, chain: Chain, *, wrong: bool = False) -> bytes:
    """Protect a message to `session`; `wrong`: lengths and the like inside are not what they should be."""
    return seal_octets(rng, session, head, encode(chain, rng if wrong else None), chain[0][0] if chain else 0)


def seal_octets(
    rng: Random, session: Session, head: Header, plaintext: bytes, first: int, fragment: tuple[int, int] | None = None
) -> bytes:
    """Protect octets in an SK payload, or as one fragment, number of total."""
    keys, cipher = keys_to(session), session.cipher
    if keys is None:
        return b""
    padding = -(len(plaintext) + 1) % cipher.block_octets
    padded = plaintext + bytes(padding) + bytes((padding,))
    fields = b"".join(n.to_bytes(2, "big") for n in fragment) if fragment is not None else b""
    octets = 4 + len(fields) + cipher.iv_octets + len(padded) + cipher.icv_octets
    type_ = PayloadType.SK if fragment is None else PayloadType.SKF
    sealed_head = _header(head, type_, HEADER_OCTETS + octets)
    associated = sealed_head + bytes((first & 0xFF, 0)) + (octets & 0xFFFF).to_bytes(2, "big") + fields
    return associated + cipher.seal(keys, rng.randbytes(cipher.iv_octets), associated, padded)


def _header(head: Header, next_payload: int, length: int) -> bytes:
    """Encode `head` with another next payload and length."""
    return Header(
        head.initiator_spi, head.responder_spi, head.exchange, head.flags, head.message_id, next_payload, length
    ).encode()
