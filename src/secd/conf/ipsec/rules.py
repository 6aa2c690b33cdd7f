"""What ipsec.conf(5) says, as values.

The grammar makes *statements*, one for each rule as it is written, with lists.  Expansion makes *rules* of them: one
source, one destination, defaults filled in.  Keys and pre-shared keys never show in a repr.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from secd.conf.addresses import Address
from secd.conf.diagnostics import Origin
from secd.conf.ipsec.transforms import Transforms

Direction = Literal["in", "out"]
Mode = Literal["tunnel", "transport"]
IkeMode = Literal["active", "passive", "dynamic"]


class Hosts(Struct, frozen=True):
    """`from .. to ..`; a port of 0 means all."""

    source: tuple[Address, ...]
    destination: tuple[Address, ...]
    source_port: int = 0
    destination_port: int = 0


class Peers(Struct, frozen=True):
    """`local .. peer ..`: every address of the name that was written."""

    local: tuple[Address, ...] = ()
    peer: tuple[Address, ...] | Literal["any"] = ()


class Ids(Struct, frozen=True):
    """`srcid .. dstid ..`."""

    source: str | None = None
    destination: str | None = None


class StaticKey(Struct, frozen=True):
    """A key written down in a file."""

    octets: bytes

    def __repr__(self) -> str:
        """Show its size only."""
        return f"StaticKey({8 * len(self.octets)} bits)"


class PSK(Struct, frozen=True):
    """A pre-shared key; not text for anything but `-nv`.

    `aggressive`: the rule says by our word `aggressive-psk` that the key may be used in aggressive mode.
    """

    text: str
    aggressive: bool = False

    def __repr__(self) -> str:
        """Show nothing."""
        return "PSK()"


class Phase(Struct, frozen=True):
    """`main|aggressive|quick`: what is proposed; `lifetime` in seconds, None for the daemon's default."""

    exchange: Literal["main", "aggressive", "quick"]
    transforms: Transforms = Transforms()
    lifetime: int | None = None


class UdpEncap(Struct, frozen=True):
    """`udpencap [port N]`; 0 for the default port."""

    port: int = 0


# -- statements -------------------------------------------------------------------------------------------


class FlowStatement(Struct, frozen=True):
    """`flow ..` as it is written."""

    satype: str
    direction: Direction | None
    proto: int
    hosts: Hosts
    peers: Peers
    ids: Ids
    type: str | None


class SaStatement(Struct, frozen=True):
    """`esp ..`, `ah ..`, `ipcomp ..`, `ipip ..` and `tcpmd5 ..` as they are written."""

    satype: str
    mode: Mode
    iface: int | None
    hosts: Hosts
    spis: tuple[int, int | None]
    udpencap: UdpEncap | None
    transforms: Transforms
    authkeys: tuple[StaticKey | None, StaticKey | None]
    enckeys: tuple[StaticKey | None, StaticKey | None]
    bundle: str | None


class IkeStatement(Struct, frozen=True):
    """`ike ..` as it is written; `hosts` is None with `interface secN`, which has none."""

    mode: IkeMode
    iface: int | None
    satype: str
    tunnel: Mode
    proto: int
    hosts: Hosts | None
    peers: Peers
    phase1: Phase
    phase2: Phase
    ids: Ids
    psk: PSK | None
    tag: str | None


# -- rules ------------------------------------------------------------------------------------------------


class FlowRule(Struct, frozen=True):
    """One policy in one direction."""

    origin: Origin
    satype: str
    direction: Direction
    proto: int
    source: Address
    source_port: int
    destination: Address
    destination_port: int
    local: Address | None
    peer: Address | None
    ids: Ids
    type: str


class SaRule(Struct, frozen=True):
    """One manually keyed SA.  With `iface`, `direction` says which way it goes."""

    origin: Origin
    satype: str
    mode: Mode
    iface: int | None
    direction: Direction
    source: Address
    destination: Address
    spi: int
    udpencap: UdpEncap | None
    transforms: Transforms
    authkey: StaticKey | None
    enckey: StaticKey | None
    bundle: str | None = None


class BundleRule(Struct, frozen=True):
    """Two SAs that a packet passes one after the other."""

    origin: Origin
    first: SaRule
    second: SaRule


class IkeRule(Struct, frozen=True):
    """One connection.  With `iface`, everything (0.0.0.0/0) goes through it; `peer` None is the default peer."""

    origin: Origin
    mode: IkeMode
    iface: int | None
    satype: str
    tunnel: Mode
    proto: int
    source: Address
    source_port: int
    destination: Address
    destination_port: int
    local: Address | None
    peer: Address | None
    phase1: Phase
    phase2: Phase
    ids: Ids
    psk: PSK | None
    tag: str | None


Statement = FlowStatement | SaStatement | IkeStatement
Rule = FlowRule | SaRule | BundleRule | IkeRule
