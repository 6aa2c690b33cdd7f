"""Inner addresses that iked tells of: set on secN, routed into it, kept by the kernel, taken away again."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator

import pytest
from tests.system.sec_process import SecProcess

from secd.ipc.channel import ChannelError
from secd.lab.commands import wait_until
from secd.lab.namespaces import Host, Lab
from secd.sadb import messages as m
from secd.sadb.client import SADB

pytestmark = pytest.mark.root


@pytest.fixture
def sec(lab: Lab, request: pytest.FixtureRequest) -> Iterator[SecProcess]:
    """A data plane in a host of its own."""
    running = SecProcess(lab.host(f"inner{zlib.crc32(request.node.name.encode()):08x}"))
    yield running
    running.stop()


@pytest.fixture
def iked(sec: SecProcess) -> Iterator[SADB]:
    """Who may say it."""
    with registered(sec) as sadb:
        yield sadb


def registered(sec: SecProcess) -> SADB:
    sadb = sec.hand_over()
    sadb.ask(m.Register(0, "iked"), m.Done)
    return sadb


def assign(sadb: SADB, *addresses: str, peers: tuple[str, ...] = ()) -> None:
    sadb.send(m.Assign("sec0", addresses, peers))
    sadb.ask(m.CountersGet(0), m.CountersEntry)  # and it is done


def make(sadb: SADB, host: Host, *, up: bool = True) -> None:
    sadb.ask(m.InterfaceCreate(0, "sec0"), m.Done)
    if up:
        host.ip("link", "set", "sec0", "up")
    sadb.ask(m.CountersGet(0), m.CountersEntry)


def addresses(host: Host) -> set[str]:
    shown = json.loads(host.ip("-j", "address", "show", "dev", "sec0"))
    return {f"{each['local']}/{each['prefixlen']}" for each in shown[0]["addr_info"]}


def routes(host: Host, family: str = "-4") -> set[str]:
    return {each["dst"] for each in json.loads(host.ip("-j", family, "route", "show", "dev", "sec0"))}


def test_addresses_are_set_when_the_interface_is_there_and_taken_away(sec: SecProcess, iked: SADB) -> None:
    assign(iked, "10.9.0.7/24", "2001:db8:9::7/64")
    make(iked, sec.host)
    assert addresses(sec.host) == {"10.9.0.7/24", "2001:db8:9::7/64"}
    assert "10.9.0.0/24" in routes(sec.host)
    assign(iked)
    assert addresses(sec.host) == set()


def test_ipv6_addresses_come_back_when_the_interface_was_down(sec: SecProcess, iked: SADB) -> None:
    make(iked, sec.host)
    assign(iked, "2001:db8:9::7/64", peers=("10.9.0.8", "2001:db8:9::8"))
    sec.host.ip("link", "set", "sec0", "down")
    sec.host.ip("link", "set", "sec0", "up")
    wait_until(lambda: addresses(sec.host) == {"2001:db8:9::7/64"}, 5, "the address")
    wait_until(lambda: "10.9.0.8" in routes(sec.host), 5, "the route")
    wait_until(lambda: "2001:db8:9::8" in routes(sec.host, "-6"), 5, "the route of IPv6")


@pytest.mark.parametrize("new", ["10.9.0.8/24", "10.9.0.8/32", "10.8.0.1/24", "10.9.0.7/32"])
def test_another_address_takes_its_place_and_static_routes_stay(sec: SecProcess, iked: SADB, new: str) -> None:
    make(iked, sec.host)
    assign(iked, "10.9.0.7/24")
    sec.host.ip("route", "add", "10.20.0.0/16", "dev", "sec0")
    assign(iked, new)
    assert addresses(sec.host) == {new}
    assert "10.20.0.0/16" in routes(sec.host)


def test_what_somebody_else_has_set_is_not_touched(sec: SecProcess, iked: SADB) -> None:
    make(iked, sec.host)
    sec.host.address("10.9.0.7/24", "sec0")
    sec.host.ip("route", "add", "10.9.1.1/32", "dev", "sec0")
    assign(iked, "10.9.0.7/24", peers=("10.9.1.1",))
    assign(iked)
    assert addresses(sec.host) == {"10.9.0.7/24"}
    assert "10.9.1.1" in routes(sec.host)


def test_what_peers_have_is_routed_to_them(sec: SecProcess, iked: SADB) -> None:
    make(iked, sec.host)
    assign(iked, peers=("10.9.0.8", "2001:db8:9::8"))
    assert routes(sec.host) == {"10.9.0.8"}
    assert routes(sec.host, "-6") == {"2001:db8:9::8"}
    assign(iked, peers=("10.9.0.9",))
    assert routes(sec.host) == {"10.9.0.9"}
    assert routes(sec.host, "-6") == set()


def test_a_killed_data_plane_leaves_addresses_and_its_successor_knows_them(sec: SecProcess) -> None:
    with registered(sec) as iked:
        make(iked, sec.host)
        assign(iked, "10.9.0.7/24", "2001:db8:9::7/64", peers=("10.9.0.8",))
        sec.host.ip("route", "add", "10.20.0.0/16", "dev", "sec0")
        sec.kill()
    sec.start()
    assert addresses(sec.host) == {"10.9.0.7/24", "2001:db8:9::7/64"}
    assert routes(sec.host) == {"10.9.0.0/24", "10.20.0.0/16"}
    with registered(sec) as iked:
        assign(iked, "10.9.0.9/24")
        assert addresses(sec.host) == {"10.9.0.9/24"}
        assert routes(sec.host) == {"10.9.0.0/24", "10.20.0.0/16"}


def test_nobody_but_iked_may_say_it(sec: SecProcess) -> None:
    with sec.connect() as stranger:
        stranger.send(m.Assign("sec0", ("10.9.0.7/24",)))
        with pytest.raises(ChannelError):
            stranger.ask(m.CountersGet(0), m.CountersEntry)


def test_nonsense_is_logged_and_changes_nothing(sec: SecProcess, iked: SADB) -> None:
    make(iked, sec.host)
    assign(iked, "10.9.0.7/24")
    assign(iked, "10.9.0.7/33")
    assert addresses(sec.host) == {"10.9.0.7/24"}
    assert any("inner addresses cannot be set" in line for line in sec.lines)
