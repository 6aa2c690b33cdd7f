#!/usr/bin/env python3
"""Inject a pair of ESP SAs into a running secd, as any other key-exchange daemon would (docs/sadb.md).

    inject_sa.py INTERFACE LOCAL REMOTE SPI-IN SPI-OUT KEY-IN KEY-OUT      SPIs and keys in hexadecimal

Keys are 36 octets: AES-256-GCM with its salt.  The other end runs the same with both ends exchanged.  To be run by root
with the standard library alone; only the few kinds of MessagePack are written that are needed here.
"""

import os
import socket
import sys


def pack(value):
    """Write a value in MessagePack."""
    if isinstance(value, str):
        data = value.encode()
        return b"\xd9" + bytes([len(data)]) + data
    if isinstance(value, bytes):
        return b"\xc4" + bytes([len(value)]) + value
    if isinstance(value, int):
        return b"\xce" + value.to_bytes(4, "big")
    return b"\xde" + len(value).to_bytes(2, "big") + b"".join(pack(key) + pack(each) for key, each in value.items())


def ask(seam, request):
    """Send a request and wait for its answer: `done`, or `failed` with a message."""
    seam.send(pack(request))
    answer = seam.recv(73728)
    if b"done" not in answer:
        raise SystemExit(
            "refused: " + "".join(c if c.isprintable() else " " for c in answer.decode("ascii", "replace"))
        )


def main():
    """Make the interface unless it is there, and add both SAs: the inbound one first, so that nothing is lost."""
    interface, local, remote, *numbers = sys.argv[1:]
    spi_in, spi_out = (int(each, 16) for each in numbers[:2])
    key_in, key_out = (bytes.fromhex(each) for each in numbers[2:])
    common = {"iface": interface, "encryption": "aes-256-gcm", "udpencap": {"local_port": 4500, "remote_port": 4500}}
    pair = (
        {"spi": spi_in, "direction": "in", "source": remote, "destination": local, "encryption_key": key_in},
        {"spi": spi_out, "direction": "out", "source": local, "destination": remote, "encryption_key": key_out},
    )
    seam = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    seam.connect(os.environ.get("SECD_RUNDIR", "/run/secd") + "/sadb.sock")
    if not os.path.exists(f"/sys/class/net/{interface}"):
        ask(seam, {"type": "ifcreate", "seq": 1, "name": interface})
    for seq, sa in enumerate(pair, 2):
        ask(seam, {"type": "add", "seq": seq, "sa": {**common, **sa}})
    print(f"{interface}: {remote} -> {local} SPI 0x{spi_in:08x}, {local} -> {remote} SPI 0x{spi_out:08x}")


if __name__ == "__main__":
    main()
