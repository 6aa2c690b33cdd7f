"""The table of ISAKMP SAs, and what every part of IKEv1 does with one: find it, seal and open its messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from secd.ike.contract import DropCheckpoint, Send
from secd.ike.crypto.ciphers import cipher_named
from secd.ike.crypto.hashes import Hash, hash_named
from secd.ike.crypto.ikev1 import CbcState, hash_1
from secd.ike.proposals import Exchange, Suite
from secd.ike.steps import Step
from secd.ike.tunnel import Tunnel
from secd.ike.v1.state import Endpoint, Established, IsakmpSA, Keys, OfferTaken
from secd.ike.wire.cursor import WireError
from secd.ike.wire.iana import ExchangeType, Flag
from secd.ike.wire.isakmp import (
    HEADER_OCTETS,
    Chain,
    Header,
    encode_message,
    encode_payloads,
    encode_with_body,
    parse_payloads,
)
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import HashPayload
from secd.ike.world import World
from secd.sadb.messages import Datagram, Direction

#: Message ids of informational exchanges that an SA remembers before it is replaced.
REMEMBERED = 2048


EXCHANGES: dict[Exchange, ExchangeType] = {
    "main": ExchangeType.IDENTITY_PROTECTION,
    "aggressive": ExchangeType.AGGRESSIVE,
}


class Runner(Protocol):
    """Begins steps that wait."""

    def begin(self, session: Session, key: str, step: Step[None]) -> None:
        """Run `step` to its first question."""


class Told(WireError):
    """What is wrong has been explained to people already."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What phase 1 computes with: the algorithms, and both cookies."""

    suite: Suite
    icookie: bytes
    rcookie: bytes

    @property
    def prf(self) -> Hash:
        """The hash that was agreed on, also as PRF."""
        return hash_named(self.suite.hash)

    def cbc(self, keys: Keys, iv: bytes | None = None) -> CbcState:
        """The cipher at `iv`, or where phase 1 left it."""
        return CbcState(cipher_named(self.suite.cipher), keys.key, keys.iv if iv is None else iv)


class Session:
    """An ISAKMP SA at work: the value that is kept, and what is not worth keeping."""

    def __init__(self, sa: IsakmpSA, now: float) -> None:
        """`sa` is new or restored at `now`."""
        self.sa = sa
        self.id = f"v1-{(sa.icookie if sa.role == 'initiator' else sa.rcookie).hex()}"
        self.saved = b""
        self.heard = now  # when the peer last said something authenticated
        self.keepalive_at: float | None = None
        self.dpd_at: float | None = None
        self.dpd_tries = 0
        self.dpd_hurried = False
        self.dpd_since = now
        self.tried = False  # we have begun a quick mode to bring the tunnel up
        self.begun_by = sa.endpoint.remote  # what the limits of half-open sessions go by
        self.proven = not isinstance(sa.phase1, OfferTaken)  # its peer gets what is sent to its address

    def remember(self, message_id: int) -> None:
        """An informational exchange counts once: not when it is played again, nor when ours is thrown back at us."""
        self.sa.recent.append(message_id)
        if len(self.sa.recent) > REMEMBERED:
            del self.sa.recent[0]
            if self.sa.rekey_at is not None:
                self.sa.rekey_at = 0.0  # what is forgotten could come again

    @property
    def since(self) -> float:
        """When it was established; never: infinity."""
        return self.sa.phase1.since if isinstance(self.sa.phase1, Established) else float("inf")

    @property
    def suite(self) -> Suite:
        """The algorithms that were agreed on.  Asked for too early: `WireError`, since only a message can do that."""
        if self.sa.suite is None:
            raise WireError("nothing was agreed on yet")
        return self.sa.suite

    @property
    def terms(self) -> Terms:
        """Algorithms and cookies; asked for too early: `WireError`."""
        return Terms(self.suite, self.sa.icookie, self.sa.rcookie)

    @property
    def prf(self) -> Hash:
        """The hash that was agreed on, also as PRF."""
        return self.terms.prf

    @property
    def keys(self) -> Keys:
        """The keys of an established SA; otherwise `WireError`."""
        if isinstance(self.sa.phase1, Established):
            return self.sa.phase1.keys
        raise WireError("there are no keys yet")

    def cbc(self, keys: Keys, iv: bytes | None = None) -> CbcState:
        """The cipher at `iv`, or where phase 1 left it."""
        return self.terms.cbc(keys, iv)

    def phase2_cbc(self, message_id: int) -> CbcState:
        """The cipher for the first message of a new exchange."""
        return self.cbc(self.keys).phase2(self.prf, message_id)


@dataclass(frozen=True, slots=True)
class Message:
    """A datagram with its header read."""

    datagram: Datagram
    header: Header

    @property
    def data(self) -> bytes:
        """The whole message."""
        return self.datagram.data

    @property
    def endpoint(self) -> Endpoint:
        """The address that was hit and where from."""
        datagram = self.datagram
        return Endpoint(datagram.local, datagram.local_port, datagram.remote, datagram.remote_port)

    def clear(self) -> Chain:
        """The payloads of a message that has to be in clear."""
        if self.header.encrypted:
            raise WireError("encrypted, expected in clear")
        return parse_payloads(self.header.next_payload, self.data[HEADER_OCTETS:])

    def decrypt(self, cbc: CbcState) -> tuple[Chain, CbcState]:
        """The payloads of a message that has to be encrypted."""
        if not self.header.encrypted:
            raise WireError("in clear, expected encrypted")
        plain, after = cbc.decrypt(self.data[HEADER_OCTETS:])
        return parse_payloads(self.header.next_payload, plain, padded=True), after


class Context:
    """Every session, by id, by cookie and by tunnel."""

    #: How many installations are remembered in case they are refused.
    MAX_INSTALLS = 4096

    def __init__(self, world: World) -> None:
        """Start without a session."""
        self.world = world
        self.sessions: dict[str, Session] = {}
        self.touched: dict[str, Session] = {}
        self.tended: set[str] = set()
        self.contacted: set[str] = set()
        self.installs: dict[int, tuple[str, int, Direction]] = {}
        self._by_cookie: dict[bytes, Session] = {}
        self._by_tunnel: dict[str, dict[str, Session]] = {}
        self._begun_by: dict[str, dict[str, Session]] = {}  # half-open ones, by address

    # -- the table ----------------------------------------------------------------------------------------

    def add(self, sa: IsakmpSA) -> Session:
        """A new session for `sa`."""
        session = Session(sa, self.world.now)
        self.sessions[session.id] = session
        self._by_cookie[sa.icookie] = session
        self.claim(session, sa.tunnel)
        self.touch(session)
        return session

    def claim(self, session: Session, name: str) -> None:
        """`session` belongs to the tunnel `name`; "": not known yet."""
        self._leave(session)
        if not name:
            self._begun_by.setdefault(session.begun_by, {})[session.id] = session
        session.sa.tunnel = name
        self._by_tunnel.setdefault(name, {})[session.id] = session

    def _leave(self, session: Session) -> None:
        self._by_tunnel.get(session.sa.tunnel, {}).pop(session.id, None)
        begun = self._begun_by.get(session.begun_by, {})
        if begun.pop(session.id, None) is not None and not begun:
            del self._begun_by[session.begun_by]

    def remove(self, session: Session) -> None:
        """Forget `session`; its children must have been seen to."""
        if self.sessions.pop(session.id, None) is None:
            return
        self.world.steps.cancel(session.id)
        self.world.timers.set(session.id, None)
        self._leave(session)
        if self._by_cookie.get(session.sa.icookie) is session:
            del self._by_cookie[session.sa.icookie]
        self.touched.pop(session.id, None)
        self.tend(session.sa.tunnel)
        if session.saved:
            self.world.outbox.put(DropCheckpoint(session.id))

    def touch(self, session: Session) -> None:
        """`session` may have changed: look at its checkpoint, deadline and tunnel when the step ends."""
        if session.id in self.sessions:
            self.touched[session.id] = session
            self.tend(session.sa.tunnel)

    def tend(self, name: str) -> None:
        """Look after the tunnel `name` when the step ends."""
        if name:
            self.tended.add(name)

    def by_cookie(self, icookie: bytes) -> Session | None:
        """The session of an initiator cookie."""
        return self._by_cookie.get(icookie)

    def of(self, name: str) -> list[Session]:
        """The sessions of a tunnel, the oldest first."""
        return sorted(self._by_tunnel.get(name, {}).values(), key=lambda session: session.sa.created)

    def newest(self, name: str) -> Session | None:
        """The session that new exchanges of a tunnel go through: established last, and not about to end."""
        usable = [each for each in self.of(name) if each.sa.established and each.sa.retire_at is None]
        return max(usable, key=lambda session: session.since, default=None)

    def tunnel(self, session: Session) -> Tunnel | None:
        """The tunnel that `session` belongs to; None while it is not known."""
        return self.world.tunnels.get(session.sa.tunnel)

    def half_open(self) -> dict[str, Session]:
        """The sessions whose peer has not yet shown who it is, the oldest first."""
        return self._by_tunnel.get("", {})

    def begun_by(self, address: str) -> dict[str, Session]:
        """Those of them that were begun from `address`."""
        return self._begun_by.get(address, {})

    def complain(self, tunnels: Sequence[Tunnel], code: str, text: str) -> None:
        """Say once what keeps the peer, who is not authenticated, from using one of `tunnels`."""
        for tunnel in tunnels[:1]:
            if tunnel.is_news(code, text):
                self.world.log_stranger("error", code, text, tunnel.name)
        for tunnel in tunnels:
            if tunnel.up_since is None:
                tunnel.reason = text

    # -- messages -----------------------------------------------------------------------------------------

    def header(self, session: Session, exchange: ExchangeType, message_id: int = 0, flags: int = 0) -> Header:
        """A header of `session`."""
        return Header(session.sa.icookie, session.sa.rcookie, exchange, flags, message_id)

    def plain(self, session: Session, payloads: Sequence[Payload]) -> bytes:
        """A message of phase 1 in clear."""
        return encode_message(self.header(session, EXCHANGES[session.sa.exchange]), payloads)

    def seal(
        self, session: Session, exchange: ExchangeType, message_id: int, payloads: Sequence[Payload], cbc: CbcState
    ) -> tuple[bytes, bytes]:
        """An encrypted message, and the IV for the next."""
        body, after = cbc.encrypt(encode_payloads(payloads))
        header = self.header(session, exchange, message_id, Flag.ENCRYPTION)
        return encode_with_body(header, payloads[0].type, body), after.iv

    def inform(self, session: Session, payloads: Sequence[Payload], *, numbered: bool = False) -> None:
        """Send an informational exchange, protected by an established SA; nobody answers it.

        `numbered`: what it says has a number by which it is known to be ours; so its message id need not be kept.
        """
        message_id = self.new_message_id(session)
        hashed = hash_1(session.prf, session.keys.skeyid_a, message_id, encode_payloads(payloads))
        cbc = session.phase2_cbc(message_id)
        data, _ = self.seal(session, ExchangeType.INFORMATIONAL, message_id, [HashPayload(hashed), *payloads], cbc)
        if not numbered:
            session.remember(message_id)
            self.touch(session)
        self.send(session.sa.endpoint, data)

    def new_message_id(self, session: Session) -> int:
        """A random message id that this SA has not seen."""
        while True:
            number = int.from_bytes(self.world.random(4), "big")
            if number and number not in session.sa.quick and number not in session.sa.used:
                return number

    def send(self, endpoint: Endpoint, data: bytes) -> None:
        """A datagram goes out."""
        self.world.outbox.put(Send(endpoint.local, endpoint.local_port, endpoint.remote, endpoint.remote_port, data))
