"""An IKE SA at work, and the table of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from secd.ike import table
from secd.ike.connection import IKEv2
from secd.ike.crypto.ikev2 import IkeKeys
from secd.ike.crypto.ikev2_ciphers import MessageCipher, message_cipher
from secd.ike.crypto.ikev2_messages import Reassembly
from secd.ike.crypto.prfs import Prf, prf_named
from secd.ike.endpoint import Endpoint
from secd.ike.tunnel import Tunnel
from secd.ike.v2.inner import Inner
from secd.ike.v2.state import Child, Established, IkeSA
from secd.ike.v2.suites import IkeSuite
from secd.ike.wire.cursor import WireError
from secd.ike.wire.header import HEADER_OCTETS
from secd.ike.wire.ikev2.message import NO_SPI, Chain, Header, parse_payloads
from secd.ike.world import World

#: Beginning of the ids of checkpoints made here; a change of their form changes it.
PREFIX = "v2-"


def settings(tunnel: Tunnel) -> IKEv2:
    """What is wanted of the tunnel in IKEv2; nothing can be negotiated with a connection that does not say."""
    return tunnel.connection.ikev2 or _NOTHING


_NOTHING = IKEv2((), ())


@dataclass(slots=True)
class Incoming:
    """The fragments of one message so far, and the first one's datagram."""

    message_id: int
    parts: Reassembly
    first: bytes = b""


class Session:
    """An IKE SA at work: the value that is kept, and what is not worth keeping."""

    def __init__(self, sa: IkeSA, now: float) -> None:
        """`sa` is new or restored at `now`."""
        self.sa = sa
        self.id = f"{PREFIX}{sa.own_spi.hex()}"
        self.saved = b""
        self.heard = now  # when the peer last said something authenticated
        self.keepalive_at: float | None = None
        self.look_at: float | None = None  # when to look whether the peer is alive
        self.hurried = False
        self.probe = False  # it was quiet for long: ask
        self.roaming = False  # requests go from wherever the routing table says
        self.redirected = False  # begin another IKE SA, with the gateway that the peer names
        self.moved_to: Endpoint | None = None  # our address has changed, and the peer does not know
        self.group: str | None = None  # the group that the peer wants for the next pair
        self.ike_group = ""  # the same for new keys of the IKE SA
        self.exhausted = False  # the peer makes no more pairs: an IKE SA of its own is needed
        self.incoming: dict[bool, Incoming] = {}  # by whether they are responses

    @property
    def since(self) -> float:
        """When it was established; never: infinity."""
        return self.sa.phase.since if isinstance(self.sa.phase, Established) else float("inf")

    @property
    def suite(self) -> IkeSuite:
        """The algorithms that were agreed on.  Asked for too early: `WireError`, since only a message can do that."""
        if self.sa.suite is None:
            raise WireError("nothing was agreed on yet")
        return self.sa.suite

    @property
    def prf(self) -> Prf:
        """The PRF that was agreed on."""
        return prf_named(self.suite.prf)

    @property
    def cipher(self) -> MessageCipher:
        """What protects the messages."""
        return message_cipher(self.suite.cipher, self.suite.bits, self.suite.auth)

    @property
    def keys(self) -> IkeKeys:
        """The keys; before there are any, `WireError`."""
        if self.sa.keys is None:
            raise WireError("there are no keys yet")
        return self.sa.keys

    @property
    def initiator(self) -> bool:
        """Whether we have begun this SA."""
        return self.sa.role == "initiator"


Runner = table.Runner[Session]


@dataclass(slots=True)
class Detour:
    """Where a tunnel's next attempt goes, "" for its policy's peer, by whose word, and when there were such of late."""

    gateway: str = ""
    by: str = ""
    times: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Message(table.Received[Header]):
    """A datagram with its header read."""

    def clear(self) -> Chain:
        """The payloads of a message in clear."""
        return parse_payloads(self.header.next_payload, self.data[HEADER_OCTETS:])


class Context(table.Table[IkeSA, Session, Child]):
    """Every session: by our SPI too, and by what a stranger's first message names."""

    #: How many peers are remembered together with the address of ours that they are reached from.
    MAX_LOCALS = 1024

    def __init__(self, world: World) -> None:
        """Start without a session."""
        super().__init__(world)
        self.locals: dict[str, str] = {}
        self.detours: dict[str, Detour] = {}
        self.inner = Inner()
        self._by_spi: dict[bytes, Session] = {}
        self._by_first: dict[tuple[str, bytes], Session] = {}

    def add(self, sa: IkeSA) -> Session:
        """A new session for `sa`."""
        session = Session(sa, self.world.now)
        self._by_spi[sa.own_spi] = session
        if sa.role == "responder":
            self._by_first[sa.endpoint.remote, sa.spi_i] = session
        self.enter(session)
        return session

    def _forget(self, session: Session) -> None:
        sa = session.sa
        self._by_spi.pop(sa.own_spi, None)
        for key in [key for key, value in self._by_first.items() if value is session and key[1] == sa.spi_i]:
            del self._by_first[key]

    def held_by(self, session: Session) -> list[Child]:
        """The pairs that `session` holds."""
        return session.sa.children

    def find(self, header: Header, remote: str) -> Session | None:
        """Whom a message is for: by our SPI, or by the first message that had none of ours."""
        if not header.from_initiator:
            return self._by_spi.get(header.initiator_spi)
        if header.responder_spi == NO_SPI:
            return self._by_first.get((remote, header.initiator_spi))
        return self._by_spi.get(header.responder_spi)

    def newest(self, name: str) -> Session | None:
        """The session that new exchanges of a tunnel go through: established last, usable, and not about to end."""
        usable = [
            each
            for each in self.of(name)
            if isinstance(each.sa.phase, Established)
            and each.sa.phase.confirmed
            and each.sa.delete_at is None
            and not each.sa.successor
        ]
        return max(usable, key=lambda session: session.since, default=None)

    def roams(self, session: Session) -> bool:
        """Whether our address may be another one than before: one that no rule fixes."""
        tunnel = self.tunnel(session)
        return tunnel is not None and tunnel.connection.local is None and self.decides(session)

    def decides(self, session: Session) -> bool:
        """Whether it is we who say where the SAs go: the initiator does, where both can do that (RFC 4555 §3.5)."""
        sa = session.sa
        return sa.established and sa.peer.mobike and sa.began == "initiator"

    def half_open(self) -> Iterator[Session]:
        """The sessions whose peer has not yet shown who it is."""
        return (each for each in self._by_tunnel.get("", {}).values() if each.sa.half_open)

    def new_spi(self) -> bytes:
        """Eight octets that no session has and that are not zero."""
        while True:
            spi = self.world.random(8)
            if spi != NO_SPI and spi not in self._by_spi:
                return spi

    def remember_local(self, remote: str, local: str) -> None:
        """`remote` is reached from our address `local`."""
        self.locals.pop(remote, None)
        self.locals[remote] = local
        while len(self.locals) > self.MAX_LOCALS:
            del self.locals[next(iter(self.locals))]
