"""Pools of inner addresses: which are given, to how many, and who gets them again."""

from __future__ import annotations

import pytest

from secd.ike.contract import AssignAddress
from secd.ike.v2.inner import MAX_POOL, Inner, Use


def pools(count: int) -> Inner:
    """Tunnels t0, t1, .. that have addresses to give."""
    inner = Inner()
    inner.want({f"t{number}": Use(f"sec{number}", gives=True) for number in range(count)})
    return inner


def lease(inner: Inner, number: int, *where: str, asked: str = "", gone: tuple[str, ...] = ()) -> str:
    return inner.lease(f"t{number}", where, asked, lambda name: name in gone)


@pytest.mark.parametrize(
    ("where", "given"),
    [
        (["10.9.0.7"], ["10.9.0.7", ""]),
        (["10.9.0.0/31"], ["10.9.0.0", "10.9.0.1", ""]),
        (["10.9.0.1/31"], ["10.9.0.0", ""]),
        (["10.9.0.0/30"], ["10.9.0.1", "10.9.0.2", ""]),
        (["10.9.0.1/30"], ["10.9.0.2", ""]),
        (["10.9.0.1/30", "10.9.1.0/30"], ["10.9.0.2", "10.9.1.1", "10.9.1.2", ""]),
        (["2001:db8::/126"], ["2001:db8::1", "2001:db8::2", "2001:db8::3", ""]),
        (["2001:db8::1/126"], ["2001:db8::2", "2001:db8::3", ""]),
        (["2001:db8::9"], ["2001:db8::9", ""]),
    ],
)
def test_a_pool_gives_what_is_in_it_and_no_more(where: list[str], given: list[str]) -> None:
    inner = pools(5)
    assert [lease(inner, number, *where) for number in range(len(given))] == given


def test_a_wish_is_granted_if_it_is_free_and_in_the_pool() -> None:
    inner = pools(5)
    assert lease(inner, 0, "10.9.0.1/24", asked="10.9.0.99") == "10.9.0.99"
    assert lease(inner, 1, "10.9.0.1/24", asked="10.9.0.99") == "10.9.0.2"
    for number, outside in ((2, "10.9.0.1"), (3, "10.9.1.2"), (4, "2001:db8::1")):
        assert lease(inner, number, "10.9.0.1/24", asked=outside) == f"10.9.0.{number + 1}"


def test_a_peer_gets_the_same_again_in_each_version_of_ip() -> None:
    inner = pools(2)
    first = lease(inner, 0, "10.9.0.1/24"), lease(inner, 0, "2001:db8::1/64")
    assert lease(inner, 1, "10.9.0.1/24") == "10.9.0.3"
    assert (lease(inner, 0, "10.9.0.1/24"), lease(inner, 0, "2001:db8::1/64")) == first
    assert inner.leases("t0") == first


def test_a_used_up_pool_takes_back_from_who_is_gone_and_longest_has_it() -> None:
    inner = pools(4)
    assert [lease(inner, number, "10.9.0.0/30") for number in range(2)] == ["10.9.0.1", "10.9.0.2"]
    assert lease(inner, 2, "10.9.0.0/30") == ""
    assert inner.holders(["10.9.0.0/30"]) == ["t0", "t1"]
    assert lease(inner, 2, "10.9.0.0/30", gone=("t0", "t1")) == "10.9.0.1"
    assert inner.leases("t0") == ()
    assert list(inner.news()) == [
        AssignAddress("sec0"), AssignAddress("sec1", (), ("10.9.0.2",)), AssignAddress("sec2", (), ("10.9.0.1",)),
    ]  # fmt: skip


def test_an_address_of_another_pool_is_given_back_when_the_policy_changes() -> None:
    inner = pools(2)
    assert lease(inner, 0, "10.9.0.7") == "10.9.0.7"
    assert lease(inner, 0, "10.9.0.8") == "10.9.0.8"
    assert lease(inner, 1, "10.9.0.7") == "10.9.0.7"


def test_a_policy_that_gives_none_any_more_frees_them() -> None:
    inner = pools(2)
    lease(inner, 0, "10.9.0.7")
    assert list(inner.news()) == [AssignAddress("sec0", (), ("10.9.0.7",))]
    inner.want({"t1": Use("sec1", gives=True)})
    assert list(inner.news()) == [AssignAddress("sec0")]
    assert "t0" not in inner
    assert lease(inner, 1, "10.9.0.7") == "10.9.0.7"


def test_a_huge_pool_costs_what_was_given_out_of_it() -> None:
    inner = pools(3)
    assert [lease(inner, number, "10.0.0.0/8", asked="10.255.0.1") for number in range(2)] == ["10.0.0.1", "10.0.0.2"]
    assert lease(inner, 2, "2001:db8::/32") == "2001:db8::1"
    assert MAX_POOL == 65_536
