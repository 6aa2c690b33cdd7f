"""What iked.conf(5) says, as values.  Secrets never show in a repr."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from secd.conf.addresses import Address
from secd.conf.diagnostics import Origin

Eval = Literal["", "default", "quick", "skip"]
SignatureMethod = Literal["any", "rsa", "ecdsa256", "ecdsa384", "ecdsa521", "rfc7427"]


class Settings(Struct):
    """What `set` says; the defaults are iked(8)'s, except that fragmentation is on."""

    passive: bool = False
    decouple: bool = False
    fragmentation: bool = True
    mobike: bool = True
    redirect: bool = False
    vendorid: bool = True
    dpd_check_interval: int = 60  # seconds; 0: never


class End(Struct, frozen=True):
    """One end of a traffic selector.  `address` None is `dynamic`; a port of 0 means all."""

    address: Address | None
    nat: Address | None = None
    port: int = 0


class Hosts(Struct, frozen=True):
    """`from .. to ..`: one pair of addresses of one family, as a policy may have several."""

    source: End
    destination: End


class Proposal(Struct, frozen=True):
    """`ikesa ..` or `childsa ..` as it was written, names in full; what was not said is empty."""

    auths: tuple[str, ...] = ()
    encs: tuple[str, ...] = ()
    prfs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    esn: tuple[bool, ...] = ()
    additional: tuple[tuple[str, ...], ...] = ()


class PSK(Struct, frozen=True):
    """`psk ..`: the octets of the key."""

    octets: bytes

    def __repr__(self) -> str:
        """Show nothing."""
        return "PSK()"


class Signed(Struct, frozen=True):
    """`rsa`, `ecdsa256`, .., `rfc7427`, or nothing, which means any signature."""

    method: SignatureMethod = "any"


class EAP(Struct, frozen=True):
    """`eap ..`."""

    type: str


class PPK(Struct, frozen=True):
    """`ppk .. ppkid ..`: RFC 8784; ours."""

    octets: bytes
    identity: str
    required: bool

    def __repr__(self) -> str:
        """Show its name only."""
        return f"PPK({self.identity})"


class ConfigItem(Struct, frozen=True):
    """`config OPTION ADDRESS` (`provide`) or `request OPTION ADDRESS`; `address` None is `any`."""

    provide: bool
    option: str
    address: Address | None


class User(Struct, frozen=True):
    """`user NAME PASSWORD`; the password is not kept, there being nothing that could use it."""

    origin: Origin
    name: str


class Policy(Struct, frozen=True):
    """`ikev2 ..` as it was written.  `local` and `peer` None are `any`; lifetimes are seconds."""

    origin: Origin
    name: str
    eval: Eval
    active: bool
    ipcomp: bool
    transport: bool
    natt: bool
    satype: Literal["esp", "ah"]
    family: Literal[0, 4, 6]
    protos: tuple[int, ...]
    rdomain: int | None
    hosts: tuple[Hosts, ...]
    local: Address | None
    peer: Address | None
    ikesa: tuple[Proposal, ...]
    childsa: tuple[Proposal, ...]
    srcid: str | None
    dstid: str | None
    ikelifetime: int
    lifetime: int
    lifetime_bytes: int
    auth: PSK | Signed | EAP
    ppk: PPK | None
    config: tuple[ConfigItem, ...]
    iface: str | None
    tag: str | None
    tap: str | None
