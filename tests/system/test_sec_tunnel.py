"""Two data planes with SAs by hand: traffic, rekeying, a restart that the network does not see.

a: sec0 169.254.64.94 -- eth0 10.77.0.1, fd77::1 ======== eth0 10.77.0.2, fd77::2 -- sec0 169.254.64.93 :b
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from tests.system.sec_process import UID, SecProcess, pings, status_of, told, tunnel, until

from secd.lab.namespaces import Host, Lab
from secd.lab.probe import Probe
from secd.sadb import messages as m
from secd.sadb.client import SADB, SADBError

pytestmark = pytest.mark.root

A, B = "169.254.64.94", "169.254.64.93"


class Ends:
    """Both hosts and their data planes."""

    def __init__(self, a: SecProcess, b: SecProcess, sadb_a: SADB, sadb_b: SADB) -> None:
        self.a, self.b, self.sadb_a, self.sadb_b = a, b, sadb_a, sadb_b

    def key(self, spi: int, a: str = "10.77.0.1", b: str = "10.77.0.2", **fields: object) -> None:
        """Install a pair of SAs: the receiver first, then the sender."""
        for number, source, destination, sender, receiver in (
            (spi, a, b, self.sadb_a, self.sadb_b), (spi + 1, b, a, self.sadb_b, self.sadb_a),
        ):  # fmt: skip
            out, into = tunnel(number, source, destination, **fields)  # type: ignore[arg-type]
            receiver.add(into)
            sender.add(out)


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> tuple[Host, Host]:
    """Two hosts on one link."""
    a, b = lab.host("a"), lab.host("b")
    lab.link(a, "10.77.0.1/24", b, "10.77.0.2/24")
    a.address("fd77::1/64", "eth0")
    b.address("fd77::2/64", "eth0")
    return a, b


@pytest.fixture
def ends(hosts: tuple[Host, Host]) -> Iterator[Ends]:
    """A data plane on each, sec0 configured and up, no SA."""
    with SecProcess(hosts[0]) as a, SecProcess(hosts[1]) as b, a.connect() as sadb_a, b.connect() as sadb_b:
        for process, sadb, local, remote in ((a, sadb_a, A, B), (b, sadb_b, B, A)):
            sadb.create("sec0")
            process.host.address(f"{local}/32", "sec0", peer=f"{remote}/32")
            process.host.address(f"fd64::{local[-1]}/64", "sec0")
            process.host.ip("link", "set", "sec0", "up")
        until(lambda: all(s.interfaces()[0].running for s in (sadb_a, sadb_b)), "sec0 to run")
        yield Ends(a, b, sadb_a, sadb_b)


def test_the_process_keeps_three_capabilities_its_own_user_and_nothing_else(ends: Ends) -> None:
    status = status_of(ends.a)
    assert status["Uid"].split() == [str(UID)] * 4
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << 10 | 1 << 12 | 1 << 13
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Name"] == "secd: sadb"
    assert any("confined" in line and "Landlock" in line and "seccomp" in line for line in ends.a.lines)


def test_a_new_interface_is_as_sec4_makes_it(ends: Ends) -> None:
    ends.sadb_a.create("sec7")
    link = json.loads(ends.a.host.ip("-j", "-d", "link", "show", "sec7"))[0]
    assert set(link["flags"]) == {"POINTOPOINT", "MULTICAST", "NOARP"}
    assert (link["mtu"], link["group"], link["inet6_addr_gen_mode"]) == (1280, "1516", "none")
    assert (link["qdisc"], link["gso_max_size"]) == ("noqueue", 60513)
    assert ends.a.host.run("cat", "/proc/sys/net/ipv4/conf/sec7/rp_filter").stdout == "2\n"
    with pytest.raises(SADBError, match="sec7 is there already"):
        ends.sadb_a.create("sec7")
    ends.sadb_a.destroy("sec7")
    assert "sec7" not in ends.a.host.ip("link")
    with pytest.raises(SADBError, match="no interface sec7"):
        ends.sadb_a.destroy("sec7")


def test_a_host_that_forwards_takes_super_packets_of_any_size(ends: Ends) -> None:
    ends.a.host.sysctl(net__ipv4__ip_forward=1)
    try:
        ends.sadb_a.create("sec7")
        assert json.loads(ends.a.host.ip("-j", "-d", "link", "show", "sec7"))[0]["gso_max_size"] == 65536
        ends.sadb_a.destroy("sec7")
    finally:
        ends.a.host.sysctl(net__ipv4__ip_forward=0)


def test_somebody_elses_interface_is_not_taken(ends: Ends) -> None:
    ends.a.host.ip("tuntap", "add", "sec9", "mode", "tun")
    try:
        with pytest.raises(SADBError, match="an interface sec9 that secd did not make"):
            ends.sadb_a.create("sec9")
    finally:
        ends.a.host.ip("link", "del", "sec9")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("encap", [True, False])
def test_ping_and_counters(ends: Ends, family: int, encap: bool) -> None:
    outer = {} if family == 4 else {"a": "fd77::1", "b": "fd77::2"}
    ends.key(0x2000, encap=encap, encryption="aes-256", auth="hmac-sha2-256", **outer)
    assert pings(ends.a.host, B, "-s", "56")
    assert pings(ends.a.host, "fd64::3")
    received, sent = ends.sadb_a.dump()[1], ends.sadb_a.dump()[0]
    assert (received.sa.direction, sent.sa.direction) == ("in", "out")
    packets = sent.counters.output_packets
    assert packets >= 6
    assert sent.rpl in {packets, packets + 1}
    # IPv4 84 octets, IPv6 104; CBC: SPI, sequence, IV, padded payload, ICV 16; the outer header counts.
    headers = (20 if family == 4 else 40) + (8 if encap else 0) + 8 + 16 + 16
    assert sent.counters.output_bytes == 3 * (headers + 96) + (packets - 3) * (headers + 112)
    assert sent.counters.output_uncompressed_bytes == 3 * 84 + (packets - 3) * 104
    assert (received.counters.input_packets, received.counters.input_drops) == (packets, 0)
    assert abs(time.time() - received.lastuse) < 60
    assert received.idle is not None


def test_without_an_sa_packets_are_dropped_and_counted_and_never_leak(ends: Ends) -> None:
    assert not pings(ends.a.host, B)
    assert ends.sadb_a.interfaces()[0].output_errors >= 3
    assert ends.sadb_a.counters()["drop_no_sa"] >= 3


def test_an_interface_that_is_down_takes_nothing(ends: Ends) -> None:
    ends.key(0x2100)
    assert pings(ends.a.host, B)
    ends.b.host.ip("link", "set", "sec0", "down")
    until(lambda: not ends.sadb_b.interfaces()[0].running, "the data plane to see it")
    before = ends.sadb_b.interfaces()[0].input_packets
    assert not pings(ends.a.host, B)
    assert ends.sadb_b.interfaces()[0].input_packets == before
    ends.b.host.ip("link", "set", "sec0", "up", "mtu", "1400")
    until(lambda: ends.sadb_b.interfaces()[0].running, "it to run again")
    until(lambda: "PERMANENT" in ends.b.host.ip("neigh", "show", "dev", "sec0"), "its neighbour to be kept")
    assert ends.sadb_b.interfaces()[0].mtu == 1400


def test_a_new_sa_takes_over_and_the_older_when_it_goes_without_a_packet_lost(ends: Ends) -> None:
    ends.key(0x3000)
    with Probe(ends.a.host, A, ends.b.host, B, rate=500) as probe:
        time.sleep(0.5)
        for spi in range(0x3002, 0x3012, 2):
            ends.key(spi)
            time.sleep(0.1)
            if spi % 4 == 0:  # take the newest away again: the one before is used
                ends.sadb_a.ask(m.Delete(0, spi, "out", "10.77.0.2"), m.Done)
                ends.sadb_b.ask(m.Delete(0, spi + 1, "out", "10.77.0.1"), m.Done)
                time.sleep(0.1)
        there, back = probe.stop()
    assert there.sent > 500
    assert (there.lost, back.lost) == (0, 0)


@contextlib.contextmanager
def host_monitor(host: Host) -> Iterator[Callable[[], list[str]]]:
    """Watch links and routes with ip-monitor(8)."""
    log = host.directory / "log" / "monitor.log"
    with log.open("wb") as output:
        process = subprocess.Popen(host.argv("ip", "monitor", "link", "route"), stdout=output)
    time.sleep(0.3)
    try:
        yield lambda: log.read_text().splitlines()
    finally:
        process.kill()
        process.wait()


def test_killed_and_restarted_it_leaves_interface_addresses_and_routes_as_they_were(ends: Ends) -> None:
    host = ends.a.host
    host.ip("link", "set", "sec0", "mtu", "1400", "alias", "to b")
    host.ip("route", "add", "100.64.0.0/10", "dev", "sec0")
    ends.key(0x4000)
    assert pings(host, B)
    before = host.ip("-j", "addr", "show", "sec0"), host.ip("route"), host.ip("-6", "route", "show", "dev", "sec0")
    index = json.loads(before[0])[0]["ifindex"]
    with host_monitor(host) as changes:
        ends.a.kill()
        after_kill = json.loads(host.ip("-j", "addr", "show", "sec0"))[0]
        assert "LOWER_UP" in after_kill["flags"]
        assert "NO-CARRIER" not in after_kill["flags"]
        ends.a.start()
        assert not [line for line in changes() if "linkdown" in line or "NO-CARRIER" in line]
    after = host.ip("-j", "addr", "show", "sec0"), host.ip("route"), host.ip("-6", "route", "show", "dev", "sec0")
    assert after == before
    with ends.a.connect() as sadb:
        entry = sadb.interfaces()[0]
        assert (entry.name, entry.index, entry.running, entry.mtu) == ("sec0", index, True, 1400)
        assert sadb.dump() == []
        ends.sadb_b.flush()
        ends.sadb_a = sadb
        ends.key(0x4100)
        assert pings(host, B)


def test_interfaces_that_others_delete_are_noticed(ends: Ends) -> None:
    with ends.a.hand_over() as iked:
        iked.send(m.Register(1, "iked"))
        assert told(iked) == m.InterfaceChange("sec0", running=True, exists=True)
        assert told(iked) == m.Done(1)
        ends.a.host.ip("link", "del", "sec0")
        change = told(iked)
        if change == m.InterfaceChange("sec0", running=False, exists=True):  # first it goes down
            change = told(iked)
        assert change == m.InterfaceChange("sec0", running=False, exists=False)
        assert ends.sadb_a.interfaces() == []
        ends.sadb_a.create("sec0")
        assert told(iked) == m.InterfaceChange("sec0", running=False, exists=True)
        ends.a.host.ip("link", "set", "sec0", "up")
        assert told(iked) == m.InterfaceChange("sec0", running=True, exists=True)


def test_a_detached_interface_that_was_deleted_meanwhile_is_let_go(ends: Ends) -> None:
    ends.a.kill()
    ends.a.host.ip("link", "del", "sec0")
    ends.a.start()
    assert any("sec0 was taken away while the data plane was away" in line for line in ends.a.lines)
    with ends.a.connect() as sadb:
        sadb.create("sec0")


def test_ike_datagrams_go_to_iked_and_from_it(ends: Ends) -> None:
    with ends.a.hand_over() as iked_a, ends.b.hand_over() as iked_b:
        for iked in (iked_a, iked_b):
            iked.ask(m.Register(0, "iked"), m.Done)
            assert isinstance(told(iked), m.InterfaceChange)
        for local, remote, port in (
            ("10.77.0.1", "10.77.0.2", 500),
            ("fd77::1", "fd77::2", 4500),
            ("", "10.77.0.2", 4500),
        ):
            iked_a.send(m.Datagram(local, port, remote, port, b"I am an IKE message of some length, look"))
            came = told(iked_b)
            assert isinstance(came, m.Datagram)
            assert (came.local, came.local_port, came.remote_port) == (remote, port, port)
            assert came.remote == (local or "10.77.0.1")
            assert came.data == b"I am an IKE message of some length, look"


def test_a_clean_end_leaves_no_rule_and_no_route(ends: Ends) -> None:
    host = ends.a.host
    assert "lookup 1516" in host.ip("rule")
    assert "eth0" in host.ip("route", "show", "table", "1516")
    assert ends.a.stop() == 0
    for family in ("-4", "-6"):
        assert "1516" not in host.ip(family, "rule")
        assert host.run("ip", family, "route", "show", "table", "1516", check=False).stdout == ""


def test_a_second_data_plane_in_the_same_host_is_told_that_the_port_is_taken(ends: Ends) -> None:
    host = ends.a.host
    host.path("/run/sadb.sock").unlink()
    with pytest.raises(AssertionError, match=r"cannot start.*(500|in use)"), SecProcess(host):
        pass
    assert "lookup 1516" in host.ip("rule")  # the first one's
