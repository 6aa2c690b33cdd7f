"""A tunnel's own packets never go into a tunnel, whatever is routed over it.

c ---- a ======== r ======== b          r joins the underlay; a and b have a default route through it.
       sec0 ~~~~~~~~~~~~~ sec0          rp_filter is strict on a and b.

c 10.9.0.2 - 10.9.0.1 a 10.77.1.1 - 10.77.1.254 r 10.77.2.254 - 10.77.2.2 b; the same with fd77:1::/64, fd77:2::/64
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.system.sec_process import SecProcess, pings, told, tunnel, until

from secd.lab.namespaces import Host, Lab
from secd.lab.probe import Probe
from secd.sadb import messages as m
from secd.sadb.client import SADB

pytestmark = pytest.mark.root

A, B = "169.254.64.94", "169.254.64.93"
UNDERLAY = {4: ("10.77.1.1", "10.77.2.2"), 6: ("fd77:1::1", "fd77:2::2")}


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> dict[str, Host]:
    """The four of the drawing."""
    made = {name: lab.host(name) for name in "abcr"}
    a, b, c, r = (made[name] for name in "abcr")
    lab.link(a, "10.77.1.1/24", r, "10.77.1.254/24", b_device="to-a")
    lab.link(b, "10.77.2.2/24", r, "10.77.2.254/24", b_device="to-b")
    lab.link(c, "10.9.0.2/24", a, "10.9.0.1/24", b_device="to-c")
    r.address("fd77:1::254/64", "to-a")
    r.address("fd77:2::254/64", "to-b")
    r.forward()
    a.forward()
    c.route("default", "10.9.0.1")
    for host, number, own in ((a, 1, 1), (b, 2, 2)):
        host.address(f"fd77:{number}::{own}/64", "eth0")
        host.sysctl(net__ipv4__conf__all__rp_filter=1, net__ipv4__conf__eth0__rp_filter=1)
        host.ip("route", "add", "default", "via", f"10.77.{number}.254", "metric", "100")
        host.ip("-6", "route", "add", "default", "via", f"fd77:{number}::254", "metric", "1024")
    return made


class Tunnel:
    """Both data planes and a client of each."""

    def __init__(self, a: SecProcess, b: SecProcess, sadb_a: SADB, sadb_b: SADB) -> None:
        self.a, self.b, self.sadb_a, self.sadb_b = a, b, sadb_a, sadb_b

    def key(self, family: int, *, encap: bool) -> None:
        """Install SAs over this underlay."""
        here, there = UNDERLAY[family]
        for spi, source, destination, sender, receiver in (
            (0x5000, here, there, self.sadb_a, self.sadb_b), (0x5001, there, here, self.sadb_b, self.sadb_a),
        ):  # fmt: skip
            out, into = tunnel(spi, source, destination, encap=encap)
            receiver.add(into)
            sender.add(out)


@pytest.fixture
def between(hosts: dict[str, Host]) -> Iterator[Tunnel]:
    """A data plane on a and b; sec0 up."""
    with SecProcess(hosts["a"]) as a, SecProcess(hosts["b"]) as b, a.connect() as sadb_a, b.connect() as sadb_b:
        for process, sadb, local, remote in ((a, sadb_a, A, B), (b, sadb_b, B, A)):
            sadb.create("sec0")
            process.host.address(f"{local}/32", "sec0", peer=f"{remote}/32")
            process.host.address(f"fd64::{local[-1]}/64", "sec0")
            process.host.ip("link", "set", "sec0", "up")
        until(lambda: all(s.interfaces()[0].running for s in (sadb_a, sadb_b)), "sec0 to run")
        yield Tunnel(a, b, sadb_a, sadb_b)
        a.stop()
        b.stop()


COVERS = {
    "a default route by BGP": {4: "default", 6: "default"},
    "two halves of everything": {4: "0.0.0.0/1", 6: "::/1"},
    "the peer's own prefix": {4: "10.77.2.0/24", 6: "fd77:2::/64"},
    "the peer's own address": {4: "10.77.2.2/32", 6: "fd77:2::2/128"},
}


def seen_from_b(prefix: str) -> str:
    """Turn a prefix of b's network into a's."""
    for there, here in (
        ("10.77.2.2/", "10.77.1.1/"),
        ("10.77.2.", "10.77.1."),
        ("2::2/", "1::1/"),
        ("77:2::/", "77:1::/"),
    ):
        prefix = prefix.replace(there, here)
    return prefix


@pytest.mark.parametrize(
    ("family", "encap", "cover"),
    [
        *((4, True, cover) for cover in COVERS),
        (4, False, "a default route by BGP"),
        (4, False, "the peer's own prefix"),
        (6, True, "a default route by BGP"),
        (6, True, "the peer's own address"),
        (6, False, "the peer's own prefix"),
    ],
)
def test_the_tunnel_works_while_a_route_over_it_covers_the_peer(
    between: Tunnel, family: int, encap: bool, cover: str
) -> None:
    between.key(family, encap=encap)
    assert pings(between.a.host, B)
    prefix = COVERS[cover][family]
    errors = between.sadb_a.interfaces()[0].output_errors
    with Probe(between.a.host, A, between.b.host, B, rate=200) as probe:
        time.sleep(0.3)
        for process, own in ((between.a, prefix), (between.b, seen_from_b(prefix))):
            process.host.ip(f"-{family}", "route", "add", own, "dev", "sec0", "proto", "bgp", "metric", "20")
        time.sleep(0.5)
        there, back = probe.stop()
    assert (there.lost, back.lost) == (0, 0)
    assert between.sadb_a.interfaces()[0].output_errors == errors
    with between.a.hand_over() as iked_a, between.b.hand_over() as iked_b:
        for iked in (iked_a, iked_b):
            iked.ask(m.Register(0, "iked"), m.Done)
            assert isinstance(told(iked), m.InterfaceChange)
        local, remote = UNDERLAY[family]
        for port in (500, 4500):
            for source in (local, ""):
                iked_a.send(m.Datagram(source, port, remote, port, bytes(range(64))))
                came = told(iked_b)
                assert isinstance(came, m.Datagram)
                assert (came.remote, came.data) == (local, bytes(range(64)))


def test_of_several_equal_ways_only_those_outside_the_tunnel_are_taken(between: Tunnel) -> None:
    host = between.a.host
    between.key(4, encap=True)
    with Probe(host, A, between.b.host, B, rate=200) as probe:
        time.sleep(0.3)
        several = "route add 10.77.2.0/24 nexthop via 10.77.1.254 weight 1 nexthop dev sec0 weight 250"
        host.ip(*several.split())
        time.sleep(0.5)
        there, back = probe.stop()
    host.ip("route", "del", "10.77.2.0/24")
    assert (there.lost, back.lost) == (0, 0)


def test_when_no_route_but_the_tunnel_is_left_packets_end_and_do_not_go_round(between: Tunnel) -> None:
    host = between.a.host
    between.key(4, encap=True)
    assert pings(host, B)
    host.ip("route", "del", "default", "via", "10.77.1.254", "metric", "100")
    host.ip("route", "add", "default", "dev", "sec0")
    until(lambda: "default" not in host.ip("route", "show", "table", "1516"), "the copy to follow")
    before = between.sadb_a.interfaces()[0].output_packets
    assert not pings(host, B)
    assert between.sadb_a.interfaces()[0].output_packets - before <= 3
    host.ip("route", "add", "default", "via", "10.77.1.254", "metric", "100")
    until(lambda: "default" in host.ip("route", "show", "table", "1516"), "the copy to follow back")
    assert pings(host, B)


def test_what_it_forwards_for_others_is_routed_as_ever(between: Tunnel, hosts: dict[str, Host]) -> None:
    """Host c uses port 4500 and ESP itself, towards something behind the tunnel."""
    between.key(4, encap=True)
    b, c = hosts["b"], hosts["c"]
    b.address("172.16.9.9/32", "lo")
    b.ip("route", "add", "10.9.0.0/24", "dev", "sec0")
    hosts["a"].ip("route", "add", "172.16.9.9/32", "dev", "sec0")
    receive = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5);"
        "s.bind(('172.16.9.9', 9999)); print(s.recvfrom(100))"
    )
    send = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.9.0.2', 4500));"
        "s.sendto(b'through', ('172.16.9.9', 9999))"
    )
    receiver = subprocess.Popen(b.argv("/usr/bin/python3", "-c", receive), stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    c.run("/usr/bin/python3", "-c", send)
    assert receiver.communicate(timeout=10)[0].strip() == "(b'through', ('10.9.0.2', 4500))"
    assert between.sadb_b.interfaces()[0].input_packets >= 1


def rules(host: Host, family: int = 4) -> list[str]:
    """Give our rules."""
    return sorted(line for line in host.ip(f"-{family}", "rule").splitlines() if line.startswith("3250"))


def test_the_rules_are_the_documented_ones(between: Tunnel) -> None:
    documented = [
        f"{priority}: from all iif lo {match} {action} proto 94"
        for match in ("ipproto udp sport 500", "ipproto udp sport 4500", "ipproto esp")
        for priority, action in ((32501, "lookup 1516"), (32502, "unreachable"))
    ]  # fmt: skip
    alone = ["32503: from all ipproto esp nop proto 94"]
    for family, expected in ((4, documented + alone), (6, documented)):
        assert sorted(" ".join(line.split()) for line in rules(between.a.host, family)) == sorted(expected)


def test_rules_and_routes_that_somebody_takes_away_come_back(between: Tunnel) -> None:
    host = between.a.host
    whole, table = rules(host), host.ip("route", "show", "table", "1516")
    assert table
    host.ip("rule", "del", "priority", "32501")
    host.ip("rule", "del", "priority", "32502")
    host.ip("route", "flush", "table", "1516")
    until(lambda: rules(host) == whole, "the rules to come back")
    until(lambda: host.ip("route", "show", "table", "1516") == table, "the copy to come back")
    host.ip("route", "add", "192.0.2.0/24", "via", "10.77.1.254", "table", "1516")
    until(lambda: "192.0.2.0" not in host.ip("route", "show", "table", "1516"), "a foreign route to go")
    host.ip("route", "add", "192.0.2.0/24", "via", "10.77.1.254")
    until(lambda: "192.0.2.0" in host.ip("route", "show", "table", "1516"), "a new route to be copied")
    host.ip("route", "del", "192.0.2.0/24")
    until(lambda: "192.0.2.0" not in host.ip("route", "show", "table", "1516"), "it to go again")


def test_rules_left_by_a_killed_process_are_taken_over(between: Tunnel) -> None:
    host = between.a.host
    whole = rules(host)
    between.a.kill()
    assert rules(host) == whole
    host.ip(
        "rule",
        "add",
        "priority",
        "32500",
        "iif",
        "lo",
        "ipproto",
        "udp",
        "sport",
        "4711",
        "lookup",
        "main",
        "proto",
        "94",
    )
    host.ip("route", "add", "192.0.2.0/24", "via", "10.77.1.254", "table", "1516")
    between.a.start()
    assert rules(host) == whole
    assert "192.0.2.0" not in host.ip("route", "show", "table", "1516")


def test_the_link_group_by_which_the_rules_know_a_tunnel_is_put_back(between: Tunnel) -> None:
    host = between.a.host
    host.ip("link", "set", "sec0", "group", "default")
    until(lambda: "group 1516" in host.ip("link", "show", "sec0"), "the group to be put back")
    assert any("put back into 1516" in line for line in between.a.lines)


def test_nothing_is_compared_while_nothing_changes(between: Tunnel) -> None:
    time.sleep(1)
    path = f"/proc/{between.a.process.pid}/stat"

    def ticks() -> int:
        with open(path) as stat:
            fields = stat.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(3)
    assert ticks() - before <= 1  # hundredths of a second
