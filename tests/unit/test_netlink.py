"""Netlink against the running kernel, in a network namespace of its own for each test."""

from __future__ import annotations

import errno
import json
import select
import socket
from collections.abc import Iterator

import pytest
from tests.unit.netns import ip, namespace

from secd.netlink import Monitor, Netlink, NetlinkError, addresses, links, routes, rules

pytestmark = pytest.mark.root


@pytest.fixture
def netlink() -> Iterator[Netlink]:
    """Give a netlink socket in a fresh namespace with a pair of interfaces, left and right."""
    with namespace(), Netlink() as opened:
        yield opened


def found(netlink: Netlink, name: str = "left") -> links.Link:
    """Give a link that must be there."""
    link = links.find(netlink, name)
    assert link is not None
    return link


def test_a_link_is_found_by_name_or_not_at_all(netlink: Netlink) -> None:
    link = found(netlink)
    assert (link.kind, link.mtu, link.up, link.group, link.alias) == ("veth", 1500, False, 0, "")
    assert links.find(netlink, "sec77") is None
    assert links.list_all(netlink)[0].name == "lo"


def test_what_is_changed_is_what_ip_shows(netlink: Netlink) -> None:
    index = found(netlink).index
    links.change(netlink, index, up=True, mtu=1280, alias="to AWS", group=links.SEC_GROUP, txqueuelen=500)
    shown = json.loads(ip("-j -d link show left"))[0]
    assert (shown["mtu"], shown["ifalias"], shown["group"], shown["txqlen"]) == (1280, "to AWS", "1516", 500)
    assert "UP" in shown["flags"]
    link = found(netlink)
    assert (link.mtu, link.alias, link.group, link.up) == (1280, "to AWS", links.SEC_GROUP, True)
    links.change(netlink, index, alias="")
    assert found(netlink).alias == ""
    assert found(netlink).up


def test_rp_filter_is_set_without_a_file(netlink: Netlink) -> None:
    links.set_rp_filter(netlink, found(netlink).index, 2)
    with open("/proc/sys/net/ipv4/conf/left/rp_filter") as setting:
        assert setting.read() == "2\n"
    assert found(netlink).rp_filter == 2


def test_no_link_local_address_is_made_when_it_is_not_wanted(netlink: Netlink) -> None:
    link = found(netlink)
    links.no_generated_addresses(netlink, link.index)
    links.change(netlink, link.index, up=True)
    links.change(netlink, found(netlink, "right").index, up=True)
    assert addresses.list_all(netlink, link.index) == []


def test_a_point_to_point_interface_keeps_its_one_neighbour_which_the_kernel_does_not_count(netlink: Netlink) -> None:
    ip("tuntap add dev tun7 mode tun")
    ip("address add 10.7.0.1 peer 10.7.0.2 dev tun7")
    ip("link set tun7 up")
    for _ in range(2):
        links.keep_neighbour(netlink, found(netlink, "tun7").index)
        assert json.loads(ip("-j neigh show dev tun7"))[0]["state"] == ["PERMANENT"]


def test_the_kernels_own_words_come_with_a_refusal(netlink: Netlink) -> None:
    with pytest.raises(NetlinkError, match="mtu") as caught:
        links.change(netlink, found(netlink).index, mtu=10_000_000)
    assert caught.value.errno == errno.EINVAL


def test_point_to_point_addresses_go_there_and_back(netlink: Netlink) -> None:
    index = found(netlink).index
    addresses.add(netlink, index, "169.254.64.94", 30, peer="169.254.64.93")
    addresses.add(netlink, index, "2001:db8::1", 64)
    assert addresses.list_all(netlink, index) == [
        addresses.Address(index, "169.254.64.94", 30, "169.254.64.93"),
        addresses.Address(index, "2001:db8::1", 64),
    ]
    assert "169.254.64.94 peer 169.254.64.93/30" in ip("addr show left")
    with pytest.raises(NetlinkError) as caught:
        addresses.add(netlink, index, "169.254.64.94", 30, peer="169.254.64.93")
    assert caught.value.errno == errno.EEXIST
    addresses.delete(netlink, index, "169.254.64.94", 30, peer="169.254.64.93")
    assert [entry.address for entry in addresses.list_all(netlink, index)] == ["2001:db8::1"]


@pytest.mark.parametrize("family", rules.FAMILIES)
def test_rules_go_there_and_back(netlink: Netlink, family: int) -> None:
    rule = rules.Rule(
        family, 32500, table=1516, ip_protocol=17, source_port=4500, incoming="lo", suppress_group=1516, owner=94
    )
    blocked = rules.Rule(family, 32501, action=rules.ACTION_UNREACHABLE, ip_protocol=50, incoming="lo", owner=94)
    for entry in (rule, blocked):
        rules.add(netlink, entry)
    listed = rules.list_all(netlink, family)
    assert rule in listed
    assert blocked in listed
    shown = ip(f"{'-6' if family == socket.AF_INET6 else '-4'} rule show priority 32500")
    assert "iif lo ipproto udp sport 4500 lookup 1516 suppress_ifgroup 1516 proto 94" in " ".join(shown.split())
    for entry in (rule, blocked):
        rules.delete(netlink, entry)
    assert rule not in rules.list_all(netlink, family)


def table(netlink: Netlink, family: int, number: int) -> list[routes.Route]:
    """Give a whole table."""
    return [route for chunk in routes.list_chunks(netlink, family, number) for route in chunk]


def test_a_copied_route_has_every_property_of_the_original(netlink: Netlink) -> None:
    for name, address in (("left", "192.0.2.1/24"), ("right", "198.51.100.1/24")):
        ip(f"addr add {address} dev {name}")
        ip(f"link set {name} up")
    ip("route add default via 192.0.2.254 metric 100 proto dhcp src 192.0.2.1 mtu 1400")
    ip("route append 203.0.113.0/24 via 192.0.2.254 metric 5")
    ip("route append 203.0.113.0/24 via 198.51.100.254 metric 5")
    ip("route add 203.0.114.0/24 nexthop via 192.0.2.254 weight 3 nexthop via 198.51.100.9")
    ip("route add blackhole 203.0.115.0/24")
    ip("nexthop add id 7 via 192.0.2.7 dev left")
    ip("route add 203.0.116.0/24 nhid 7")
    ip("-6 route add 2001:db8:9::/48 nexthop via fe80::1 dev left nexthop via fe80::2 dev right")
    for family in rules.FAMILIES:
        original = table(netlink, family, rules.TABLE_MAIN)
        assert len(original) >= 2
        for route in sorted(original, key=lambda entry: entry.order):
            routes.add(netlink, route, 1516)
        assert set(table(netlink, family, 1516)) == set(original)
        for route in original:
            routes.delete(netlink, route, 1516)
        assert table(netlink, family, 1516) == []


def test_the_nexthops_over_some_interfaces_are_taken_out_of_a_route(netlink: Netlink) -> None:
    for name, address in (("left", "192.0.2.1/24"), ("right", "198.51.100.1/24")):
        ip(f"addr add {address} dev {name}")
        ip(f"link set {name} up")
    ip("route add 203.0.114.0/24 nexthop via 192.0.2.254 nexthop via 198.51.100.9")
    left, right = found(netlink).index, found(netlink, "right").index
    both = next(r for r in table(netlink, socket.AF_INET, rules.TABLE_MAIN) if r.devices == {left, right})
    only = routes.without(both, {left})
    assert only is not None
    assert only.devices == {right}
    routes.add(netlink, only, 1516)
    shown = ip("route show table 1516")
    assert "via 198.51.100.9 dev right" in shown
    assert "dev left" not in shown
    assert routes.without(both, {left, right}) is None
    assert routes.without(both, {77}) is both


def test_the_monitor_tells_of_links_routes_and_rules_but_not_of_its_own(netlink: Netlink) -> None:
    monitor = Monitor(frozenset({netlink.port}))
    try:
        index = found(netlink).index
        links.change(netlink, index, up=True, mtu=1400)
        addresses.add(netlink, index, "192.0.2.1", 24)
        ip("route add 203.0.113.0/24 dev left table 1000")
        rules.add(netlink, rules.Rule(socket.AF_INET, 32500, table=1516, owner=94))
        assert select.select([monitor], [], [], 5)[0]
        changes = monitor.read()
        assert any(link.name == "left" and link.up and link.mtu == 1400 for link in changes.changed)
        assert 1000 in changes.tables
        assert not changes.rules
        ip("rule add priority 9 lookup 7")
        ip("link del left")
        changes = monitor.read()
        assert changes.rules
        assert {link.name for link in changes.gone} == {"left", "right"}
    finally:
        monitor.close()
