"""IKEv2 connections for the pair of speakers, and what is the same in every scenario."""

from __future__ import annotations

from collections.abc import Callable

from network import ALICE, BOB, Network, Node

from secd.ike.connection import ChildProposal, Cipher, Connection, DeadPeerDetection, IKEProposal, IKEv2, PreSharedKey

AES = Cipher("aes", 128, 128, 256)
GCM = Cipher("aes-gcm", 256, 128, 256)
CHACHA = Cipher("chacha20-poly1305")

IKE = IKEProposal((GCM,), ("hmac-sha2-256",), (), ("curve25519", "ecp256"))
ESP = ChildProposal((GCM,), (), ("curve25519", "ecp256"))


def connection(local: str | None, peer: str | None, **changes: object) -> Connection:
    """A connection of `local` to `peer`; what is not a field of `Connection` is one of `IKEv2`."""
    own = {key: changes.pop(key) for key in list(changes) if key in IKEv2.__struct_fields__}
    values: dict[str, object] = {
        "name": "sec0",
        "origin": "/etc/iked.conf: 1",
        "iface": "sec0",
        "version": 2,
        "local": local,
        "peer": peer,
        "auth": PreSharedKey("key"),
        "dpd": DeadPeerDetection(),
        "ikev2": IKEv2(**{"ikesa": (IKE,), "childsa": (ESP,), **own}),  # type: ignore[arg-type]
    }
    return Connection(**{**values, **changes})  # type: ignore[arg-type]


def pair(
    net: Network, alice: dict[str, object] | None = None, bob: dict[str, object] | None = None
) -> tuple[Node, Node]:
    """Alice, who begins, and Bob, who waits."""
    one = Node(net, ALICE, [connection(ALICE, BOB, **(alice or {}))], seed=1)
    other = Node(net, BOB, [connection(BOB, ALICE, **{"mode": "passive", **(bob or {})})], seed=2)
    return one, other


def up(*nodes: Node) -> Callable[[], bool]:
    """Whether every node sends on an SA on which the other receives."""

    def check() -> bool:
        ends = [node.outbound() for node in nodes]
        return all(
            end is not None and (end.spi, "in") in other.sas for end, other in zip(ends, reversed(nodes), strict=True)
        )

    return check


def agree(one: Node, other: Node) -> None:
    """What one sends on is what the other receives on, with the same keys, both ways."""
    for sender, receiver in ((one, other), (other, one)):
        out = sender.outbound()
        assert out is not None
        received = receiver.sas[out.spi, "in"].sa
        assert (out.encryption_key, out.auth_key) == (received.encryption_key, received.auth_key)
        assert (out.encryption, out.auth, out.esn) == (received.encryption, received.auth, received.esn)
