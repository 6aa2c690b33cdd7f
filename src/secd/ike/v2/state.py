"""What is kept of an IKE SA: plain values, and all that a new iked needs to go on where the old one was killed.

Times are monotonic seconds.  Nothing in here shows a key in its repr.
"""

from __future__ import annotations

from msgspec import Struct, field

from secd.ike.crypto.ikev2 import IkeKeys
from secd.ike.endpoint import Endpoint, Role
from secd.ike.v2.suites import EspSuite, IkeSuite
from secd.sadb.messages import SA, Identity


class _Secret(Struct):
    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class Nat(Struct, frozen=True):
    """Whether there is a NAT before us and before the peer, and whether the peer said anything about it at all."""

    here: bool = False
    there: bool = False
    known: bool = False

    @property
    def found(self) -> bool:
        """Whether ESP has to go in UDP."""
        return self.here or self.there


class Peer(Struct):
    """What the peer has said that it can do.  `hashes`: SIGNATURE_HASH_ALGORITHMS by IANA's numbers."""

    vendor: str = ""
    fragmentation: bool = False
    intermediate: bool = False
    mobike: bool = False
    ppk: bool = False
    hashes: list[int] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


# -- before authentication: one struct a state, which holds what that state needs -------------------------


class Transcript(_Secret):
    """What the AUTH payloads cover (RFC 7296 §2.15): the first message of each side as it was sent, and the nonces.

    `between_i` and `between_r` are IntAuth_i and IntAuth_r (RFC 9242 §3.3.2), empty without IKE_INTERMEDIATE.
    """

    request: bytes
    response: bytes
    nonce_i: bytes
    nonce_r: bytes
    between_i: bytes = b""
    between_r: bytes = b""


class Starting(_Secret, tag="starting"):
    """The first key pair is being computed; nothing has been sent and nothing is kept."""


class InitSent(_Secret, tag="init-sent"):
    """Initiator, IKE_SA_INIT sent, for the `starts`th time.  `refusal`: why it will fail, as somebody says.

    `sent_by`: the gateway that has sent us to this one (RFC 5685).
    """

    nonce: bytes
    group: str
    private: bytes
    public: bytes
    cookie: bytes = b""
    starts: int = 1
    refusal: str = ""
    sent_by: str = ""


class Between(_Secret, tag="between"):
    """Initiator, IKE_INTERMEDIATE sent: `round` of the additional key exchanges is under way (RFC 9370).

    `keys` are those that its answer comes under; the SA's may be those of the next round already.
    """

    transcript: Transcript
    round: int
    private: bytes
    keys: IkeKeys


class AuthSent(_Secret, tag="auth-sent"):
    """Initiator, IKE_AUTH sent.  `spi` is the first child's; `mixed`: the keys with the PPK in them, if any."""

    transcript: Transcript
    spi: int
    mixed: IkeKeys | None = None


class InitAnswered(_Secret, tag="init-answered"):
    """Responder, IKE_SA_INIT answered.  `candidates`: connections it may be; `round`: the next additional exchange."""

    transcript: Transcript
    candidates: list[str]
    round: int = 0


class Established(_Secret, tag="established"):
    """Both sides authenticated at `since`.

    `confirmed`: the peer can use it; false in a responder of a rekey until it has seen a sign of that.  `rekeyed`: the
    lowest nonce of the exchange that made it out of another IKE SA, b"" if there was none (RFC 7296 §2.8.2).
    """

    since: float
    confirmed: bool = True
    rekeyed: bytes = b""


class Closing(_Secret, tag="closing"):
    """We have deleted it, and the peer has not answered yet."""


class Closed(_Secret, tag="closed"):
    """Deleted by the peer or refused; kept for a while to answer the repeats of its last request."""

    refused: bool = False


Phase = Starting | InitSent | Between | AuthSent | InitAnswered | Established | Closing | Closed

# -- requests ---------------------------------------------------------------------------------------------


class Opening(_Secret, tag="opening"):
    """IKE_SA_INIT, IKE_INTERMEDIATE or IKE_AUTH: the phase says which."""


class CreateChild(_Secret, tag="create-child"):
    """CREATE_CHILD_SA for a pair.

    `replaces`: our inbound SPI of the pair that is rekeyed, or 0.  `rival`: our inbound SPI of the pair that the peer
    has made meanwhile in place of the same, or 0 (RFC 7296 §2.8.1).  `followup`: what the answer has agreed on, while
    additional key exchanges follow.
    """

    spi: int
    nonce: bytes
    group: str
    private: bytes
    public: bytes
    replaces: int = 0
    rival: int = 0
    followup: Followup | None = None


class RekeyIke(_Secret, tag="rekey-ike"):
    """CREATE_CHILD_SA for the IKE SA.  `rival`: id of the session that the peer has made meanwhile, or ""."""

    spi: bytes
    nonce: bytes
    group: str
    private: bytes
    public: bytes
    rival: str = ""
    followup: Followup | None = None


class Followup(_Secret):
    """What CREATE_CHILD_SA has agreed on, while additional key exchanges follow it (RFC 9370 §2.2.4).

    `round` is the one under way; `spi` and `nonce` are the other side's; `secrets` those so far, beginning with that
    of CREATE_CHILD_SA (empty without one); `private` is ours of this round, as initiator.  One of the suites is there.
    """

    round: int
    spi: bytes
    nonce: bytes
    secrets: list[bytes]
    esp: EspSuite | None = None
    ike: IkeSuite | None = None
    private: bytes = b""


class Pending(_Secret):
    """The same as responder: `link` is what the initiator has to come with, before `expires`.

    `own_spi` and `own_nonce` are ours; `replaces`: the peer's SPI of the pair that it renews, or 0.
    """

    agreed: Followup
    own_spi: bytes
    own_nonce: bytes
    replaces: int = 0
    link: bytes = b""
    expires: float = 0.0


class DeleteChildren(_Secret, tag="delete-children"):
    """INFORMATIONAL with our inbound SPIs of pairs that end."""

    spis: list[int]


class DeleteIke(_Secret, tag="delete-ike"):
    """INFORMATIONAL: the IKE SA ends."""


class Probe(_Secret, tag="probe"):
    """An INFORMATIONAL without a request: is the peer there?  `cookie` has to come back, if there is one."""

    cookie: bytes = b""


class Move(_Secret, tag="move"):
    """UPDATE_SA_ADDRESSES (RFC 4555): we are at `endpoint` now.  `cookie` has to come back."""

    endpoint: Endpoint
    cookie: bytes = b""


Purpose = Opening | CreateChild | RekeyIke | DeleteChildren | DeleteIke | Probe | Move


class Request(_Secret):
    """Our request that is not answered yet; the window is one (RFC 7296 §2.3).

    `sent`: its datagrams, several if it was fragmented; `tries`: how often they went out; `next`: when they do again.
    `hurried`: somebody says that the peer has forgotten us.
    """

    message_id: int
    purpose: Purpose
    sent: list[bytes]
    next: float
    tries: int = 1
    hurried: bool = False


class Answered(_Secret):
    """The peer's last request, by its SHA-256, and what we answered."""

    message_id: int
    digest: bytes
    sent: list[bytes]
    resent: int = 0


# -- pairs ------------------------------------------------------------------------------------------------


class Child(Struct):
    """A pair of ESP SAs; `endpoint` is where its packets go.

    `outbound`: not in the data plane yet, because the peer may not be able to receive; looked at at `activate_at`.
    `installed`: the outbound SA is in the data plane; `lost`: the inbound one is not any more.  `lowest`: the lowest
    nonce of the exchange that made it (RFC 7296 §2.8.1).  `rekey_at` None: it is not, or no more, up to us to replace
    it.  `replaced`: another pair stands in its place.  `delete_at`: tell the peer that it is deleted; `told`: it has
    been told; `gone_at`: remove the inbound SA.  `check_at`: look whether it is still in use.
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
    lowest: bytes = b""
    outbound: SA | None = None
    activate_at: float | None = None
    installed: bool = False
    lost: bool = False
    replaced: bool = False
    delete_at: float | None = None
    told: bool = False
    gone_at: float | None = None
    check_at: float | None = None

    @property
    def usable(self) -> bool:
        """Whether traffic goes through it and is meant to."""
        return self.installed and self.gone_at is None


class IkeSA(Struct):
    """An IKE SA with everything that belongs to it.

    `role` says who has begun this SA; after a rekey, who has begun the rekey; `began` is our role in the first one.
    `expires`: an unfinished one is given up, an established one ends, a closing or closed one is forgotten.
    `replaces`: begun to replace others of its tunnel.  `successor`: id of the session that has replaced it by a rekey.
    `assigned`: what the peer gives us by the configuration payload; `provided`: the inner addresses we give the peer.
    `seen`: how the peer sees us behind our NAT.
    """

    spi_i: bytes
    spi_r: bytes
    role: Role
    tunnel: str
    fingerprint: bytes
    endpoint: Endpoint
    created: float
    expires: float
    phase: Phase
    suite: IkeSuite | None = None
    keys: IkeKeys | None = None
    request: Request | None = None
    answered: Answered | None = None
    pending: Pending | None = None
    next_out: int = 0
    next_in: int = 0
    rekey_at: float | None = None
    delete_at: float | None = None
    successor: str = ""
    nat: Nat = Nat()
    peer: Peer = field(default_factory=Peer)
    initial_contact: bool = False
    replaces: bool = False
    began: Role | None = None
    local_id: Identity | None = None
    remote_id: Identity | None = None
    children: list[Child] = field(default_factory=list)
    assigned: dict[str, list[str]] = field(default_factory=dict)
    provided: list[str] = field(default_factory=list)
    seen: bytes = b""

    @property
    def established(self) -> bool:
        """Whether both sides are authenticated and neither has deleted it."""
        return isinstance(self.phase, Established)

    @property
    def half_open(self) -> bool:
        """Whether it was begun by somebody who has not shown who it is, or has failed to."""
        if isinstance(self.phase, Closed):
            return self.phase.refused
        return self.role == "responder" and isinstance(self.phase, Starting | InitAnswered)

    @property
    def own_spi(self) -> bytes:
        """Ours of the two SPIs."""
        return self.spi_i if self.role == "initiator" else self.spi_r
