"""What is wanted: one `Connection` for each `ike interface secN` rule, without its secrets.

These are values.  conf/ makes them out of rules, the parent keeps them, iked negotiates by them.
Algorithm names are ipsec.conf(5)'s; lifetimes are seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from secd.sadb.messages import Address, Identity, Interface, Name, Text

Seconds = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]

ANY_KEY_LENGTH = (128, 256)


class Cipher(Struct, frozen=True):
    """A cipher and the key lengths in bits that are accepted; `preferred` is the one that is offered first.

    `name`: 3des, aes, blowfish, cast128, aes-gcm (16-octet ICV), chacha20-poly1305, null.  3des, chacha20-poly1305
    and null have no key length: 0, 0, 0.
    """

    name: Name
    preferred: int = 0
    minimum: int = 0
    maximum: int = 0


class Phase1Proposal(Struct, frozen=True):
    """One ISAKMP SA transform: `hash` md5, sha1, sha2-256, ...; `group` modp3072, ecp256, ..."""

    cipher: Cipher
    hash: Name
    group: Name


class Phase2Proposal(Struct, frozen=True):
    """One ESP transform: `auth` hmac-sha1, hmac-sha2-256, ..., "" for combined modes; `group` "" means no PFS."""

    cipher: Cipher
    auth: Name
    group: Name


class PreSharedKey(Struct, frozen=True, tag="psk"):
    """Authentication by a key that the parent holds under the handle `key`."""

    key: Name


class Signature(Struct, frozen=True, tag="signature"):
    """Authentication by RSA signatures with the parent's private key under the handle `key`."""

    key: Name


class DeadPeerDetection(Struct, frozen=True):
    """RFC 3706: ask after `interval` idle seconds; give up after `tries` unanswered, `wait` seconds apart."""

    interval: Seconds = 10
    wait: Seconds = 5
    tries: Seconds = 5


class Connection(Struct, frozen=True):
    """One tunnel: secN, who the peer is, and what is acceptable.

    `name` is unique in an instance (`sec0`).  `origin` is `FILE: LINE` of the rule, for messages.
    `local` and `peer` None mean any.  `aggressive_psk` is the explicit opt-in without which aggressive mode with a
    pre-shared key is refused.  `srcid` None: our own address.  `dstid` None: the peer's address, or anything when
    there is no `peer`.
    """

    name: Name
    origin: Text
    iface: Interface
    mode: Literal["active", "passive", "dynamic"] = "active"
    version: Literal[1, 2] = 1
    local: Address | None = None
    peer: Address | None = None
    exchange: Literal["main", "aggressive"] = "main"
    aggressive_psk: bool = False
    phase1: tuple[Phase1Proposal, ...] = ()
    phase1_lifetime: Seconds = 3600
    phase2: tuple[Phase2Proposal, ...] = ()
    phase2_lifetime: Seconds = 1200
    srcid: Identity | None = None
    dstid: Identity | None = None
    auth: PreSharedKey | Signature = PreSharedKey("")
    dpd: DeadPeerDetection | None = DeadPeerDetection()
    replay: int = 64
    esn: bool = False
    natt: bool = True
