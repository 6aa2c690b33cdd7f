"""The ESP engine (Rust, `engine/`).  Its threads never call Python; Python never sees a data packet."""

from typing import Literal, TypedDict

Direction = Literal["in", "out"]

class SACounters(TypedDict):
    spi: int
    direction: Direction
    destination: str
    packets: int
    esp_bytes: int  # outer header included
    inner_bytes: int
    drops: int
    rpl: int
    first_use: float  # epoch seconds, 0.0: never
    last_use: float  # epoch seconds, 0.0: never
    idle: float  # seconds since last use by the monotonic clock, -1.0: never used
    pmtu: int

class InterfaceCounters(TypedDict):
    input_packets: int
    input_bytes: int
    output_packets: int
    output_bytes: int
    input_errors: int
    output_errors: int

# ("ike", local, local_port, remote, remote_port, data)       marker stripped
# ("expire", spi, direction, destination, "soft"|"hard", "bytes"|"packets")
# ("mapping", spi, source, port)                                after authentication only
# ("fatal", message)                                            a worker cannot go on
EngineEvent = (
    tuple[Literal["ike"], str, int, str, int, bytes]
    | tuple[Literal["expire"], int, Direction, str, Literal["soft", "hard"], Literal["bytes", "packets"]]
    | tuple[Literal["mapping"], int, str, int]
    | tuple[Literal["fatal"], str]
)

class Engine:
    """Workers, sockets, SADB snapshot.  Every method may raise OSError (with errno) or ValueError (bad argument)."""

    def __init__(self, workers: int = 0, *, ike_port: int = 500, natt_port: int = 4500) -> None:
        """`workers` 0: one a core (16 at most).  Opens nothing."""

    def open(self) -> None:
        """Bind UDP `ike_port` and `natt_port` (IPv4 and IPv6) and raw protocol 50, start the workers.

        OSError names the port or protocol.  Without CAP_NET_RAW protocol 50 is left out: see `raw_esp`.
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

        `fds`: one for each worker.  `detached`: one more queue, attached and detached at once, held by the caller so
        that the device and its carrier outlive this process; -1 when the caller already holds one.
        Returns the interface index.
        """

    def detach(self, name: str) -> None: ...
    def set_interface(self, name: str, *, running: bool, mtu: int, tunneldf: bool, mss_clamp: bool) -> None: ...
    def add_sa(
        self, *, spi: int, direction: Direction, iface: str, source: str, destination: str,
        encryption: str, encryption_key: bytes, auth: str, auth_key: bytes,
        replay: int, esn: bool, udpencap: tuple[int, int] | None,
        soft_bytes: int, soft_packets: int, hard_bytes: int, hard_packets: int, sequence: int = 0,
    ) -> None: ...  # fmt: skip
    def update_sa(
        self, spi: int, direction: Direction, destination: str, *,
        new_source: str, new_destination: str, udpencap: tuple[int, int] | None,
    ) -> None: ...  # fmt: skip
    def delete_sa(self, spi: int, direction: Direction, destination: str) -> None: ...
    def sa_counters(self, spi: int, direction: Direction, destination: str) -> SACounters: ...
    def dump(self) -> list[SACounters]: ...
    def interface_counters(self, name: str) -> InterfaceCounters: ...
    def counters(self) -> dict[str, int]: ...
    def send_ike(self, local: str, local_port: int, remote: str, remote_port: int, data: bytes) -> None:
        """Send an IKE message from `local` ("": any), adding the non-ESP marker on the NAT-T port (not to b"\\xff")."""

    def close(self) -> None: ...
