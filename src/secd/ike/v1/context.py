"""The table of ISAKMP SAs, and what every part of IKEv1 does with one: find it, seal and open its messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secd.ike import table
from secd.ike.crypto.ciphers import cipher_named
from secd.ike.crypto.hashes import Hash, hash_named
from secd.ike.crypto.ikev1 import CbcState, hash_1
from secd.ike.proposals import Exchange, Suite
from secd.ike.v1.state import Child, Established, IsakmpSA, Keys, OfferTaken
from secd.ike.wire.chain import encode_payloads
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.iana import ExchangeType, Flag
from secd.ike.wire.isakmp import Chain, Header, encode_message, encode_with_body, parse_payloads
from secd.ike.wire.payload import Payload
from secd.ike.wire.payloads import HashPayload
from secd.ike.world import World

#: Beginning of the ids of checkpoints made here; a change of their form changes it.
PREFIX = "v1-"
#: Message ids of informational exchanges that an SA remembers before it is replaced.
REMEMBERED = 2048


EXCHANGES: dict[Exchange, ExchangeType] = {
    "main": ExchangeType.IDENTITY_PROTECTION,
    "aggressive": ExchangeType.AGGRESSIVE,
}


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
        self.id = f"{PREFIX}{(sa.icookie if sa.role == 'initiator' else sa.rcookie).hex()}"
        self.saved = b""
        self.heard = now  # when the peer last said something authenticated
        self.keepalive_at: float | None = None
        self.dpd_at: float | None = None
        self.dpd_tries = 0
        self.dpd_hurried = False
        self.dpd_since = now
        self.tried = False  # we have begun a quick mode to bring the tunnel up
        self.refusal = ""  # why this attempt most likely comes to nothing
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


Runner = table.Runner[Session]


@dataclass(frozen=True, slots=True)
class Message(table.Received[Header]):
    """A datagram with its header read."""

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


class Context(table.Table[IsakmpSA, Session, Child]):
    """Every session: by cookie too, and while it is half open by the address that it was begun from."""

    def __init__(self, world: World) -> None:
        """Start without a session."""
        super().__init__(world)
        self._by_cookie: dict[bytes, Session] = {}
        self._begun_by: dict[str, dict[str, Session]] = {}

    # -- the table ----------------------------------------------------------------------------------------

    def add(self, sa: IsakmpSA) -> Session:
        """A new session for `sa`."""
        session = Session(sa, self.world.now)
        self._by_cookie[sa.icookie] = session
        self.enter(session)
        return session

    def claim(self, session: Session, name: str) -> None:
        """`session` belongs to the tunnel `name`; "": not known yet."""
        self._is_known(session)
        if not name:
            self._begun_by.setdefault(session.begun_by, {})[session.id] = session
        super().claim(session, name)

    def _is_known(self, session: Session) -> None:
        """It counts no more among the half-open ones of its address."""
        begun = self._begun_by.get(session.begun_by, {})
        if begun.pop(session.id, None) is not None and not begun:
            del self._begun_by[session.begun_by]

    def _forget(self, session: Session) -> None:
        self._is_known(session)
        if self._by_cookie.get(session.sa.icookie) is session:
            del self._by_cookie[session.sa.icookie]

    def held_by(self, session: Session) -> list[Child]:
        """The pairs that `session` holds."""
        return session.sa.children

    def by_cookie(self, icookie: bytes) -> Session | None:
        """The session of an initiator cookie."""
        return self._by_cookie.get(icookie)

    def newest(self, name: str) -> Session | None:
        """The session that new exchanges of a tunnel go through: established last, and not about to end."""
        usable = [each for each in self.of(name) if each.sa.established and each.sa.retire_at is None]
        return max(usable, key=lambda session: session.since, default=None)

    def half_open(self) -> dict[str, Session]:
        """The sessions whose peer has not yet shown who it is, the oldest first."""
        return self._by_tunnel.get("", {})

    def begun_by(self, address: str) -> dict[str, Session]:
        """Those of them that were begun from `address`."""
        return self._begun_by.get(address, {})

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
