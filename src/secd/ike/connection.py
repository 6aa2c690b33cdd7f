"""What is wanted: one `Connection` for each `ike interface secN` rule, without its secrets.

These are values.  conf/ makes them out of rules, the parent keeps them, iked negotiates by them.
Algorithm names are ipsec.conf(5)'s, for version 2 iked.conf(5)'s; lifetimes are seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from secd.sadb.messages import Address, Amount, Identity, Interface, Name, Text

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


Certificate = Annotated[bytes, Meta(max_length=8192)]  # DER


class Signature(Struct, frozen=True, tag="signature"):
    """Authentication by signatures with the parent's private key under the handle `key`.

    `chain` begins with our own certificate; the peer's must lead to one of `authorities` and be on none of the
    revocation lists `crls`.  `peer_keys` are public keys (SubjectPublicKeyInfo) trusted without a certificate.
    Without a certificate of our own (`chain` empty) the peer has to know our public key, `public`.  `method` is the
    only one that is used and accepted of RFC 7296 §3.8's (`rsa`, which is with SHA1), RFC 4754's and RFC 7427's.
    """

    key: Name
    chain: Annotated[tuple[Certificate, ...], Meta(max_length=8)] = ()
    authorities: Annotated[tuple[Certificate, ...], Meta(max_length=32)] = ()
    crls: Annotated[tuple[bytes, ...], Meta(max_length=8)] = ()
    peer_keys: Annotated[tuple[Certificate, ...], Meta(max_length=8)] = ()
    method: Literal["any", "rsa", "ecdsa256", "ecdsa384", "ecdsa521", "rfc7427"] = "any"
    public: Certificate = b""  # SubjectPublicKeyInfo; IKEv1, which knows one kind of signature, does without


class IKEProposal(Struct, frozen=True):
    """An IKEv2 proposal for the IKE SA (`ikesa`): what is acceptable of each transform type, preferred first.

    `additional` holds RFC 9370's further key exchanges, one set of acceptable methods a round; `none` among them makes
    a round optional.
    """

    ciphers: tuple[Cipher, ...]
    prfs: tuple[Name, ...]
    auths: tuple[Name, ...]  # () with combined-mode ciphers
    groups: tuple[Name, ...]
    additional: tuple[tuple[Name, ...], ...] = ()


class ChildProposal(Struct, frozen=True):
    """An IKEv2 proposal for ESP (`childsa`).

    `groups` () means no key exchange of its own (no PFS), `none` among others that there may be one.
    """

    ciphers: tuple[Cipher, ...]
    auths: tuple[Name, ...]
    groups: tuple[Name, ...] = ()
    esn: tuple[bool, ...] = (False,)
    additional: tuple[tuple[Name, ...], ...] = ()


class PostQuantumKey(Struct, frozen=True):
    """RFC 8784: a key held by the parent under `key`, known to the peer as `identity`."""

    key: Name
    identity: Annotated[bytes, Meta(max_length=256)]
    required: bool = True


class IKEv2(Struct, frozen=True):
    """What only an IKEv2 connection has.

    `ike_lifetime` 0: the IKE SA is never rekeyed.  `lifetime_bytes` 0: no limit.  `provide` and `request` are the
    configuration payload's words of iked.conf (`address`, `name-server`, ...) and their values: an address,
    for `protected-subnet` a network, and `any` for what is requested whatever it is.  `families` are those of the
    traffic selectors, each its whole address space.  `force_natt`: ESP in UDP even where no NAT is found.
    `redirect`: the peer may send us to another gateway (RFC 5685).
    """

    ikesa: Annotated[tuple[IKEProposal, ...], Meta(max_length=16)]
    childsa: Annotated[tuple[ChildProposal, ...], Meta(max_length=16)]
    ike_lifetime: Seconds = 0
    lifetime: Seconds = 10_800
    lifetime_bytes: Amount = 4 * 1024**3
    provide: Annotated[tuple[tuple[Name, Text], ...], Meta(max_length=32)] = ()
    request: Annotated[tuple[tuple[Name, Text], ...], Meta(max_length=32)] = ()
    fragmentation: bool = True
    mobike: bool = True
    redirect: bool = False
    ppk: PostQuantumKey | None = None
    families: tuple[Literal[4, 6], ...] = (4, 6)
    force_natt: bool = False
    vendorid: bool = True


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
    there is no `peer`, and for version 2 always: there the peer's identity is known before its key is needed.
    `mode` silent is passive, and for version 1 not even tried once after a start (`set passive` of iked.conf).

    In a set, of the connections of version 2 that a peer's first message could belong to the last one is meant.
    """

    name: Name
    origin: Text
    iface: Interface
    mode: Literal["active", "passive", "dynamic", "silent"] = "active"
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
    ikev2: IKEv2 | None = None  # for version 2, in place of exchange, phase1 and phase2
