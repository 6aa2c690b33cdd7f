"""Every cipher both ways against scapy's ESP (scapy.layers.ipsec), through real sockets and a real TUN.

a: sec0 169.254.1.1, the engine  ==== veth ====  b: scapy and plain sockets
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from engine_support import Pair, ip, sa_arguments, sa_keys
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.packet import Packet, Raw

pytestmark = pytest.mark.root

# Our names, and scapy's.
CRYPT = {
    "aes-128-gcm": "AES-GCM", "aes-192-gcm": "AES-GCM", "aes-256-gcm": "AES-GCM",
    "chacha20-poly1305": "CHACHA20-POLY1305", "aes-128": "AES-CBC", "aes-192": "AES-CBC", "aes-256": "AES-CBC",
    "null": "NULL",
}  # fmt: skip
AUTH = {
    "": None, "hmac-sha1": "HMAC-SHA1-96", "hmac-sha2-256": "SHA2-256-128", "hmac-sha2-384": "SHA2-384-192",
    "hmac-sha2-512": "SHA2-512-256",
}  # fmt: skip
SUITES = [
    ("aes-128-gcm", ""), ("aes-192-gcm", ""), ("aes-256-gcm", ""), ("chacha20-poly1305", ""),
    ("aes-128", "hmac-sha1"), ("aes-192", "hmac-sha1"), ("aes-256", "hmac-sha1"),
    ("aes-128", "hmac-sha2-256"), ("aes-256", "hmac-sha2-256"), ("aes-256", "hmac-sha2-384"),
    ("aes-256", "hmac-sha2-512"), ("null", "hmac-sha1"), ("null", "hmac-sha2-256"),
]  # fmt: skip
OUTSIDE = ["udp-v4", "udp-v6", "raw-v4", "raw-v6"]
SEQUENCE_LOW = 0x0000_00F0

_spis = count(0x1000, 0x10)


class Bench:
    """The pair of hosts, and b's sockets for each way outside."""

    def __init__(self) -> None:
        self.pair = Pair(engine_at_b=False)
        self.pair.a.attach("sec0", "169.254.1.1", "169.254.1.2", mtu=1400)
        ip("-n", self.pair.a.namespace, "addr", "add", "fd00::1/64", "dev", "sec0", "nodad")
        b = self.pair.b
        self.sockets = {
            "udp-v4": b.socket(socket.SOCK_DGRAM, port=4500),
            "udp-v6": b.socket(socket.SOCK_DGRAM, ipv6=True, port=4500),
            "raw-v4": b.socket(socket.SOCK_RAW, socket.IPPROTO_ESP),
            "raw-v6": b.socket(socket.SOCK_RAW, socket.IPPROTO_ESP, ipv6=True),
        }

    def close(self) -> None:
        for each in self.sockets.values():
            each.close()
        self.pair.close()


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


class Association:
    """An SA at the engine and its like in scapy, in one direction."""

    def __init__(self, bench: Bench, outside: str, direction: str, suite: tuple[str, str], **options: Any) -> None:
        self.bench, self.outside, self.spi = bench, outside, next(_spis)
        self.v6, self.udp = outside.endswith("v6"), outside.startswith("udp")
        ends = bench.pair.ends(self.v6)
        source, destination = ends if direction == "out" else ends[::-1]
        keys = sa_keys(*suite)
        self.sequence = options.get("sequence", 0)
        bench.pair.a.engine.add_sa(**sa_arguments(
            self.spi, "sec0", source, destination, direction=direction, **keys, **options,
            udpencap=(4500, 4500) if self.udp else None,
        ))  # fmt: skip
        self.forget = (self.spi, direction, destination)
        header = IPv6 if self.v6 else IP
        self.scapy = SecurityAssociation(
            ESP, spi=self.spi, seq_num=(self.sequence + 1) & 0xFFFFFFFF,
            crypt_algo=CRYPT[suite[0]], crypt_key=keys["encryption_key"] or None,
            auth_algo=AUTH[suite[1]], auth_key=keys["auth_key"] or None,
            tunnel_header=header(src=source, dst=destination),
            nat_t_header=UDP(sport=4500, dport=4500) if self.udp and not self.v6 else None,
            esn_en=options.get("esn", False), esn=(self.sequence + 1) >> 32,
        )  # fmt: skip
        self.outer = header(src=source, dst=destination)

    def __enter__(self) -> Association:
        return self

    def __exit__(self, *_: object) -> None:
        self.bench.pair.a.engine.delete_sa(*self.forget)

    def receive(self) -> Packet:
        """The next ESP packet at b, decrypted by scapy: the inner packet."""
        data = self.bench.sockets[self.outside].recv(65535)
        if self.outside == "raw-v4":
            data = data[(data[0] & 15) * 4 :]
        esp = ESP(data)
        assert esp.spi == self.spi
        packet = self.outer.copy()
        if self.v6:
            packet.nh = socket.IPPROTO_ESP
        else:
            packet.proto = socket.IPPROTO_ESP
        # scapy looks for ESP right behind the outer header.
        return self.scapy.decrypt(packet / esp)

    def esp(self, inner: Packet) -> bytes:
        """`inner` as scapy encrypts it: the ESP packet."""
        return bytes(self.scapy.encrypt(inner)[ESP])

    def send(self, esp: bytes) -> None:
        destination = self.bench.pair.a.address6 if self.v6 else self.bench.pair.a.address
        self.bench.sockets[self.outside].sendto(esp, (destination, 4500 if self.udp else 0))


def inner_to(port: int, payload: bytes, *, v6: bool = False) -> Packet:
    addresses = IPv6(src="fd00::2", dst="fd00::1") if v6 else IP(src="169.254.1.2", dst="169.254.1.1")
    return addresses / UDP(sport=7, dport=port) / Raw(payload)


def check_out(bench: Bench, association: Association, *, v6: bool = False) -> None:
    """What a sends into sec0 scapy decrypts, at several lengths for every padding."""
    with association, bench.pair.a.socket(socket.SOCK_DGRAM, ipv6=v6) as sender:
        for length in (0, 1, 2, 3, 15, 16, 17, 600, 1300):
            payload = bytes(range(256)) * 6
            sender.sendto(payload[:length], ("fd00::2" if v6 else "169.254.1.2", 9))
            inner = association.receive()
            assert inner[IPv6 if v6 else IP].dst == ("fd00::2" if v6 else "169.254.1.2")
            assert inner[UDP].dport == 9
            assert bytes(inner[UDP].payload)[:length] == payload[:length]
            received = inner[UDP].chksum
            del inner[UDP].chksum
            assert type(inner)(bytes(inner))[UDP].chksum == received


def check_in(bench: Bench, association: Association, *, v6: bool = False) -> None:
    """What scapy encrypts arrives at a socket behind sec0."""
    with association, bench.pair.a.socket(socket.SOCK_DGRAM, ipv6=v6) as receiver:
        receiver.bind(("", 0))
        for length in (0, 1, 2, 3, 15, 16, 17, 600, 1300):
            payload = (bytes(range(256)) * 6)[:length]
            association.send(association.esp(inner_to(receiver.getsockname()[1], payload, v6=v6)))
            assert receiver.recv(2000) == payload


@pytest.mark.parametrize("suite", SUITES, ids="/".join)
def test_scapy_decrypts_what_the_engine_sends(bench: Bench, suite: tuple[str, str]) -> None:
    check_out(bench, Association(bench, "udp-v4", "out", suite))


@pytest.mark.parametrize("suite", SUITES, ids="/".join)
def test_the_engine_decrypts_what_scapy_sends(bench: Bench, suite: tuple[str, str]) -> None:
    check_in(bench, Association(bench, "udp-v4", "in", suite))


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("v6", [False, True], ids=["inner-v4", "inner-v6"])
def test_every_way_outside_carries_both_families(bench: Bench, outside: str, v6: bool) -> None:
    check_out(bench, Association(bench, outside, "out", ("aes-256", "hmac-sha2-256")), v6=v6)
    check_in(bench, Association(bench, outside, "in", ("aes-256", "hmac-sha2-256")), v6=v6)


ESN_SUITES = [suite for suite in SUITES if suite[0] in ("aes-128-gcm", "aes-256-gcm", "aes-256", "null")]


@pytest.mark.parametrize("suite", ESN_SUITES, ids="/".join)
def test_extended_sequence_numbers_agree(bench: Bench, suite: tuple[str, str]) -> None:
    options = {"esn": True, "sequence": 0x5_0000_0000 | SEQUENCE_LOW}
    check_out(bench, Association(bench, "udp-v4", "out", suite, **options))
    check_in(bench, Association(bench, "udp-v4", "in", suite, **options))
