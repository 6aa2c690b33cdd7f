"""Numbered UDP both ways at a steady rate: what was lost, doubled or overtaken, and the longest silence.

`Probe` runs this module as a program at either end.  Its lines: `go`, `stop` (stop sending), `count`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Self

from secd.lab.namespaces import Host
from secd.lab.tool import Tool, answer

PORT = 7007
#: Seconds to wait for stragglers after both ends have stopped sending.
LINGER = 0.7
_NUMBER = struct.Struct("!Q")


@dataclass(frozen=True)
class Stream:
    """One direction.  `longest_gap` is the longest time in milliseconds between two arrivals."""

    sent: int
    received: int
    duplicates: int
    reordered: int
    longest_gap: float
    missing: tuple[tuple[int, int], ...]

    @property
    def lost(self) -> int:
        """How many never came."""
        return self.sent - self.received

    def __str__(self) -> str:
        """Say it in a line."""
        return (
            f"{self.sent} sent, {self.lost} lost, {self.duplicates} doubled, {self.reordered} overtaken, "
            f"longest gap {self.longest_gap:.0f} ms"
        )


class Probe:
    """Traffic between two hosts' addresses, from construction until `stop`.  Leaving the context ends it."""

    def __init__(self, a: Host, a_address: str, b: Host, b_address: str, *, rate: int = 1000, size: int = 64) -> None:
        """Start sending `rate` datagrams a second of `size` octets each way."""
        common = ["--rate", str(rate), "--size", str(size)]
        self._a = Tool(a, "probe", "--bind", a_address, "--to", b_address, *common)
        try:
            self._b = Tool(b, "probe", "--bind", b_address, "--to", a_address, *common)
        except BaseException:
            self._a.close()
            raise
        self._a.ask("go")
        self._b.ask("go")

    def received(self) -> tuple[int, int]:
        """Give how many have arrived so far at `b` and at `a`."""
        return self._b.ask("count")["received"], self._a.ask("count")["received"]

    def stop(self) -> tuple[Stream, Stream]:
        """Stop sending, wait for stragglers; give the streams from `a` to `b` and from `b` to `a`."""
        self._a.ask("stop")
        self._b.ask("stop")
        time.sleep(LINGER)
        at_a, at_b = self._a.ask("count"), self._b.ask("count")
        self.close()
        return _stream(at_a["sent"], at_b), _stream(at_b["sent"], at_a)

    def close(self) -> None:
        """End both programs."""
        self._a.close()
        self._b.close()

    def __enter__(self) -> Self:
        """Nothing more to do: it runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """End both programs."""
        self.close()


def _stream(sent: int, seen: dict[str, object]) -> Stream:
    fields = {name: seen[name] for name in ("received", "duplicates", "reordered", "longest_gap")}
    missing = tuple((first, last) for first, last in seen["missing"])  # type: ignore[attr-defined]
    return Stream(sent=sent, missing=missing, **fields)  # type: ignore[arg-type]


class Receiver:
    """What has arrived."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seen = bytearray()
        self.received = self.duplicates = self.reordered = 0
        self.highest = -1
        self.last: float | None = None
        self.longest_gap = 0.0

    def take(self, number: int, now: float) -> None:
        """Count number `number`, which came at `now` seconds."""
        if self.last is not None:
            self.longest_gap = max(self.longest_gap, (now - self.last) * 1000)
        self.last = now
        if number >= len(self.seen):
            self.seen.extend(bytes(number + 1024 - len(self.seen)))
        if self.seen[number]:
            self.duplicates += 1
            return
        self.seen[number] = 1
        self.received += 1
        if number < self.highest:
            self.reordered += 1
        self.highest = max(self.highest, number)

    def missing(self, limit: int = 50) -> list[tuple[int, int]]:
        """Give the runs of numbers below the highest that never came, first and last of each, `limit` of them."""
        runs: list[tuple[int, int]] = []
        at = self.seen.find(0, 0, self.highest + 1)
        while at >= 0 and len(runs) < limit:
            end = self.seen.find(1, at, self.highest + 1)
            runs.append((at, end - 1))
            at = self.seen.find(0, end, self.highest + 1)
        return runs


def main(argv: list[str] | None = None) -> None:
    """Send and receive until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m secd.lab.probe")
    parser.add_argument("--bind", required=True)
    parser.add_argument("--to", required=True)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args(argv)
    family = socket.AF_INET6 if ":" in options.bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock, selectors.DefaultSelector() as selector:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((options.bind, PORT))
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        _loop(sock, selector, (options.to, PORT), 1 / options.rate, bytes(max(0, options.size - _NUMBER.size)))


def _loop(
    sock: socket.socket, selector: selectors.BaseSelector, to: tuple[str, int], interval: float, padding: bytes
) -> None:
    receiver = Receiver()
    sent, following = 0, 0.0
    sending = False
    answer(ready=True)
    while True:
        now = time.monotonic()
        wait = max(0.0, following - now) if sending else None
        for key, _ in selector.select(wait):
            if key.fileobj is sock:
                _receive(sock, receiver)
                continue
            match os.read(sys.stdin.fileno(), 100).decode().strip():
                case "go":
                    sending, following = True, time.monotonic()
                    answer(going=True)
                case "stop":
                    sending = False
                    answer(stopped=True)
                case "count":
                    answer(
                        sent=sent, received=receiver.received, duplicates=receiver.duplicates,
                        reordered=receiver.reordered, longest_gap=receiver.longest_gap, missing=receiver.missing(),
                    )  # fmt: skip
                case _:
                    return
        while sending and time.monotonic() >= following:
            with contextlib.suppress(OSError):  # no route, no buffer: it was meant to go, so it counts as lost
                sock.sendto(_NUMBER.pack(sent) + padding, to)
            sent += 1
            following += interval


def _receive(sock: socket.socket, receiver: Receiver) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            data = sock.recv(2048)
            if len(data) >= _NUMBER.size:
                number = _NUMBER.unpack_from(data)[0]
                if number < 1 << 28:
                    receiver.take(number, time.monotonic())


if __name__ == "__main__":
    main()
