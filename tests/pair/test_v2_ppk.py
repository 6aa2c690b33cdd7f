"""A post-quantum pre-shared key (RFC 8784) between two speakers of IKEv2."""

from __future__ import annotations

import pytest
from tests.pair.network import Network, Node, matches, start, traffic
from tests.pair.v2_support import pair

from secd.ike.connection import PostQuantumKey


def ppk(key: str = "ppk", name: bytes = b"ours", *, required: bool = True) -> PostQuantumKey:
    return PostQuantumKey(key, name, required)


def two(alice: PostQuantumKey | None, bob: PostQuantumKey | None, **both: object) -> tuple[Network, Node, Node]:
    net, one, other = pair({"ppk": alice}, {"ppk": bob}, **both)
    one.keys = {"key": b"a shared secret", "ppk": b"one" * 11, "wrong": b"two" * 11}
    other.keys = dict(one.keys)
    return net, one, other


def sk_d(node: Node) -> bytes:
    session = node.speaker._v2.ctx.newest("sec0")
    assert session is not None
    return session.keys.sk_d


def fails(net: Network, alice: Node, bob: Node, who: Node, words: str) -> None:
    bob.start(settled=True)
    alice.start()
    net.run(10)
    assert not matches(alice, bob)
    assert words in " ".join(log.message for log in who.logs), who.logs


@pytest.mark.parametrize(("mine", "yours"), [(True, True), (False, True), (True, False), (False, False)])
def test_both_have_it_and_it_is_used(mine: bool, yours: bool) -> None:
    net, alice, bob = two(ppk(required=mine), ppk(required=yours))
    start(net, alice, bob)
    assert sk_d(alice) == sk_d(bob)
    plain = two(None, None)
    start(*plain)
    assert sk_d(alice) != sk_d(plain[1])
    for what in ("ike", "child"):
        alice.do(lambda what=what: alice.speaker.rekey("sec0", what, net.now))  # type: ignore[misc]
        assert traffic(net, alice, bob, 40, step=0.1) == 0
    assert matches(alice, bob)


@pytest.mark.parametrize(("mine", "yours"), [
    (ppk(required=False), None), (None, ppk(required=False)),
    (ppk(name=b"one", required=False), ppk(name=b"two", required=False)),
])  # fmt: skip
def test_where_it_is_optional_a_peer_without_it_is_met(
    mine: PostQuantumKey | None, yours: PostQuantumKey | None
) -> None:
    net, alice, bob = two(mine, yours)
    start(net, alice, bob)
    assert sk_d(alice) == sk_d(bob)


def test_an_initiator_that_requires_it_does_not_go_on_without() -> None:
    net, alice, bob = two(ppk(), None)
    fails(net, alice, bob, alice, "has not used the PPK")


def test_a_responder_that_requires_it_refuses_who_has_none() -> None:
    net, alice, bob = two(None, ppk())
    fails(net, alice, bob, bob, "one is required here")


def test_another_name_is_told() -> None:
    net, alice, bob = two(ppk(name=b"mine"), ppk(name=b"yours"))
    fails(net, alice, bob, bob, "PPK 'mine' is not known here")


def test_another_key_under_the_same_name_proves_nothing() -> None:
    net, alice, bob = two(ppk("wrong"), ppk())
    fails(net, alice, bob, bob, "does not agree")


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_speaker_killed_at_any_step_comes_up_with_it(name: str, when: str) -> None:
    for step in range(2, 16):
        net, alice, bob = two(ppk(), ppk())
        alice.compute_delay = bob.compute_delay = 0.05
        (alice if name == "alice" else bob).kill_at = step if when == "before" else -step
        bob.start(settled=True)
        alice.start()
        assert net.run(60, lambda a=alice, b=bob: matches(a, b)), f"killed at {step}"  # type: ignore[misc]
