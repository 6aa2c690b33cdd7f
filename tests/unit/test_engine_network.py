"""The engine's sockets: IKE in and out, ports, trains of datagrams, errors of others, marks, sizes.

a: sec0 169.254.1.1 ---- veth 10.77.0.1 ==== veth 10.77.0.2 ---- sec0 169.254.1.2 :b
"""

from __future__ import annotations

import itertools
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_support import Pair, inside, ip, make_namespace, wait_until
from scapy.layers.inet import ICMP, IP, UDP
from scapy.utils import checksum

from secd._engine import Engine

pytestmark = pytest.mark.root

B = "169.254.1.2"
UDP_SEGMENT = 103
IKE = bytes(range(1, 65))
IP_RECVTOS, IP_MTU_DISCOVER, IP_PMTUDISC_DO = 13, 10, 2


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    made.attach()
    yield made
    made.close()


@pytest.fixture
def lone() -> Iterator[Pair]:
    """An engine at a, plain sockets at b."""
    made = Pair(engine_at_b=False)
    made.a.attach("sec0", "169.254.1.1", B)
    yield made
    made.close()


@pytest.mark.parametrize("port", [500, 4500])
@pytest.mark.parametrize("ipv6", [False, True], ids=["v4", "v6"])
def test_ike_goes_both_ways_and_names_the_address_that_was_hit(lone: Pair, port: int, ipv6: bool) -> None:
    marker = bytes(4) if port == 4500 else b""
    here, there = lone.ends(ipv6)
    with lone.b.socket(socket.SOCK_DGRAM, ipv6=ipv6, port=port) as peer:
        lone.a.engine.send_ike(here, port, there, port, IKE)
        data, source = peer.recvfrom(2000)
        assert (data, source[:2]) == (marker + IKE, (here, port))
        peer.sendto(marker + IKE[::-1], (here, port))
        assert lone.a.await_event("ike") == ("ike", here, port, there, port, IKE[::-1])


def test_replies_leave_from_the_address_that_was_asked(lone: Pair) -> None:
    ip("-n", lone.a.namespace, "addr", "add", "10.77.0.11/24", "dev", "wire")
    with lone.b.socket(socket.SOCK_DGRAM, port=500) as peer:
        peer.sendto(IKE, ("10.77.0.11", 500))
        event = lone.a.await_event("ike")
        assert event[1:5] == ("10.77.0.11", 500, lone.b.address, 500)
        lone.a.engine.send_ike("10.77.0.11", 500, lone.b.address, 500, IKE)
        assert peer.recvfrom(2000)[1] == ("10.77.0.11", 500)


def test_esp_leaves_from_the_address_of_its_sa(lone: Pair) -> None:
    ip("-n", lone.a.namespace, "addr", "add", "10.77.0.11/24", "dev", "wire")
    lone.a.address = "10.77.0.11"
    lone.add_out(0x1000)
    with lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer, lone.a.socket(socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", (B, 9))
        assert peer.recvfrom(2000)[1] == ("10.77.0.11", 4500)


def test_a_keepalive_leaves_without_a_marker_and_is_not_told(lone: Pair) -> None:
    with lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer:
        lone.a.engine.send_ike(lone.a.address, 4500, lone.b.address, 4500, b"\xff")
        assert peer.recv(2000) == b"\xff"
        peer.sendto(b"\xff", (lone.a.address, 4500))
        assert wait_until(lambda: lone.a.counter("keepalives") == 1)
        assert lone.a.poll() == []


def test_what_is_neither_ike_nor_esp_is_counted(lone: Pair) -> None:
    with lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer:
        for data in (b"", b"\x00", b"abc", b"abcdefg", bytes(4) + b"too short for IKE"):
            peer.sendto(data, (lone.a.address, 4500))
        peer.sendto(b"short", (lone.a.address, 500))
    assert wait_until(lambda: lone.a.counter("drop_malformed") == 6)
    assert lone.a.poll() == []


def test_every_segment_of_a_train_is_classified_by_itself(lone: Pair) -> None:
    """GRO joins what comes from one port, whatever it is."""
    parts = [bytes(4) + bytes([i]) * 96 if i % 2 else struct.pack("!II", 0x5000 + i, 1) + bytes(92) for i in range(10)]
    with lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer:
        peer.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        peer.sendto(b"".join(parts), (lone.a.address, 4500))
    assert wait_until(lambda: lone.a.counter("ike_received") == 5)
    assert lone.a.counter("drop_unknown_spi") == 5
    assert [event[5] for event in lone.a.poll() if event[0] == "ike"] == [bytes([i]) * 96 for i in range(1, 10, 2)]


def test_a_flood_of_ike_is_bounded_and_counted(lone: Pair) -> None:
    with lone.b.socket(socket.SOCK_DGRAM, port=500) as peer:
        for _ in range(40):
            for _ in range(100):
                peer.sendto(IKE, (lone.a.address, 500))
            time.sleep(0.005)
    assert wait_until(lambda: lone.a.counter("drop_ike_queue") > 0)
    assert len(lone.a.poll()) == 2048
    with lone.b.socket(socket.SOCK_DGRAM, port=500) as peer:
        peer.sendto(IKE, (lone.a.address, 500))
        lone.a.events.clear()
        assert lone.a.await_event("ike")


@pytest.mark.parametrize(("port", "share"), [(500, False), (4500, False), (4500, True)])
def test_a_port_in_use_is_named(port: int, share: bool) -> None:
    pair = Pair(engine_at_b=False)
    try:
        with inside(pair.b.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stale:
            stale.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)
            stale.bind(("", port))
            with pytest.raises(OSError, match=f"UDP port {port} is in use") as refused:
                pair.b.engine.open()
        assert refused.value.errno == 98
        pair.b.open()
    finally:
        pair.close()


def test_an_unreachable_peer_fails_nobody_elses_send(pair: Pair) -> None:
    """ICMP about one packet stays on the socket until somebody takes it, or the next send fails of it."""
    pair.add_sas()
    for _ in range(10):
        pair.a.engine.send_ike(pair.a.address, 4500, pair.b.address, 4501, IKE)
        pair.a.engine.send_ike(pair.a.address, 500, pair.b.address, 501, IKE)
        pair.a.engine.send_ike(pair.a.address, 4500, pair.b.address, 4500, IKE)
    assert pair.a.ping(B, "-c", "20", "-i", "0.01")
    assert pair.a.counter("drop_send") == 0
    assert wait_until(lambda: pair.b.counter("ike_received") == 10)


def test_tos_is_copied_out_and_congestion_merged_back(pair: Pair) -> None:
    pair.add_sas()
    spy = pair.b.socket(socket.SOCK_RAW, socket.IPPROTO_UDP)
    with spy, pair.b.socket(socket.SOCK_DGRAM, port=9) as receiver, pair.a.socket(socket.SOCK_DGRAM) as sender:
        receiver.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
        for tos in (0x00, 0xB8, 0x01, 0x02, 0xBB):
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
            sender.sendto(b"marked", (B, 9))
            assert spy.recv(2000)[1] == tos
            _, controls, _, _ = receiver.recvmsg(100, 100)
            assert controls[0][2][0] == tos
            spy.recv(2000)  # the inner packet, which the raw socket sees as well


@pytest.mark.parametrize(("inner", "arrives"), [(2, True), (0, False)], ids=["ECT(0)", "Not-ECT"])
def test_ce_outside_marks_what_is_capable_and_drops_the_rest(lone: Pair, inner: int, arrives: bool) -> None:
    lone.add_in(0x1000, lone.add_out(0x1000))
    with lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer, lone.a.socket(socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, inner)
        sender.sendto(b"x" * 50, (B, 9))
        packet = peer.recv(2000)
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 3)
        peer.sendto(packet, (lone.a.address, 4500))
    counts = lone.a.engine.interface_counters
    assert wait_until(lambda: (counts("sec0")["input_packets"], lone.a.counter("drop_ecn")) == (arrives, not arrives))


def transfer(pair: Pair, octets: int, during: object = None) -> None:
    """Send `octets` by TCP from a to b; `during` is called once half has arrived."""
    data = os.urandom(1 << 16)
    with pair.b.socket(socket.SOCK_STREAM) as listener, pair.a.socket(socket.SOCK_STREAM) as sender:
        listener.bind((B, 5001))
        listener.listen()
        sender.settimeout(20)
        sender.connect((B, 5001))
        receiver, _ = listener.accept()
        receiver.settimeout(20)
        sent = got = 0
        sender.setblocking(False)
        end = time.monotonic() + 40
        with receiver:
            receiver.setblocking(False)
            while got < octets:
                assert time.monotonic() < end, f"{got} of {octets} octets arrived"
                moved = 0
                if sent < octets:
                    try:
                        offset = sent % len(data)
                        moved = sender.send(data[offset : offset + min(len(data), octets - sent)])
                        sent += moved
                    except BlockingIOError:
                        pass
                try:
                    part = receiver.recv(1 << 16)
                    for i in range(0, len(part), 4096):
                        at = (got + i) % len(data)
                        piece = part[i : i + min(4096, len(data) - at)]
                        assert data[at : at + len(piece)] == piece
                    got += len(part)
                    moved += len(part)
                except BlockingIOError:
                    pass
                if during and got > octets // 2:
                    during()
                    during = None
                if not moved:
                    time.sleep(0.001)


def lower_mtu(pair: Pair, mtu: int) -> None:
    for node in (pair.a, pair.b):
        ip("-n", node.namespace, "link", "set", "wire", "mtu", str(mtu))


def stretch(pair: Pair, mtu: int = 1420) -> None:
    for node in (pair.a, pair.b):
        ip("-n", node.namespace, "link", "set", "sec0", "mtu", str(mtu))


@pytest.mark.parametrize("ipv6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("udpencap", [(4500, 4500), None], ids=["udp", "raw"])
def test_tcp_survives_an_underlay_lowered_to_1300(pair: Pair, ipv6: bool, udpencap: tuple[int, int] | None) -> None:
    stretch(pair)
    pair.add_sas(ipv6=ipv6, udpencap=udpencap)
    transfer(pair, 20_000_000, lambda: lower_mtu(pair, 1300))
    if udpencap:
        assert pair.a.counter("gso_refused") > 0


@pytest.mark.parametrize("ipv6", [False, True], ids=["v4", "v6"])
def test_tcp_survives_an_underlay_lowered_to_1300_with_tunneldf(pair: Pair, ipv6: bool) -> None:
    stretch(pair)
    for node in (pair.a, pair.b):
        node.engine.set_interface("sec0", running=True, mtu=1420, tunneldf=True, mss_clamp=False)
    pair.add_sas(ipv6=ipv6)
    transfer(pair, 20_000_000, lambda: lower_mtu(pair, 1300))
    assert pair.a.counter("pmtu_lowered") >= 1
    assert pair.a.counter("pmtu_relayed") >= 1
    assert pair.a.engine.sa_counters(0x1000, "out", pair.ends(ipv6)[1])["pmtu"] == 1300


class Routed:
    """As a pair, but with a router between that has a narrow way to b.

    a 10.77.0.1 ==== 10.77.0.254 router 10.78.0.254 ==== (MTU) 10.78.0.2 b
    """

    _serial = itertools.count()

    def __init__(self, mtu: int) -> None:
        self.pair = pair = Pair()
        pair.attach(mtu=1400)
        self.router = f"ee{os.getpid()}-r{next(self._serial)}"
        make_namespace(self.router)
        for node, net in ((pair.a, "10.77.0"), (pair.b, "10.78.0")):
            side = f"to-{net[3:5]}"
            if node is pair.a:
                ip("-n", node.namespace, "link", "del", "wire")
            ip("-n", node.namespace, "link", "add", "wire", "type", "veth", "peer", "name", side, "netns", self.router)
            node.address = f"{net}.{1 if node is pair.a else 2}"
            ip("-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", "wire")
            node.address6 = f"fd{net[3:5]}::{1 if node is pair.a else 2}"
            ip("-n", node.namespace, "addr", "add", f"{node.address6}/64", "dev", "wire", "nodad")
            ip("-n", node.namespace, "link", "set", "wire", "up")
            ip("-n", self.router, "addr", "add", f"fd{net[3:5]}::254/64", "dev", side, "nodad")
            ip("-n", self.router, "addr", "add", f"{net}.254/24", "dev", side)
            ip("-n", self.router, "link", "set", side, "up")
            ip("-n", node.namespace, "route", "add", "10.0.0.0/8", "via", f"{net}.254")
            ip("-n", node.namespace, "route", "add", "fd00::/8", "via", f"fd{net[3:5]}::254")
        ip("-n", self.router, "link", "set", "to-78", "mtu", str(mtu))
        ip("-n", pair.b.namespace, "link", "set", "wire", "mtu", str(mtu))
        with inside(self.router):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")

    def close(self) -> None:
        self.pair.close()
        ip("netns", "del", self.router)


@pytest.fixture
def routed() -> Iterator[Routed]:
    made = Routed(1300)
    yield made
    made.close()


@pytest.mark.parametrize("udpencap", [(4500, 4500), None], ids=["udp", "raw"])
@pytest.mark.parametrize("tunneldf", [False, True], ids=["-tunneldf", "tunneldf"])
@pytest.mark.parametrize("ipv6", [False, True], ids=["v4", "v6"])
def test_a_narrow_router_on_the_way_is_survived(
    routed: Routed, ipv6: bool, udpencap: tuple[int, int] | None, tunneldf: bool
) -> None:
    pair = routed.pair
    for node in (pair.a, pair.b):
        node.engine.set_interface("sec0", running=True, mtu=1400, tunneldf=tunneldf, mss_clamp=False)
    pair.add_sas(udpencap=udpencap, ipv6=ipv6)
    transfer(pair, 3_000_000)
    assert pair.a.engine.sa_counters(0x1000, "out", pair.ends(ipv6)[1])["pmtu"] == (1300 if tunneldf else 0)
    assert (pair.a.counter("pmtu_relayed") > 0) == tunneldf
    # What may be fragmented passes whatever its size.
    assert pair.a.ping(B, "-s", "1372", "-M", "dont")


def test_what_does_not_fit_is_answered_inside_with_the_size_that_does(routed: Routed) -> None:
    pair = routed.pair
    pair.add_sas()
    for node, address in ((pair.a, "fd00::1"), (pair.b, "fd00::2")):
        ip("-n", node.namespace, "addr", "add", f"{address}/64", "dev", "sec0", "nodad")
        node.engine.set_interface("sec0", running=True, mtu=1400, tunneldf=True, mss_clamp=False)
    assert not pair.a.ping(B, "-s", "1372", "-M", "do")
    # 1300 outside, less IP, UDP, ESP header, IV and ICV, is 1240 of plaintext, two of which are the trailer.
    answer = pair.a.run("ping", "-c", "1", "-W", "1", "-s", "1372", "-M", "do", B, check=False)
    assert "mtu=1238" in answer.stdout + answer.stderr
    assert pair.a.ping(B, "-s", str(1238 - 28), "-M", "do")
    # An IPv6 packet of 1280 octets must pass whatever the path (RFC 8200 §5): it leaves in fragments.
    answer = pair.a.run("ping", "-c", "1", "-W", "1", "-s", "1352", "-M", "do", "fd00::2", check=False)
    assert "mtu=1280" in (answer.stdout + answer.stderr).replace(": ", "=")
    assert pair.a.ping("fd00::2", "-s", str(1280 - 48), "-M", "do")
    assert pair.a.counter("drop_too_big") >= 2


def test_who_names_no_spi_of_ours_lowers_nothing(pair: Pair) -> None:
    """An answer `too big` is believed only if it quotes an outbound SA and says no less than the floor."""
    pair.add_sas()
    pair.a.engine.set_interface("sec0", running=True, mtu=1280, tunneldf=True, mss_clamp=False)
    assert pair.a.ping(B)
    for mtu, spi, believed in ((1000, 0x7777, False), (500, 0x1000, False), (1000, 0x1000, True)):
        quoted = bytes(
            IP(src=pair.a.address, dst=pair.b.address) / UDP(sport=4500, dport=4500) / struct.pack("!I", spi)
        )
        forged = bytes(ICMP(type=3, code=4, nexthopmtu=mtu) / quoted) + bytes(64)
        with pair.b.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP) as forger:
            message = bytearray(forged)
            message[2:4] = bytes(2)
            message[2:4] = checksum(bytes(message)).to_bytes(2, "big")
            before = pair.a.counter("pmtu_ignored") + pair.a.counter("pmtu_lowered")
            forger.sendto(bytes(message), (pair.a.address, 0))
        assert wait_until(
            lambda before=before: pair.a.counter("pmtu_ignored") + pair.a.counter("pmtu_lowered") > before
        )
        learnt = pair.a.engine.sa_counters(0x1000, "out", pair.b.address)["pmtu"]
        assert learnt == (mtu if believed else 0)


def test_mss_is_clamped_in_syns(pair: Pair) -> None:
    stretch(pair)
    pair.add_sas()
    for clamp in (False, True):
        pair.a.engine.set_interface("sec0", running=True, mtu=1000, tunneldf=False, mss_clamp=clamp)
        port = 5001 + clamp
        with pair.b.socket(socket.SOCK_STREAM) as listener, pair.a.socket(socket.SOCK_STREAM) as sender:
            listener.bind((B, port))
            listener.listen()
            sender.connect((B, port))
            receiver, _ = listener.accept()
            with receiver:
                for each in (sender, receiver):
                    mss = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                    assert (mss <= 960) == clamp


def test_idle_workers_use_no_time(pair: Pair) -> None:
    pair.add_sas()
    assert pair.a.ping(B)

    def worker_ticks() -> int:
        total = 0
        for task in Path("/proc/self/task").iterdir():
            name, fields = re.match(r"\d+ \((.*)\) (.*)", (task / "stat").read_text(), re.DOTALL).groups()
            if name.startswith("esp"):
                total += sum(int(field) for field in fields.split()[11:13])
        return total

    before = worker_ticks()
    time.sleep(1)
    assert worker_ticks() - before <= 1


def test_processors_are_kept_awake_while_packets_come_thick_and_fast() -> None:
    asked, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # in place of /dev/cpu_dma_latency
    asked.settimeout(5)
    pair = Pair(latency=device.fileno())
    try:
        pair.attach()
        pair.add_sas()
        assert pair.a.ping(B)  # one in 50 ms
        asked.setblocking(False)
        with pytest.raises(BlockingIOError):
            asked.recv(4)
        asked.settimeout(5)
        command = ["ip", "netns", "exec", pair.a.namespace, "ping", "-q", "-i", "0.002", B]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as fast:
            awake = int.from_bytes(asked.recv(4), sys.byteorder)
            fast.kill()
        assert awake in (0, 2)  # microseconds: in a virtual machine, on metal
        assert int.from_bytes(asked.recv(4), sys.byteorder) == 2_000_000_000
    finally:
        pair.close()
        asked.close()
        device.close()


def test_a_device_taken_away_under_the_engine_makes_no_worker_spin(pair: Pair) -> None:
    pair.add_sas()
    ip("-n", pair.a.namespace, "link", "del", "sec0")
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.2
    pair.a.engine.detach("sec0")


def test_closing_ends_threads_and_frees_ports() -> None:
    pair = Pair(engine_at_b=False)
    try:
        pair.a.engine.close()
        pair.a.engine.close()
        with inside(pair.a.namespace):
            again = Engine(1)
            for _ in range(2):
                again.open()
                with pytest.raises(OSError, match="open already"):
                    again.open()
                again.close()
    finally:
        pair.close()


def test_without_the_right_to_raw_sockets_all_but_protocol_50_works() -> None:
    pair = Pair(engine_at_b=False)
    try:
        script = "from secd._engine import Engine; e = Engine(2); e.open(); print(e.raw_esp, e.workers); e.close()"
        without = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
        assert pair.b.run(*without, sys.executable, "-c", script).stdout.split() == ["False", "2"]
        pair.b.open()
        assert pair.b.engine.raw_esp
    finally:
        pair.close()
