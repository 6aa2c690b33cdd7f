"""What goes into the protocol machine and what comes out of it: all of its contact with the world.

The machine (`secd.ike.speaker.Speaker`) does no I/O and reads no clock:

    speaker = Speaker(random, working)           # random: Callable[[int], bytes]; working: Callable[[str | None], None]
    speaker.configure(connections, now)          # the whole wanted set; applied as a difference
    speaker.restore(id, data, now)               # a checkpoint of an earlier life; before or after configure
    speaker.receive(datagram, now)               # sadb.messages.Datagram
    speaker.answer(request_id, answer, now)      # to a Request among the outputs
    speaker.event(event, now)                    # sadb.messages.Expire, NewMapping, InterfaceChange, PathChange
    speaker.handle_timer(now)                    # when `next_deadline` has passed
    speaker.next_deadline() -> float | None
    speaker.outputs() -> list[Output]            # to be carried out in this order; empties the list
    speaker.status(now) -> list[ConnectionStatus]
    speaker.reset(name, now) -> bool             # drop a tunnel's SAs (None: all), telling the peer, and start again
                                                 # if it is active; False when there is no such tunnel
    speaker.rekey(name, what, now) -> str        # begin to replace a tunnel's SAs now; "", or why that cannot be
    speaker.shutdown(now)                        # say goodbye: deletes to every peer
    speaker.installed() -> list[InstalledSA]     # every SA that the machine believes to be in the data plane
    speaker.abandon(id, now)                     # forget the IKE SA of this checkpoint without a word; never raises

`now` is monotonic seconds as float; it goes on across restarts of the process (CLOCK_MONOTONIC).
A checkpoint is emitted before the `Send` that depends on it.

`working` makes one broken SA nobody else's trouble.  The machine calls `working(id)` with the id of an SA's checkpoint
(also one not saved yet) each time before it starts to work on that SA, in whatever call, `restore` included; the
shell calls `working(None)` itself when the call is over.  From within, the shell may call `outputs()`.  If the call
raises, the shell throws away the outputs since, calls `abandon(id, now)` and offers the last checkpoint to `restore`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from secd.ike.connection import Connection
from secd.sadb.messages import SA, Direction

RequestId = int

#: What can be rekeyed: the IKE SA, or the pair of ESP SAs.
SAKind = Literal["ike", "child"]

# -- outputs ----------------------------------------------------------------------------------------------


class Send(Struct, frozen=True):
    """Send an IKE message (without a non-ESP marker; b"\\xff" from port 4500 is a NAT keepalive)."""

    local: str
    local_port: int
    remote: str
    remote_port: int
    data: bytes


class SaveCheckpoint(Struct, frozen=True):
    """Keep `data` before anything that follows is done."""

    id: str
    data: bytes


class DropCheckpoint(Struct, frozen=True):
    """The SA is gone for good."""

    id: str


class ExpectFrom(Struct, frozen=True):
    """Messages from these addresses (1024 at most) overtake strangers': see sadb.messages.Expect."""

    addresses: tuple[str, ...]
    anew: bool


class AddSA(Struct, frozen=True):
    """Install `sa`.  A refusal is answered by `SAFailed`; success is not answered."""

    request_id: RequestId
    sa: SA


class UpdateSA(Struct, frozen=True):
    """The outer addresses of an SA have changed: see sadb.messages.Update."""

    spi: int
    direction: Direction
    destination: str
    new_source: str
    new_destination: str
    udpencap: tuple[int, int] | None


class DeleteSA(Struct, frozen=True):
    """Remove an SA."""

    spi: int
    direction: Direction
    destination: str


class AssignAddress(Struct, frozen=True):
    """The inner addresses of `iface`, in place of those of before: see sadb.messages.Assign.

    `addresses` (`10.1.2.3/24`, `2001:db8::3/64`) the peer, a hub, gives us; `peers` (`10.1.2.9`) we give the peer.
    """

    iface: str
    addresses: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()


class Log(Struct, frozen=True):
    """One line for a person, and the same as data.  `code` is stable: `proposal-mismatch`, `psk-mismatch`, ..."""

    level: Literal["debug", "info", "warning", "error"]
    connection: str
    code: str
    message: str


class ReserveSPI(Struct, frozen=True):
    """Answer: `ReservedSPI` or `SAFailed`."""

    request_id: RequestId
    iface: str


class GenerateKeyPair(Struct, frozen=True):
    """Make a key pair for `group` out of `seed` (from the machine's random source).  Answer: `KeyPair`."""

    request_id: RequestId
    group: str
    seed: bytes


class ComputeSharedSecret(Struct, frozen=True):
    """Diffie-Hellman.  Answer: `SharedSecret`, or `ComputeFailed` when the peer's value is not acceptable."""

    request_id: RequestId
    group: str
    private: bytes
    peer_public: bytes


class Encapsulate(Struct, frozen=True):
    """The responder's half of a key exchange in one.  Answer: `Encapsulation`, or `ComputeFailed` as above."""

    request_id: RequestId
    group: str
    seed: bytes
    peer_public: bytes


class ComputePRF(Struct, frozen=True):
    """prf(pre-shared key, data) by the key holder; with `pad` prf(prf(key, pad), data), as IKEv2's AUTH is made.

    Answer: `PRFResult` or `ComputeFailed`.
    """

    request_id: RequestId
    key: str
    hash: str
    data: bytes
    pad: bytes = b""


class ComputeSignature(Struct, frozen=True):
    """A signature by the key holder.  Answer: `SignatureResult` or `ComputeFailed`."""

    request_id: RequestId
    key: str
    scheme: str
    data: bytes


class QueryLastUse(Struct, frozen=True):
    """When did an inbound SA last receive a packet?  Answer: `LastUse`."""

    request_id: RequestId
    spi: int
    destination: str


class QueryTime(Struct, frozen=True):
    """What time is it by the calendar, for the validity of certificates?  Answer: `TimeOfDay`."""

    request_id: RequestId


Output = (
    Send | SaveCheckpoint | DropCheckpoint | ExpectFrom | AddSA | UpdateSA | DeleteSA | AssignAddress | Log
    | ReserveSPI | GenerateKeyPair | ComputeSharedSecret | Encapsulate | ComputePRF | ComputeSignature | QueryLastUse
    | QueryTime
)  # fmt: skip


class InstalledSA(Struct, frozen=True):
    """An SA that the machine has asked to be installed and neither deleted nor seen expire."""

    spi: int
    direction: Direction
    iface: str
    source: str
    destination: str


# -- answers ----------------------------------------------------------------------------------------------


class KeyPair(Struct, frozen=True):
    """Answers `GenerateKeyPair`."""

    private: bytes
    public: bytes


class SharedSecret(Struct, frozen=True):
    """Answers `ComputeSharedSecret`."""

    secret: bytes


class Encapsulation(Struct, frozen=True):
    """Answers `Encapsulate`."""

    public: bytes
    secret: bytes


class PRFResult(Struct, frozen=True):
    """Answers `ComputePRF`."""

    data: bytes


class SignatureResult(Struct, frozen=True):
    """Answers `ComputeSignature`."""

    data: bytes


class ReservedSPI(Struct, frozen=True):
    """Answers `ReserveSPI`."""

    spi: int


class LastUse(Struct, frozen=True):
    """Answers `QueryLastUse`: seconds since, None if never or if there is no such SA."""

    idle: float | None


class TimeOfDay(Struct, frozen=True):
    """Answers `QueryTime`: seconds of the epoch."""

    epoch: float


class SAFailed(Struct, frozen=True):
    """`AddSA` or `ReserveSPI` was refused."""

    message: str


class ComputeFailed(Struct, frozen=True):
    """A computation could not be done; `message` says why, without secrets."""

    message: str


Answer = (
    KeyPair | SharedSecret | Encapsulation | PRFResult | SignatureResult | ReservedSPI | LastUse | TimeOfDay
    | SAFailed | ComputeFailed
)  # fmt: skip

# -- status -----------------------------------------------------------------------------------------------


class IKEStatus(Struct, frozen=True):
    """One IKE SA."""

    version: int
    role: Literal["initiator", "responder"]
    state: str
    initiator_spi: str  # hex
    responder_spi: str
    local: str
    local_port: int
    remote: str
    remote_port: int
    local_id: str
    remote_id: str
    encryption: str
    hash: str
    group: str
    age: float  # seconds
    rekey_in: float | None
    expires_in: float | None
    nat: bool
    vendor: str  # what the peer says it is, or ""


class ChildStatus(Struct, frozen=True):
    """One pair of ESP SAs."""

    spi_in: int
    spi_out: int
    encryption: str
    auth: str
    group: str
    age: float
    rekey_in: float | None
    expires_in: float | None
    udpencap: bool


class ConnectionStatus(Struct, frozen=True):
    """One tunnel as `sec status` shows it.  Times are seconds from now."""

    connection: Connection
    state: Literal["up", "connecting", "waiting", "down"]
    reason: str  # why it is not up, in words; "" when up
    ike: list[IKEStatus]
    children: list[ChildStatus]
    last_rekey: float | None  # seconds ago
    next_attempt: float | None  # seconds from now
    retries: int
    assigned: dict[str, tuple[str, ...]] = {}  # by iked.conf's words: what the peer, a hub, gives us
    provided: tuple[str, ...] = ()  # inner addresses that we give the peer
