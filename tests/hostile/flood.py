"""A flooder: runs in a host of the lab and sends forged UDP datagrams, bounded in number and rate.

    python flood.py KIND --to ADDRESS --count N --rate N [--port N] [--source ADDRESS]

Sources are forged (a raw socket), each another address of 198.18.0.0/15 unless one is given.  It sends to the one
address that it is told and ends by itself.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import random
import socket
import struct
import sys
import time
from collections.abc import Callable

MAX_COUNT, MAX_SECONDS = 200_000, 60.0
_SOURCES = int(ipaddress.ip_address("198.18.0.0"))


def main() -> int:
    """Send; print how many were sent in how many seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--to", required=True)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=10_000.0)
    parser.add_argument("--port", type=int, default=500)
    parser.add_argument("--source", default="")
    arguments = parser.parse_args()
    if not ipaddress.ip_address(arguments.to).is_private:
        raise SystemExit("only addresses of a lab")
    make = KINDS[arguments.kind]
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    rng = random.Random(1)
    count = min(arguments.count, MAX_COUNT)
    began = time.monotonic()
    sent = 0
    while sent < count and time.monotonic() - began < MAX_SECONDS:
        due = min(count, int((time.monotonic() - began) * arguments.rate) + 1)
        while sent < due:
            source = arguments.source or str(ipaddress.ip_address(_SOURCES + rng.randrange(1, 1 << 17)))
            data = make(rng, arguments.port)
            try:
                sport = rng.choice((500, 4500, rng.randrange(1024, 65536)))
                sock.sendto(packet(source, arguments.to, sport, arguments.port, data), (arguments.to, 0))
            except OSError:  # the queue of the interface is full: that one is lost
                time.sleep(0.001)
            sent += 1
        time.sleep(0.0005)
    print(f"{sent} in {time.monotonic() - began:.2f} s")
    return 0


def packet(source: str, destination: str, sport: int, dport: int, data: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram; the kernel writes the checksum of the IP header, UDP has none."""
    udp = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                         socket.inet_aton(source), socket.inet_aton(destination))  # fmt: skip
    return header + udp


# -- what is sent -----------------------------------------------------------------------------------------


def offer(rng: random.Random, port: int) -> bytes:
    """Main mode's first message, with a transform that is acceptable: AES-256, SHA2-256, PSK, modp2048."""
    attributes = bytes.fromhex("80010007800e010080020004800300018004000e800b0001800c0e10")
    transform = struct.pack("!BBHBBH", 0, 0, 8 + len(attributes), 1, 1, 0) + attributes
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(transform), 1, 1, 0, 1) + transform
    body = struct.pack("!BBHII", 0, 0, 12 + len(proposal), 1, 1) + proposal
    return marker(port) + header(rng.randbytes(8) + bytes(8), 1, 2, 0, 0, body)


def lies(rng: random.Random, port: int) -> bytes:
    """A notification in clear: INVALID-SPI, INVALID-COOKIE, INITIAL-CONTACT, or a delete."""
    cookies = bytes.fromhex(os.environ.get("COOKIES", "")) or rng.randbytes(16)
    if rng.random() < 0.5:
        kind = rng.choice((1, 4, 11, 14, 16, 18, 24, 24578))
        body = struct.pack("!BBHIBBH", 0, 0, 28, 1, 1, 16, kind) + cookies
        first = 11
    else:
        protocol, spi = rng.choice(((1, cookies), (3, bytes.fromhex(os.environ.get("SPI", "00001000")))))
        body = struct.pack("!BBHIBBH", 0, 0, 12 + len(spi), 1, protocol, len(spi), 1) + spi
        first = 12
    return marker(port) + header(cookies, first, 5, 0, rng.getrandbits(32), body)


def noise(rng: random.Random, port: int) -> bytes:
    """Octets that mean nothing, of any length up to the largest."""
    return marker(port) + rng.randbytes(rng.choice((0, 1, 27, 28, 100, 1400)))


def unknown(rng: random.Random, port: int) -> bytes:
    """Encrypted messages of SAs that are not there, or of one that is, without its key."""
    cookies = bytes.fromhex(os.environ.get("COOKIES", "")) or rng.randbytes(16)
    return marker(port) + header(cookies, 8, rng.choice((2, 5, 32)), 1, rng.getrandbits(32), rng.randbytes(64))


def esp(rng: random.Random, port: int) -> bytes:
    """ESP of SAs that are not there, or with an SPI that is and a check value that is wrong."""
    spi = bytes.fromhex(os.environ.get("SPI", "")) if rng.random() < 0.5 else b""
    number = rng.getrandbits(20).to_bytes(4, "big")
    return (spi or rng.randbytes(4)) + number + rng.randbytes(rng.choice((8, 100, 1300)))


def marker(port: int) -> bytes:
    """The non-ESP marker."""
    return bytes(4) if port == 4500 else b""


def header(cookies: bytes, first: int, exchange: int, flags: int, message_id: int, body: bytes) -> bytes:
    """An ISAKMP header and what follows it."""
    return cookies + struct.pack("!BBBBII", first, 0x10, exchange, flags, message_id, 28 + len(body)) + body


KINDS: dict[str, Callable[[random.Random, int], bytes]] = {
    "offer": offer,
    "lies": lies,
    "noise": noise,
    "unknown": unknown,
    "esp": esp,
}

if __name__ == "__main__":
    sys.exit(main())
