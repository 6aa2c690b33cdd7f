"""The ESP engine (Rust, `engine/`).  Its threads never call Python; Python never sees a data packet."""

from typing import Literal, TypedDict

Direction = Literal["in", "out"]

class SACounters(TypedDict):
    spi: int
    direction: Direction
    destination: str
    packets: int
    esp_bytes: int  # outer IP and UDP headers included
    inner_bytes: int  # what lifetimes in bytes count
    drops: int
    rpl: int  # out: the next sequence number; in: the highest received; all 64 bits with ESN
    first_use: float  # epoch seconds, 0.0: never
    last_use: float  # epoch seconds, 0.0: never
    idle: float  # seconds since last use by the monotonic clock, -1.0: never used
    pmtu: int  # path MTU learnt (tunneldf), forgotten after ten minutes; 0: none

class InterfaceCounters(TypedDict):
    input_packets: int
    input_bytes: int
    output_packets: int
    output_bytes: int
    input_errors: int
    output_errors: int

# ("ike", local, local_port, remote, remote_port, data): marker stripped
# ("expire", spi, direction, destination, "soft"|"hard", "bytes"|"packets"): once each; after "hard" nothing passes.
#     The last sequence number is a hard lifetime in packets, and a sixteenth of them before it a soft one.
# ("mapping", spi, source, port): after authentication only; port 0 for plain ESP
# ("fatal", message): a worker cannot go on
EngineEvent = (
    tuple[Literal["ike"], str, int, str, int, bytes]
    | tuple[Literal["expire"], int, Direction, str, Literal["soft", "hard"], Literal["bytes", "packets"]]
    | tuple[Literal["mapping"], int, str, int]
    | tuple[Literal["fatal"], str]
)

class Engine:
    """Workers, sockets, SADB snapshot.  Every method may raise OSError (with errno) or ValueError (bad argument)."""

    def __init__(
        self, workers: int = 0, *, ike_port: int = 500, natt_port: int = 4500, latency: int | None = None
    ) -> None:
        """`workers` 0: one a core (16 at most).  Opens nothing.

        `latency`: a descriptor of /dev/cpu_dma_latency, open for writing, of which a duplicate is kept.  With it idle
        processors are kept awake while packets come thick and fast.
        """

    def open(self) -> None:
        """Bind UDP `ike_port` and `natt_port` (IPv4 and IPv6) and raw protocol 50, start the workers.

        OSError names the port or protocol.  Without CAP_NET_RAW protocol 50 is left out (see `raw_esp`), and IPv6 where
        the host has none.  Threads and sockets belong to the network namespace of the calling thread.
        """

    @property
    def raw_esp(self) -> bool: ...
    @property
    def workers(self) -> int: ...
    def event_fd(self) -> int:
        """Readable when `poll` has something."""

    def poll(self) -> list[EngineEvent]:
        """Take the pending events (bounded queue; dropped IKE datagrams are counted as `drop_ike_queue`)."""

    def attach(self, name: str, fds: list[int], detached: int, *, mtu: int, running: bool) -> int:
        """Make `name` (or take it up again) as TUN on fds opened from /dev/net/tun; duplicates what it keeps.

        `fds`: one for each worker, or fewer, which workers then share (many interfaces need less memory so).
        `detached`: one more queue, attached and detached at once, held by the caller so that the device and its
        carrier outlive this process; -1 when the caller already holds one.  Returns the interface index.
        """

    def detach(self, name: str) -> None:
        """Close the queues; when this returns no worker has any.  SAs that name the interface stay, and drop."""

    def set_interface(self, name: str, *, running: bool, mtu: int, tunneldf: bool, mss_clamp: bool) -> None: ...
    def add_sa(
        self, *, spi: int, direction: Direction, iface: str, source: str, destination: str,
        encryption: str, encryption_key: bytes, auth: str, auth_key: bytes,
        replay: int, esn: bool, udpencap: tuple[int, int] | None,
        soft_bytes: int, soft_packets: int, hard_bytes: int, hard_packets: int, sequence: int = 0,
    ) -> None:  # fmt: skip
        """Install an SA; an outbound one is its interface's from now on.  EEXIST when there is one of that name.

        `udpencap`: our port, which must be `natt_port`, and the peer's.  `replay`: packets, 0 to 4096, rounded up to
        whole 64s; 0 is no protection.  Limits of 0 are none.  `sequence`: the last number used, for tests.
        """

    def update_sa(
        self, spi: int, direction: Direction, destination: str, *,
        new_source: str, new_destination: str, udpencap: tuple[int, int] | None,
    ) -> None:  # fmt: skip
        """Move an SA; counters, sequence numbers and its age among the interface's SAs go on.  ESRCH, EEXIST."""

    def delete_sa(self, spi: int, direction: Direction, destination: str) -> None: ...
    def sa_counters(self, spi: int, direction: Direction, destination: str) -> SACounters: ...
    def dump(self) -> list[SACounters]: ...
    def interface_counters(self, name: str) -> InterfaceCounters: ...
    def counters(self) -> dict[str, int]: ...
    def send_ike(self, local: str, local_port: int, remote: str, remote_port: int, data: bytes) -> None:
        """Send an IKE message from `local` ("": any), adding the non-ESP marker on the NAT-T port (not to b"\\xff")."""

    def close(self) -> None:
        """End the workers, close everything, wipe every key.  It may be opened again."""

# ML-KEM-512 (FIPS 203); seed: 64 octets (d | z), random: 32.
# ValueError: a length, or a key with coefficients above the modulus.
def mlkem512_public_key(seed: bytes) -> bytes: ...  # 800 octets
def mlkem512_encapsulate(public: bytes, random: bytes) -> tuple[bytes, bytes]: ...  # ciphertext (768), secret (32)
def mlkem512_decapsulate(seed: bytes, ciphertext: bytes) -> bytes: ...
