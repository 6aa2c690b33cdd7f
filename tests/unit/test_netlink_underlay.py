"""The copy of the underlay's routes, in a namespace of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.unit.netns import ip, namespace

from secd.netlink import Monitor, Netlink, links
from secd.sec import underlay
from secd.sec.underlay import TABLE, Underlay

pytestmark = pytest.mark.root


def run(
    test: Callable[[Underlay, list[str]], Coroutine[Any, Any, None]], on_change: Callable[[], None] = lambda: None
) -> None:
    """Run `test` with an underlay that follows; left is part of it, right is a tunnel."""

    async def main() -> None:
        for name, address in (("left", "192.0.2.1/24"), ("right", "198.51.100.1/24")):
            ip(f"addr add {address} dev {name}")
            ip(f"link set {name} addrgenmode none up")
        with Netlink() as netlink:
            right = links.find(netlink, "right")
            assert right
            said: list[str] = []
            tunnels = frozenset({right.index})
            kept = Underlay(
                netlink, lambda: tunnels, lambda _, message: said.append(message), on_change=on_change
            )  # fmt: skip
            monitor = Monitor(frozenset({netlink.port}))
            asyncio.get_running_loop().add_reader(monitor, lambda: kept.follow(monitor.read()))
            await kept.start()
            try:
                await test(kept, said)
            finally:
                asyncio.get_running_loop().remove_reader(monitor)
                await kept.stop()
                monitor.close()

    with namespace():
        asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until `condition`."""
    for _ in range(300):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain; table {TABLE} is:\n{copy()}")


def copy() -> str:
    """Show the copy."""
    return ip(f"route show table {TABLE}")


def test_routes_over_a_tunnel_are_left_out_and_the_others_followed() -> None:
    async def test(kept: Underlay, said: list[str]) -> None:
        assert "192.0.2.0/24 dev left" in copy()
        assert "right" not in copy()
        ip("route add default via 198.51.100.7 metric 5")
        ip("route add default via 192.0.2.254 metric 100")
        await until(lambda: "default via 192.0.2.254 dev left metric 100" in copy())
        ip("route add 203.0.113.0/24 nexthop via 192.0.2.9 nexthop via 198.51.100.9")
        await until(lambda: "203.0.113.0/24 via 192.0.2.9 dev left" in copy())
        assert "right" not in copy()
        ip("link set left down")
        await until(lambda: copy() == "")
        assert said == []

    run(test)


def test_a_burst_of_changes_is_followed_to_its_end() -> None:
    async def test(kept: Underlay, said: list[str]) -> None:
        for number in range(50):
            ip(f"route add 203.0.{number}.0/24 via 192.0.2.254")
            await asyncio.sleep(0)
        await until(lambda: copy().count("via 192.0.2.254") == 50)
        for number in range(50):
            ip(f"route del 203.0.{number}.0/24")
            await asyncio.sleep(0)
        await until(lambda: "via 192.0.2.254" not in copy())

    run(test)


def test_while_the_copy_is_incomplete_the_main_table_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(underlay, "MAX_ROUTES", 3)

    async def test(kept: Underlay, said: list[str]) -> None:
        assert "suppress_ifgroup" not in ip("rule")
        for number in range(5):
            ip(f"route add 203.0.{number}.0/24 via 192.0.2.254 proto bgp")
        await until(lambda: "32500:\tfrom all iif lo ipproto esp lookup main suppress_ifgroup 1516" in ip("rule"))
        assert len(copy().splitlines()) == 3
        assert "192.0.2.0/24 dev left" in copy()
        assert [message for message in said if "more than 3 routes" in message] == said != []
        ip("route flush root 203.0.0.0/16")
        await until(lambda: "suppress_ifgroup" not in ip("rule"))

    run(test)


@pytest.mark.parametrize(
    "change",
    [
        "route add default via 192.0.2.254",
        "addr add 192.0.2.77/24 dev left",
        "addr add 203.0.113.7/32 dev lo",
        "addr add 2001:db8::7/64 dev left nodad",
        "addr del 192.0.2.1/24 dev left",
        "link set left down",
    ],
)
def test_other_ways_and_addresses_are_told(change: str) -> None:
    told: list[str] = []

    async def test(kept: Underlay, said: list[str]) -> None:
        await asyncio.sleep(0.2)
        told.clear()
        ip(change)
        await until(lambda: told == ["told"])

    run(test, on_change=lambda: told.append("told"))


@pytest.mark.parametrize(
    "change", ["route add 203.0.113.0/24 via 192.0.2.254 proto bgp", "route add default via 198.51.100.7"]
)
def test_what_bgp_changes_and_what_leads_over_a_tunnel_is_not_told(change: str) -> None:
    told: list[str] = []

    async def test(kept: Underlay, said: list[str]) -> None:
        await asyncio.sleep(0.2)
        told.clear()
        ip(change)
        await asyncio.sleep(0.4)
        assert told == []

    run(test, on_change=lambda: told.append("told"))


def test_nothing_is_left_behind() -> None:
    async def test(kept: Underlay, said: list[str]) -> None:
        await kept.stop()
        assert copy() == ""
        assert "1516" not in ip("rule")
        assert "1516" not in ip("-6 rule")

    run(test)
