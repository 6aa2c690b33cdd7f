"""Packets made by hand: hostile ones, odd ones, and trains of them, to an engine whose peer is a plain socket.

a: sec0 169.254.1.1, the engine ==== veth ==== b: sockets
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from engine_support import Pair, wait_until
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

pytestmark = pytest.mark.root

A, B = "169.254.1.1", "169.254.1.2"
SPI = 0x1000
KEY = bytes(range(20))
UDP_SEGMENT, SO_NO_CHECK, UDP_GRO = 103, 11, 104


@pytest.fixture
def lone() -> Iterator[Pair]:
    """The engine at a takes NULL with HMAC-SHA1, so that anything can be put inside."""
    made = Pair(engine_at_b=False)
    made.a.attach("sec0", A, B)
    made.add_in(SPI, {"encryption": "null", "encryption_key": b"", "auth": "hmac-sha1", "auth_key": KEY})
    yield made
    made.close()


def esp(sequence: int, inner: bytes, next_header: int = 4, *, pad: int | None = None, spi: int = SPI) -> bytes:
    """NULL and HMAC-SHA1-96, RFC 4303 §2; `pad` is what the trailer claims, which may be wrong."""
    length = -(len(inner) + 2) % 4
    body = struct.pack("!II", spi, sequence) + inner + bytes(range(1, length + 1))
    body += bytes([length if pad is None else pad, next_header])
    return body + hmac.digest(KEY, body, hashlib.sha1)[:12]


def inner(payload: bytes = b"hello", port: int = 9) -> bytes:
    return bytes(IP(src=B, dst=A, flags="DF") / UDP(sport=7, dport=port) / Raw(payload))


def send(lone: Pair, *packets: bytes) -> None:
    with lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer:
        for packet in packets:
            peer.sendto(packet, (lone.a.address, 4500))


@pytest.mark.parametrize(
    ("packet", "counter"),
    [
        (esp(1, bytes(40), 59), "tfc_dummies"),
        (esp(1, bytes(40), 137), "drop_inner_protocol"),
        (esp(1, inner(), 41), "drop_malformed"),
        (esp(1, inner(), pad=255), "drop_malformed"),
        (esp(1, inner()[:-8]), "drop_malformed"),
        (esp(1, b"\x45"), "drop_malformed"),
        (esp(1, b""), "drop_malformed"),
        (esp(1, inner())[:-1], "drop_auth"),
        (esp(1, inner())[:12], "drop_auth"),
        (esp(0, inner()), "drop_replay"),
        (esp(1, inner(), spi=SPI + 1), "drop_unknown_spi"),
    ],
    ids=[
        "dummy",
        "mpls",
        "v4-said-to-be-v6",
        "padding",
        "cut-inside",
        "one-octet",
        "empty",
        "cut",
        "short",
        "zero",
        "spi",
    ],
)
def test_what_must_not_pass_is_counted_by_its_reason(lone: Pair, packet: bytes, counter: str) -> None:
    send(lone, packet)
    assert wait_until(lambda: lone.a.counter(counter) == 1)
    assert lone.a.engine.interface_counters("sec0")["input_packets"] == 0
    with lone.a.socket(socket.SOCK_DGRAM, port=9) as receiver:
        send(lone, esp(2, inner()))
        assert receiver.recv(100) == b"hello"


def test_octets_by_chance_are_all_refused_and_none_ends_a_worker(lone: Pair) -> None:
    head = struct.pack("!I", SPI)
    packets = [(head if i % 2 else b"") + os.urandom(i % 120) for i in range(400)]
    send(lone, *packets)
    with lone.a.socket(socket.SOCK_DGRAM, port=9) as receiver:
        send(lone, esp(1, inner()))
        assert receiver.recv(100) == b"hello"
    assert not [event for event in lone.a.poll() if event[0] == "fatal"]


def test_authentic_inner_packets_by_chance_end_no_worker(lone: Pair) -> None:
    for i in range(300):
        body = bytearray(os.urandom(20 + i % 100))
        body[0] = 0x45 if i % 3 else 0x60
        body[2:4] = len(body).to_bytes(2, "big")
        body[4:6] = (max(len(body) - 40, 0)).to_bytes(2, "big") if body[0] == 0x60 else body[4:6]
        body[9 if body[0] == 0x45 else 6] = (6, 17, 1)[i % 3]
        send(lone, esp(1 + i, bytes(body), 4 if body[0] == 0x45 else 41))
    with lone.a.socket(socket.SOCK_DGRAM, port=9) as receiver:
        send(lone, esp(301, inner()))
        assert receiver.recv(100) == b"hello"


def test_padding_beyond_the_inner_packet_is_cut_off(lone: Pair) -> None:
    with lone.a.socket(socket.SOCK_DGRAM, port=9) as receiver:
        send(lone, esp(1, inner() + bytes(200)))
        assert receiver.recv(300) == b"hello"
    assert lone.a.engine.sa_counters(SPI, "in", lone.a.address)["inner_bytes"] == len(inner())


def test_a_train_without_udp_checksums_is_taken(lone: Pair) -> None:
    """Zero checksums (RFC 3948 §2.1) are not joined by the kernel."""
    with (
        lone.a.socket(socket.SOCK_DGRAM, port=9) as receiver,
        lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer,
    ):
        peer.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        for i in range(100):
            peer.sendto(esp(1 + i, inner(bytes([i]) * 100)), (lone.a.address, 4500))
        for i in range(100):
            assert receiver.recv(200) == bytes([i]) * 100


def test_a_train_of_two_sas_reaches_both_whichever_worker_gets_it(lone: Pair) -> None:
    """Steering is no guarantee: the kernel joins by addresses and ports and looks at the first segment only."""
    lone.add_in(SPI + 1, {"encryption": "null", "encryption_key": b"", "auth": "hmac-sha1", "auth_key": KEY})
    packets = [esp(1 + i // 2, inner(bytes([i]) * 100), spi=SPI + i % 2) for i in range(40)]
    with (
        lone.a.socket(socket.SOCK_DGRAM, port=9) as receiver,
        lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer,
    ):
        peer.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(packets[0]))
        peer.sendto(b"".join(packets), (lone.a.address, 4500))
        assert [receiver.recv(200)[0] for _ in packets] == list(range(40))
    for spi in (SPI, SPI + 1):
        assert lone.a.engine.sa_counters(spi, "in", lone.a.address)["packets"] == 20
    assert lone.a.counter("other_worker") > 0


def test_reordered_packets_within_the_window_pass_and_older_ones_do_not(lone: Pair) -> None:
    numbers = [100, 37, 99, 38, 36, 101, 37]  # a window of 64: at 100, down to 37
    send(lone, *(esp(number, inner()) for number in numbers))
    assert wait_until(lambda: lone.a.counter("drop_replay") == 2)
    assert lone.a.engine.sa_counters(SPI, "in", lone.a.address)["packets"] == 5
    assert lone.a.engine.sa_counters(SPI, "in", lone.a.address)["rpl"] == 101


def test_runs_of_udp_are_joined_for_the_interface(lone: Pair) -> None:
    """A receiver that asks for trains (UDP_GRO) gets one: so they came in as one."""
    packets = [esp(1 + i, inner(bytes([i]) * 100)) for i in range(20)]
    with (
        lone.a.socket(socket.SOCK_DGRAM, port=9) as receiver,
        lone.b.socket(socket.SOCK_DGRAM, port=4500) as peer,
    ):
        receiver.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        peer.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(packets[0]))
        peer.sendto(b"".join(packets), (lone.a.address, 4500))
        assert receiver.recv(65535) == b"".join(bytes([i]) * 100 for i in range(20))
    assert wait_until(lambda: lone.a.engine.interface_counters("sec0")["input_packets"] == 20)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    made.attach()
    yield made
    made.close()


def test_udp_super_packets_pass_the_tunnel(pair: Pair) -> None:
    pair.add_sas()
    data = os.urandom(1000 * 60)
    with pair.b.socket(socket.SOCK_DGRAM, port=9) as receiver, pair.a.socket(socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sender.sendto(data, (B, 9))
        assert b"".join(receiver.recv(2000) for _ in range(60)) == data
    assert pair.a.engine.sa_counters(SPI, "out", pair.b.address)["packets"] == 60


def test_a_hard_lifetime_cuts_a_super_packet_where_it_ends(pair: Pair) -> None:
    pair.add_sas(hard_packets=25)
    with pair.a.socket(socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sender.sendto(bytes(40_000), (B, 9))
    assert wait_until(lambda: pair.a.counter("drop_hard_lifetime") >= 15)
    assert pair.a.engine.sa_counters(SPI, "out", pair.b.address)["packets"] == 25
    assert wait_until(lambda: pair.b.engine.sa_counters(SPI, "in", pair.b.address)["packets"] == 25)
    assert [event for event in pair.a.poll() if event[0] == "expire"] == [
        ("expire", SPI, "out", pair.b.address, "hard", "packets")
    ]


def test_inner_fragments_pass(pair: Pair) -> None:
    pair.add_sas()
    assert pair.a.ping(B, "-s", "5000")
    pair.add_sas(spi=0x2000, udpencap=None, encryption="aes-256", auth="hmac-sha2-256")
    assert pair.a.ping(B, "-s", "5000")
