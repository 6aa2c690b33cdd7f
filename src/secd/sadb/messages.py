"""The seam between key exchange and data plane: its messages.

Names and meaning are RFC 2367's (PF_KEY v2) with OpenBSD's extensions (interface and direction, udpencap,
replay, counter, lastuse); the encoding is our own: one tagged MessagePack struct a datagram on a
SOCK_SEQPACKET socket (`secd.ipc`).  Every request carries a `seq` that its answer repeats.

Addresses are text without a prefix length, times are seconds, sizes are octets unless a field says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Direction = Literal["in", "out"]
State = Literal["larval", "mature", "dying", "dead"]

Name = Annotated[str, Meta(max_length=64)]
Text = Annotated[str, Meta(max_length=1024)]
Address = Annotated[str, Meta(max_length=45)]
Interface = Annotated[str, Meta(pattern="^sec(0|[1-9][0-9]{0,9})$")]
Port = Annotated[int, Meta(ge=0, le=0xFFFF)]
SPI = Annotated[int, Meta(ge=0x100, le=0xFFFFFFFF)]
Seq = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Amount = Annotated[int, Meta(ge=0)]
Key = Annotated[bytes, Meta(max_length=128)]

#: Largest IKE datagram carried over the seam, and largest checkpoint, in octets.
MAX_DATAGRAM = 65_507
MAX_CHECKPOINT = 48 * 1024

#: `encryption` names of an SA, as ipsec.conf(5) spells them, and the octets of key each takes (salt included).
ENCRYPTION_KEY_OCTETS = {
    "aes-128-gcm": 20, "aes-192-gcm": 28, "aes-256-gcm": 36, "chacha20-poly1305": 36,
    "aes-128": 16, "aes-192": 24, "aes-256": 32, "null": 0,
}  # fmt: skip
#: `auth` names of an SA and the octets of key each takes; "" goes with the combined-mode ciphers.
AUTH_KEY_OCTETS = {
    "": 0, "hmac-sha1": 20, "hmac-sha2-256": 32, "hmac-sha2-384": 48, "hmac-sha2-512": 64,
}  # fmt: skip


class Lifetime(Struct, frozen=True):
    """RFC 2367 §2.3.2.  As a limit, 0 means none.  In `current`, `addtime` and `usetime` are epoch seconds."""

    allocations: Amount = 0  # packets
    bytes: Amount = 0
    addtime: Amount = 0
    usetime: Amount = 0


class Identity(Struct, frozen=True):
    """Who holds one end of an SA.  `text` of type `prefix` is `192.0.2.1/32`."""

    type: Literal["prefix", "fqdn", "ufqdn", "asn1_dn", "key_id"]
    text: Text


class UdpEncap(Struct, frozen=True):
    """ESP in UDP (RFC 3948): our port and the peer's, as seen from here."""

    local_port: Port = 4500
    remote_port: Port = 4500


class SA(Struct, frozen=True):
    """An ESP tunnel-mode SA bound to an interface and a direction.

    `source` and `destination` are the outer addresses.  A combined-mode cipher's key ends with its four octets
    of salt.  Keys are empty in every answer to a request that did not ask for them.
    """

    spi: SPI
    direction: Direction
    iface: Interface
    source: Address
    destination: Address
    encryption: Name
    encryption_key: Key
    auth: Name = ""
    auth_key: Key = b""
    replay: Annotated[int, Meta(ge=0, le=4096)] = 64
    esn: bool = False
    udpencap: UdpEncap | None = None
    hard: Lifetime = Lifetime()
    soft: Lifetime = Lifetime()
    identity_source: Identity | None = None
    identity_destination: Identity | None = None
    checkpoint: Name = ""  # the checkpoint that speaks of this SA; when it is dropped, so is the SA

    def __repr__(self) -> str:
        """Show which SA this is, never its keys."""
        return (
            f"SA(spi=0x{self.spi:08x}, {self.iface} {self.direction}, {self.source} -> {self.destination}, "
            f"{self.auth or 'combined'}/{self.encryption})"
        )


class Counters(Struct, frozen=True):
    """What `ipsecctl -sa -v` prints as `counter:`; octets of ESP include the outer header."""

    input_packets: int = 0
    output_packets: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    input_decompressed_bytes: int = 0  # octets of inner packets received
    output_uncompressed_bytes: int = 0  # octets of inner packets sent
    input_drops: int = 0
    output_drops: int = 0


# -- requests ---------------------------------------------------------------------------------------------


class Register(Struct, frozen=True, tag="register"):
    """SADB_REGISTER: from now on send this client events.

    Role `iked` also gets IKE datagrams, and before `Done` every checkpoint, then an `InterfaceChange` for each secN;
    there is one iked at most, and the newest wins.  Role `monitor` gets a copy of every change, without keys.
    """

    seq: Seq
    role: Literal["iked", "monitor"]


class GetSPI(Struct, frozen=True, tag="getspi"):
    """SADB_GETSPI: reserve an SPI for an inbound SA (larval for 120 s).  Answer: `Reserved`."""

    seq: Seq
    iface: Interface


class Add(Struct, frozen=True, tag="add"):
    """SADB_ADD: install `sa`.  An inbound SA takes up its reserved SPI; an outbound one is used at once."""

    seq: Seq
    sa: SA


class Update(Struct, frozen=True, tag="update"):
    """SADB_UPDATE: move an SA to other outer addresses or ports (a NAT's new mapping).  Counters go on."""

    seq: Seq
    spi: SPI
    direction: Direction
    destination: Address  # outer destination; names the SA together with `spi` and `direction`
    new_source: Address
    new_destination: Address
    udpencap: UdpEncap | None


class Delete(Struct, frozen=True, tag="delete"):
    """SADB_DELETE."""

    seq: Seq
    spi: SPI
    direction: Direction
    destination: Address


class Get(Struct, frozen=True, tag="get"):
    """SADB_GET.  Answer: `Entry`."""

    seq: Seq
    spi: SPI
    direction: Direction
    destination: Address
    with_keys: bool = False


class Dump(Struct, frozen=True, tag="dump"):
    """SADB_DUMP.  Answer: `Begin`, an `Entry` for each SA in order of SPI, `Commit`."""

    seq: Seq
    with_keys: bool = False


class Flush(Struct, frozen=True, tag="flush"):
    """SADB_FLUSH: delete every SA (of `iface`, if given)."""

    seq: Seq
    iface: Interface | None = None


class InterfaceCreate(Struct, frozen=True, tag="ifcreate"):
    """Make `name`, down, MTU 1280.  Answer: `Done`; `Failed` with EEXIST when it is there."""

    seq: Seq
    name: Interface


class InterfaceDestroy(Struct, frozen=True, tag="ifdestroy"):
    """Take `name` away; its SAs stay and drop what they get."""

    seq: Seq
    name: Interface


class InterfaceSet(Struct, frozen=True, tag="ifset"):
    """Options of `name` that the kernel does not keep.  None leaves an option as it is."""

    seq: Seq
    name: Interface
    tunneldf: bool | None = None
    mss_clamp: bool | None = None


class InterfaceDump(Struct, frozen=True, tag="ifdump"):
    """Answer: `Begin`, an `InterfaceEntry` each, `Commit`."""

    seq: Seq


class CountersGet(Struct, frozen=True, tag="counters"):
    """Every named counter of the data plane, drops above all.  Answer: `CountersEntry`."""

    seq: Seq


class Checkpoint(Struct, frozen=True, tag="checkpoint"):
    """Keep `data` under `id` until it is replaced or forgotten.  Not answered.  Role `iked` only."""

    id: Name
    data: Annotated[bytes, Meta(max_length=MAX_CHECKPOINT)]


class CheckpointForget(Struct, frozen=True, tag="forget"):
    """Not answered."""

    id: Name


class CheckpointInUse(Struct, frozen=True, tag="inuse"):
    """iked is about to work on `id` (None: on none).  If it dies while an id is in use, that is a strike against
    the checkpoint; with the second it is dropped, its SAs with it.  Not answered."""

    id: Name | None


class Expect(Struct, frozen=True, tag="expect"):
    """IKE messages from these addresses overtake those of strangers, and are not lost for them.

    `anew`: from these alone; otherwise from these too.  Not answered.  Role `iked` only.
    """

    addresses: Annotated[tuple[Address, ...], Meta(max_length=1024)]
    anew: bool


Prefix = Annotated[str, Meta(max_length=49)]  # an address with its prefix length


class Assign(Struct, frozen=True, tag="assign"):
    """What inner addresses peers and we have given each other over `name`, in place of what was so before.

    `addresses` (`10.1.2.3/24`) are set on it, now or as soon as it is there, and `peers` (without a prefix length) are
    routed into it; nobody else's addresses and routes are touched.  Not answered.  Role `iked` only.
    """

    name: Interface
    addresses: Annotated[tuple[Prefix, ...], Meta(max_length=16)] = ()
    peers: Annotated[tuple[Address, ...], Meta(max_length=16)] = ()


class Datagram(Struct, frozen=True, tag="datagram"):
    """An IKE message, to or from the network.  Not answered.

    On port 4500 the four-zero-octet non-ESP marker (RFC 3948 §2.2) is taken off and put back by the data plane.
    `data` == b"\\xff" with `local_port` 4500 is a NAT keepalive (RFC 3948 §2.3), sent without the marker.
    """

    local: Address  # "" to let the routing table choose
    local_port: Port
    remote: Address
    remote_port: Port
    data: Annotated[bytes, Meta(max_length=MAX_DATAGRAM)]


class Batch(Struct, frozen=True, tag="batch"):
    """Several requests in one message: all reach the data plane, in this order, or none does.

    This is what makes a killed iked lose nothing: a checkpoint, the SAs that it speaks of and the datagram that
    tells the peer of them travel together.  Each request is answered (or not) as if it had come alone.
    """

    requests: Annotated[
        tuple[
            Add | Update | Delete | Assign | Checkpoint | CheckpointForget | CheckpointInUse | Expect | Datagram, ...
        ],
        Meta(max_length=256),
    ]


# -- answers ----------------------------------------------------------------------------------------------


class Done(Struct, frozen=True, tag="done"):
    """The request was carried out."""

    seq: Seq


class Failed(Struct, frozen=True, tag="failed"):
    """The request was not carried out: `errno` for programs, `message` for people."""

    seq: Seq
    errno: int
    message: Text


class Reserved(Struct, frozen=True, tag="reserved"):
    """The answer to `GetSPI`."""

    seq: Seq
    spi: SPI


class Begin(Struct, frozen=True, tag="begin"):
    """Parts follow, up to `Commit`."""

    seq: Seq


class Commit(Struct, frozen=True, tag="commit"):
    """All parts were sent."""

    seq: Seq


class Entry(Struct, frozen=True, tag="entry"):
    """One SA as it stands."""

    seq: Seq
    sa: SA
    state: State
    current: Lifetime
    lastuse: Amount  # epoch seconds; 0: never used
    counters: Counters
    rpl: Amount  # next sequence number to send, or highest received
    idle: float | None = None  # seconds since last use; None: never used
    pmtu: int = 0  # path MTU learnt for the outer destination; 0: none


class InterfaceEntry(Struct, frozen=True, tag="interface"):
    """One secN as the data plane sees it."""

    seq: Seq
    name: Interface
    index: int
    running: bool
    mtu: int
    tunneldf: bool
    mss_clamp: bool
    input_packets: int
    input_bytes: int
    output_packets: int
    output_bytes: int
    input_errors: int
    output_errors: int  # without an SA, failed encapsulation


class CountersEntry(Struct, frozen=True, tag="counterset"):
    """Named counters, e.g. `drop_no_sa`, `drop_replay`, `drop_auth`."""

    seq: Seq
    counters: dict[Name, int]


# -- events -----------------------------------------------------------------------------------------------


class Expire(Struct, frozen=True, tag="expire"):
    """SADB_EXPIRE.  `hard`: the SA is gone.  `deleted`: somebody else removed it."""

    sa: SA  # without keys
    kind: Literal["soft", "hard", "deleted"]
    limit: Literal["seconds", "bytes", "packets", ""] = ""


class NewMapping(Struct, frozen=True, tag="newmapping"):
    """SADB_X_NAT_T_NEW_MAPPING: an authenticated ESP packet of an inbound SA came from another address or port."""

    spi: SPI
    iface: Interface
    source: Address
    port: Port


class InterfaceChange(Struct, frozen=True, tag="ifchange"):
    """secN was made, destroyed, or its RUNNING flag changed."""

    name: Interface
    running: bool
    exists: bool


class PathChange(Struct, frozen=True, tag="pathchange"):
    """For iked: this host's addresses, or routes beside the tunnels, are others than before, and packets go by them."""


class Change(Struct, frozen=True, tag="change"):
    """For monitors: an SA was added, updated or deleted."""

    what: Literal["getspi", "add", "update", "delete", "flush"]
    sa: SA | None  # without keys


Request = (
    Register | GetSPI | Add | Update | Delete | Get | Dump | Flush | InterfaceCreate | InterfaceDestroy
    | InterfaceSet | InterfaceDump | CountersGet | Checkpoint | CheckpointForget | CheckpointInUse | Expect | Assign
    | Datagram | Batch
)  # fmt: skip
Answer = Done | Failed | Reserved | Begin | Commit | Entry | InterfaceEntry | CountersEntry
Event = Expire | NewMapping | InterfaceChange | PathChange | Change | Datagram | Checkpoint
FromServer = (
    Done | Failed | Reserved | Begin | Commit | Entry | InterfaceEntry | CountersEntry
    | Expire | NewMapping | InterfaceChange | PathChange | Change | Datagram | Checkpoint
)  # fmt: skip
