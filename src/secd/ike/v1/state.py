"""What is kept of an ISAKMP SA: plain values, and all that a new iked needs to go on where the old one was killed.

Times are monotonic seconds.  Nothing in here shows a key in its repr.
"""

from __future__ import annotations

from msgspec import Struct, field

from secd.ike.endpoint import Endpoint, Role
from secd.ike.proposals import EspSuite, Exchange, Suite
from secd.ike.retransmission import Flight
from secd.sadb.messages import SA, Identity


class Nat(Struct):
    """`dialect` is the vendor ID that both sides sent, "" if none; then whether there is a NAT before us, the peer."""

    dialect: str = ""
    here: bool = False
    there: bool = False

    @property
    def found(self) -> bool:
        """Whether ESP has to go in UDP."""
        return self.here or self.there


class Keys(Struct):
    """What phase 1 made: SKEYID_d, SKEYID_a, the cipher's key and the last block of phase 1 as IV."""

    skeyid_d: bytes
    skeyid_a: bytes
    key: bytes
    iv: bytes

    def __repr__(self) -> str:
        """Show nothing."""
        return "Keys(...)"


# -- phase 1: one struct a state, which holds what that state needs ---------------------------------------


class _State(Struct):
    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class OfferSent(_State, tag="offer-sent"):
    """Initiator, message 1 sent.  `offer` is SAi_b, here and below."""

    offer: bytes


class KeySent(_State, tag="key-sent"):
    """Initiator, message 3 sent."""

    offer: bytes
    private: bytes
    public: bytes
    nonce: bytes


class IdentitySent(_State, tag="identity-sent"):
    """Initiator, message 5 sent; `keys.iv` is its last block.  `bad`: how many messages 6 proved nothing."""

    offer: bytes
    skeyid: bytes
    public: bytes
    peer_public: bytes
    keys: Keys
    bad: int = 0


class OfferTaken(_State, tag="offer-taken"):
    """Responder, message 2 sent.  `candidates`: names of the connections that it may be."""

    offer: bytes
    candidates: list[str]


class KeyAnswered(_State, tag="key-answered"):
    """Responder, message 4 sent.  `bad`: how many messages 5 did not decrypt, or proved nothing."""

    offer: bytes
    candidates: list[str]
    secret: bytes
    public: bytes
    peer_public: bytes
    nonce_i: bytes
    nonce_r: bytes
    bad: int = 0


class KeyWanted(_State, tag="key-wanted"):
    """Aggressive mode before our first message: a key pair is being made, and an iked that is killed forgets it."""


class AggressiveSent(_State, tag="aggressive-sent"):
    """Initiator of aggressive mode, message 1 sent.  `bad`: how many messages 2 proved nothing."""

    offer: bytes
    group: str
    private: bytes
    public: bytes
    nonce: bytes
    bad: int = 0


class AggressiveAnswered(_State, tag="aggressive-answered"):
    """Responder of aggressive mode, message 2 sent.  `candidate`: the connection that it is for if message 3 proves it.

    `identity`: type and data of IDii; `bad`: how many messages 3 proved nothing.
    """

    offer: bytes
    candidate: str
    skeyid: bytes
    public: bytes
    peer_public: bytes
    keys: Keys
    identity: tuple[int, bytes, int, int]
    bad: int = 0


class Established(_State, tag="established"):
    """Both sides authenticated at `since`."""

    keys: Keys
    since: float


class Gone(_State, tag="gone"):
    """Deleted or expired; kept because its children wait to be adopted."""


Phase1 = (
    OfferSent | KeySent | IdentitySent | OfferTaken | KeyAnswered | KeyWanted | AggressiveSent | AggressiveAnswered
    | Established | Gone
)  # fmt: skip

# -- phase 2 ----------------------------------------------------------------------------------------------


class ProposalSent(_State, tag="proposal-sent"):
    """Initiator, message 1 sent.  `replaces`: inbound SPI of the pair that is being rekeyed, or 0.

    `begun`: when it went for the first time.
    `disowned`: the peer has lost its way in this exchange, so the next one begins instead of a repetition.
    """

    suites: list[EspSuite]
    spi: int
    nonce: bytes
    private: bytes
    public: bytes
    replaces: int
    begun: float
    disowned: bool = False


class AnswerSent(_State, tag="answer-sent"):
    """Responder, message 2 sent; `outbound` is installed when message 3 comes."""

    spi: int
    nonce_i: bytes
    nonce_r: bytes
    outbound: SA


class ConfirmationSent(_State, tag="confirmation-sent"):
    """Initiator of a rekey, message 3 sent.

    The peer may install its SAs only when it has read message 3, so `outbound` waits until it is seen to have done so:
    until ESP comes on the new pair, which is looked for at `look_at`, or until `limit`.  `begun`: when message 1 went.
    """

    spi: int
    outbound: SA
    begun: float
    look_at: float
    limit: float


class Finished(_State, tag="finished"):
    """Kept for a while because the peer's last message may come again.

    `unseen`: our SPI of a first pair, on which no ESP has come yet; message 3 may be lost, and not asked for again.
    """

    unseen: int = 0


class QuickMode(Struct):
    """One quick mode.  `iv` is that of its next message; `deadline` is when it is given up, or forgotten."""

    state: ProposalSent | AnswerSent | ConfirmationSent | Finished
    iv: bytes
    flight: Flight
    deadline: float


class Child(Struct):
    """A pair of ESP SAs.  `suite.lifetime` is what both sides agreed on; `endpoint` is where its packets go.

    `installed`: the outbound SA is in the data plane (the inbound one always is).  `rekey_at` None: it is not (or
    no more) up to us to replace it.  `retire_at`: tell the peer that it is deleted and stop using it; `gone_at`:
    remove the inbound SA.  `stale`: the peer may have forgotten it.  `doubtful`: it probably has.
    """

    spi_in: int
    spi_out: int
    suite: EspSuite
    endpoint: Endpoint
    udp: bool
    created: float
    ours: bool
    expires: float
    rekey_at: float | None
    installed: bool = False
    retire_at: float | None = None
    gone_at: float | None = None
    stale: bool = False
    doubtful: bool = False
    check_at: float | None = None

    @property
    def usable(self) -> bool:
        """Whether traffic goes through it and is meant to."""
        return self.installed and self.gone_at is None

    @property
    def lost(self) -> bool:
        """Whether the inbound SA is not in the data plane any more: then the pair is forgotten."""
        return False


class IsakmpSA(Struct):
    """An ISAKMP SA with everything that belongs to it.

    `rekeying`: made to replace another.  `expires`: an unfinished phase 1 is given up, an established one ends, a
    `Gone` one takes its children along.  `fingerprint` is that of the connection it was negotiated by
    (`secd.ike.tunnel.fingerprint`).  `used` are message ids of quick modes, `recent` of informational exchanges of
    either side, `asked` of the peer's R-U-THERE with the number `dpd_received`: none of them counts twice.
    """

    icookie: bytes
    rcookie: bytes
    role: Role
    tunnel: str
    fingerprint: bytes
    endpoint: Endpoint
    created: float
    expires: float
    phase1: Phase1
    flight: Flight
    exchange: Exchange = "main"
    suite: Suite | None = None
    rekey_at: float | None = None
    retire_at: float | None = None
    nat: Nat = field(default_factory=Nat)
    dpd: bool = False
    vendor: str = ""
    initial_contact: bool = False
    rekeying: bool = False
    local_id: Identity | None = None
    remote_id: Identity | None = None
    quick: dict[int, QuickMode] = field(default_factory=dict)
    used: list[int] = field(default_factory=list)
    recent: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    dpd_sent: int = 0
    dpd_received: int = 0

    @property
    def established(self) -> bool:
        """Whether messages of phase 2 can be exchanged."""
        return isinstance(self.phase1, Established)

    @property
    def half_open(self) -> bool:
        """Whether the peer has not yet shown who it is."""
        if isinstance(self.phase1, KeyWanted):
            return self.role == "responder"
        return isinstance(self.phase1, OfferTaken | KeyAnswered | AggressiveAnswered)
