"""Diffie-Hellman groups: what a peer's value must be, and what a seed gives."""

from __future__ import annotations

import pytest

from secd.ike.crypto.errors import UnsupportedAlgorithm
from secd.ike.crypto.groups import GROUPS, Group, InvalidPublicValue, KeyPair, group, group_numbered
from secd.ike.crypto.modp import ModpGroup

ALL = pytest.mark.parametrize("entry", GROUPS.values(), ids=lambda entry: entry.name)


def seed(entry: Group, fill: int) -> bytes:
    return bytes((fill,)) * entry.seed_octets


@ALL
def test_both_sides_come_to_the_same_secret(entry: Group) -> None:
    ours = entry.generate(seed(entry, 0x11))
    theirs = entry.encapsulate(seed(entry, 0x22), ours.public)
    assert entry.shared(ours.private, theirs.public) == theirs.secret
    assert len(theirs.secret) == entry.secret_octets
    assert len(ours.public) == entry.public_octets
    assert len(theirs.public) == entry.answer_octets


@pytest.mark.parametrize("entry", [each for each in GROUPS.values() if not each.kem], ids=lambda entry: entry.name)
def test_with_diffie_hellman_the_responders_part_is_two_steps_in_one(entry: Group) -> None:
    ours, theirs = entry.generate(seed(entry, 0x11)), entry.generate(seed(entry, 0x22))
    answer = entry.encapsulate(seed(entry, 0x22), ours.public)
    assert (answer.public, answer.secret) == (theirs.public, entry.shared(theirs.private, ours.public))


@ALL
def test_a_seed_makes_always_the_same_pair(entry: Group) -> None:
    assert entry.generate(seed(entry, 0x33)) == entry.generate(seed(entry, 0x33))


@ALL
@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_no_seed_makes_a_weak_pair(entry: Group, fill: int) -> None:
    pair = entry.generate(seed(entry, fill))
    answer = entry.encapsulate(seed(entry, 0x44), pair.public)
    assert entry.shared(pair.private, answer.public) == answer.secret


@ALL
def test_a_seed_of_another_size_is_our_own_mistake(entry: Group) -> None:
    with pytest.raises(ValueError, match="expected"):
        entry.generate(bytes(entry.seed_octets - 1))


@ALL
@pytest.mark.parametrize("change", [-1, 1])
def test_a_public_value_of_another_size_is_refused(entry: Group, change: int) -> None:
    pair = entry.generate(seed(entry, 0x55))
    answer = (entry.encapsulate(seed(entry, 0x66), pair.public).public + b"\x00")[: entry.answer_octets + change]
    with pytest.raises(InvalidPublicValue, match=f"{len(answer)} octets, expected {entry.answer_octets}"):
        entry.shared(pair.private, answer)
    value = (pair.public + b"\x00")[: entry.public_octets + change]
    with pytest.raises(InvalidPublicValue, match=f"{len(value)} octets, expected {entry.public_octets}"):
        entry.encapsulate(seed(entry, 0x66), value)


@pytest.mark.parametrize("name", [name for name in GROUPS if name.startswith("modp")])
def test_a_modp_value_outside_of_2_to_p_minus_2_is_refused(name: str) -> None:
    entry = group(name)
    assert isinstance(entry, ModpGroup)
    private = entry.generate(seed(entry, 0x66)).private
    largest = 2 ** (8 * entry.public_octets) - 1
    for value in (0, 1, entry.prime - 1, entry.prime, entry.prime + 1, largest):
        with pytest.raises(InvalidPublicValue, match="not between 1 and p-1"):
            entry.shared(private, value.to_bytes(entry.public_octets, "big"))


@pytest.mark.parametrize("name", [name for name in GROUPS if name.startswith(("ecp", "bp"))])
def test_a_point_that_is_not_on_the_curve_is_refused(name: str) -> None:
    entry = group(name)
    pair = entry.generate(seed(entry, 0x77))
    off = pair.public[:-1] + bytes((pair.public[-1] ^ 1,))
    for value in (off, bytes(entry.public_octets), b"\xff" * entry.public_octets):
        with pytest.raises(InvalidPublicValue, match="not on the curve"):
            entry.shared(pair.private, value)


def test_a_curve25519_value_of_small_order_is_refused() -> None:
    entry = group("curve25519")
    private = entry.generate(seed(entry, 0x88)).private
    for value in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(InvalidPublicValue, match="small order"):
            entry.shared(private, value)


def test_a_curve448_value_of_small_order_is_refused() -> None:
    entry = group("curve448")
    private = entry.generate(seed(entry, 0x88)).private
    for value in (bytes(56), b"\x01" + bytes(55)):
        with pytest.raises(InvalidPublicValue, match="small order"):
            entry.shared(private, value)


@pytest.mark.parametrize("name", ["mlkem512", "mlkem768", "mlkem1024"])
def test_an_encapsulation_key_that_is_not_reduced_is_refused(name: str) -> None:
    # FIPS 203 §7.2: coefficients of 12 bits are below 3329
    entry = group(name)
    good = entry.generate(seed(entry, 0x99)).public
    for at in (0, 3 * 127, entry.public_octets - 32 - 3):
        bad = good[:at] + b"\x01\x1d\x00" + good[at + 3 :]  # 0xd01 is 3329, the modulus itself
        with pytest.raises(InvalidPublicValue, match="above the modulus"):
            entry.encapsulate(seed(entry, 0x11), bad)
        entry.encapsulate(seed(entry, 0x11), good[:at] + b"\x00\x0d\x00" + good[at + 3 :])  # 3328


def test_groups_are_found_by_name_and_by_number() -> None:
    assert [group_numbered(each) for each in (2, 5, 14, 19)] == [
        group(name) for name in ("modp1024", "modp1536", "modp2048", "ecp256")
    ]
    assert group_numbered(3) is None
    assert all(group_numbered(entry.number) is entry for entry in GROUPS.values())


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnsupportedAlgorithm, match="group modp512: expected one of modp768, modp1024"):
        group("modp512")


def test_a_private_value_is_not_printed() -> None:
    assert repr(KeyPair(b"private", b"public")) == "KeyPair(public=b'public')"
