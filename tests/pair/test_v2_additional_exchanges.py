"""Several key exchanges (RFC 9242, RFC 9370), ML-KEM among them, between two speakers of IKEv2."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace
from tests.pair.network import matches, start, traffic
from tests.pair.v2_support import ESP, IKE, pair

from secd.ike.wire.ikev2.iana import ExchangeType

HYBRID = replace(IKE, groups=("curve25519",), additional=(("mlkem768",),))


@pytest.mark.parametrize("additional", [
    (("mlkem768",),), (("mlkem1024",),), (("ecp256",), ("mlkem768",)), (("mlkem768",), ("ecp384",), ("mlkem1024",)),
])  # fmt: skip
def test_rounds_of_additional_key_exchanges(additional: tuple[tuple[str, ...], ...]) -> None:
    net, alice, bob = pair(ikesa=(replace(IKE, groups=("curve25519",), additional=additional),))
    start(net, alice, bob)
    rounds = [each for each in alice.sent if each.data[18] == ExchangeType.IKE_INTERMEDIATE and each.data[16] == 46]
    assert rounds or any(each.data[16] == 53 for each in alice.sent)
    assert " ".join(each[0] for each in additional) in alice.said("ike-up")[0]


def test_mlkem_may_be_the_first_key_exchange() -> None:
    start(*pair(ikesa=(replace(IKE, groups=("mlkem768",)),)))


@pytest.mark.parametrize(("mine", "yours", "used"), [
    ((("mlkem768", "none"),), (), False), ((("mlkem768", "none"),), (("mlkem768",),), True),
    ((), (("none", "mlkem768"),), False), ((("mlkem1024", "mlkem768"),), (("mlkem768",),), True),
])  # fmt: skip
def test_a_round_may_be_optional(
    mine: tuple[tuple[str, ...], ...], yours: tuple[tuple[str, ...], ...], used: bool
) -> None:
    net, alice, bob = pair(
        {"ikesa": (replace(HYBRID, additional=mine),)}, {"ikesa": (replace(HYBRID, additional=yours),)}
    )
    start(net, alice, bob)
    assert ("mlkem768" in alice.said("ike-up")[0]) == used


def test_a_peer_without_them_is_refused_where_they_are_required() -> None:
    net, alice, bob = pair({"ikesa": (HYBRID,)}, {"ikesa": (replace(HYBRID, additional=()),)})
    bob.start(settled=True)
    alice.start()
    net.run(10)
    assert not matches(alice, bob)
    assert "addke1" in bob.said("proposal-mismatch")[0]


@pytest.mark.parametrize("number", range(1, 14))
def test_any_datagram_may_be_lost(number: int) -> None:
    net, alice, bob = pair(ikesa=(HYBRID,))
    net.drop = lambda count, send: count == number
    start(net, alice, bob, seconds=20)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_speaker_killed_at_any_step_comes_up(name: str, when: str) -> None:
    for step in range(2, 24):
        net, alice, bob = pair(ikesa=(replace(HYBRID, additional=(("mlkem768",), ("ecp256",))),))
        alice.compute_delay = bob.compute_delay = 0.05
        (alice if name == "alice" else bob).kill_at = step if when == "before" else -step
        bob.start(settled=True)
        alice.start()
        assert net.run(40, lambda a=alice, b=bob: matches(a, b)), f"killed at {step}"  # type: ignore[misc]


# -- after CREATE_CHILD_SA --------------------------------------------------------------------------------

ROUNDS = (("mlkem768",), ("ecp256",))
BOTH = {"ikesa": (replace(IKE, groups=("curve25519",), additional=ROUNDS),),
        "childsa": (replace(ESP, groups=("curve25519",), additional=ROUNDS),)}  # fmt: skip


@pytest.mark.parametrize("what", ["child", "ike"])
@pytest.mark.parametrize("side", ["alice", "bob"])
def test_rekeys_of_both_kinds_have_the_rounds_too_and_lose_nothing(what: str, side: str) -> None:
    net, alice, bob = pair(**BOTH)
    start(net, alice, bob)
    node = alice if side == "alice" else bob
    node.do(lambda: node.speaker.rekey("sec0", what, net.now))  # type: ignore[arg-type]
    assert traffic(net, alice, bob, 40, step=0.05) == 0
    assert sum(each.data[18] == ExchangeType.IKE_FOLLOWUP_KE for each in node.sent) >= 2
    assert len(node.said(f"{what}-rekeyed")) == 1
    assert len(alice.sas) == len(bob.sas) == 2
    assert matches(alice, bob)


@pytest.mark.parametrize("what", ["child", "ike"])
def test_both_sides_renew_at_once_with_rounds(what: str) -> None:
    net, alice, bob = pair(**BOTH)
    start(net, alice, bob)
    for node in (alice, bob):
        node.do(lambda node=node: node.speaker.rekey("sec0", what, net.now))  # type: ignore[misc]
    assert traffic(net, alice, bob, 150, step=0.05) == 0
    assert len(alice.sas) == len(bob.sas) == 2
    assert len(alice.checkpoints) == len(bob.checkpoints) == 1


@pytest.mark.parametrize("seed", range(4))
def test_rekeys_with_rounds_on_a_bad_network(seed: int) -> None:
    net, alice, bob = pair(**BOTH, ike_lifetime=300, lifetime=200)
    net.__dict__.update(loss=0.1, duplicates=0.1, latency=0.02, jitter=0.3)
    net.rng = random.Random(seed)
    start(net, alice, bob, seconds=200)
    assert traffic(net, alice, bob, 1000) == 0
