"""IKEv2 connections for the pair of speakers of `network`."""

from __future__ import annotations

from tests.pair.network import ALICE, BOB, Network, Node

from secd.ike.connection import ChildProposal, Cipher, Connection, DeadPeerDetection, IKEProposal, IKEv2, PreSharedKey

AES = Cipher("aes", 128, 128, 256)
GCM = Cipher("aes-gcm", 256, 128, 256)
CHACHA = Cipher("chacha20-poly1305")

IKE = IKEProposal((GCM,), ("hmac-sha2-256",), (), ("curve25519", "ecp256"))
ESP = ChildProposal((GCM,), (), ("curve25519", "ecp256"))
#: Seconds.
IKE_LIFETIME, LIFETIME = 4000, 1000


def connection(local: str | None, peer: str | None, /, **changes: object) -> Connection:
    """A connection of `local` to `peer`; what is not a field of `Connection` is one of `IKEv2`."""
    own = {key: changes.pop(key) for key in list(changes) if key in IKEv2.__struct_fields__}
    own = {"ikesa": (IKE,), "childsa": (ESP,), "ike_lifetime": IKE_LIFETIME, "lifetime": LIFETIME, **own}
    values: dict[str, object] = {
        "name": "sec0",
        "origin": "/etc/iked.conf: 1",
        "iface": "sec0",
        "version": 2,
        "local": local,
        "peer": peer,
        "auth": PreSharedKey("key"),
        "dpd": DeadPeerDetection(),
        "ikev2": IKEv2(**own),  # type: ignore[arg-type]
    }
    return Connection(**{**values, **changes})  # type: ignore[arg-type]


def pair(alice: dict[str, object] | None = None, bob: dict[str, object] | None = None, **both: object) -> tuple[
    Network, Node, Node
]:  # fmt: skip
    """Alice, who begins, and Bob, who waits; what only one of them has, and what both have."""
    net = Network()
    one = Node(net, ALICE, [connection(ALICE, BOB, **{**both, **(alice or {})})], seed=1)
    other = Node(net, BOB, [connection(BOB, ALICE, **{"mode": "passive", **both, **(bob or {})})], seed=2)
    return net, one, other
