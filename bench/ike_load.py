"""The other side of handshakes: our own speaker with many connections and a data plane that does nothing.

As a program (`python -m bench.ike_load`) it stands in a host of the lab and speaks for the addresses 10.1.X.Y with one
peer.  Its lines: `begin N WINDOW` (N connections, WINDOW at a time), `wait N` (until N are up), `end`; each is answered
by one line.
"""

from __future__ import annotations

import argparse
import itertools
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable

from secd.ike.connection import ChildProposal, Cipher, Connection, IKEProposal, IKEv2, PreSharedKey
from secd.ike.contract import (
    AddSA,
    Answer,
    ComputePRF,
    ComputeSharedSecret,
    DeleteSA,
    Encapsulate,
    GenerateKeyPair,
    LastUse,
    Output,
    PRFResult,
    QueryLastUse,
    QueryTime,
    ReservedSPI,
    ReserveSPI,
    Send,
    TimeOfDay,
)
from secd.ike.crypto.hashes import hash_named
from secd.ike.speaker import Speaker
from secd.iked.compute import compute
from secd.sadb.messages import Datagram

PSK = b"correct horse battery staple"
IKE, NATT, MARKER = 500, 4500, bytes(4)
#: Linux's option by which the address of ours is told and chosen, and its `struct in_pktinfo`.
_IP_PKTINFO, _PKTINFO = 8, struct.Struct("@I4s4s")


def address(number: int) -> str:
    """The address of connection `number` on this side."""
    return f"10.1.{number // 250}.{number % 250 + 1}"


def connection(local: str, peer: str, name: str, name_of_group: str, *, active: bool) -> Connection:
    """One of many that differ by their addresses alone."""
    gcm = Cipher("aes-gcm", 256, 128, 256)
    settings = IKEv2((IKEProposal((gcm,), ("hmac-sha2-256",), (), (name_of_group,)),), (ChildProposal((gcm,), ()),),
                     mobike=False)  # fmt: skip
    return Connection(
        name=name, origin="bench: 1", iface=name, version=2, local=local, peer=peer,
        mode="active" if active else "passive", auth=PreSharedKey("key"), dpd=None, ikev2=settings,
    )  # fmt: skip


class Peer:
    """A speaker, whose questions are answered at once."""

    def __init__(self, send: Callable[[Send], object], clock: Callable[[], float]) -> None:
        """What it sends goes to `send`."""
        self.speaker = Speaker(os.urandom)
        self._send, self._clock = send, clock
        self._spis = itertools.count(0x1000)
        self.up: set[str] = set()

    def configure(self, connections: list[Connection]) -> None:
        """Have these connections."""
        self.speaker.configure(connections, self._clock())
        self.carry_out()

    def receive(self, datagram: Datagram) -> None:
        """A message came."""
        self.speaker.receive(datagram, self._clock())
        self.carry_out()

    def tick(self) -> None:
        """Do what has become due."""
        deadline = self.speaker.next_deadline()
        if deadline is not None and deadline <= self._clock():
            self.speaker.handle_timer(self._clock())
            self.carry_out()

    def carry_out(self) -> None:
        """Do what the speaker wants."""
        while outputs := self.speaker.outputs():
            for output in outputs:
                self._one(output)

    def _one(self, output: Output) -> None:
        if isinstance(output, Send):
            self._send(output)
        elif isinstance(output, AddSA):
            if output.sa.direction == "out":
                self.up.add(output.sa.iface)
        elif isinstance(output, DeleteSA):
            pass
        elif isinstance(output, _Question):
            self.speaker.answer(output.request_id, self._answer(output), self._clock())

    def _answer(self, question: Question) -> Answer:
        match question:
            case ReserveSPI():
                return ReservedSPI(next(self._spis))
            case GenerateKeyPair() | ComputeSharedSecret() | Encapsulate():
                return compute(question)
            case ComputePRF(_, _, name, data, pad):
                prf = hash_named(name).prf
                return PRFResult(prf(prf(PSK, pad) if pad else PSK, data))
            case QueryLastUse():
                return LastUse(None)
            case QueryTime():
                return TimeOfDay(time.time())


Question = ReserveSPI | GenerateKeyPair | ComputeSharedSecret | Encapsulate | ComputePRF | QueryLastUse | QueryTime
_Question = Question


class Load:
    """The speaker on two sockets for all addresses of its host."""

    def __init__(self, peer: str, name_of_group: str) -> None:
        """Open the sockets."""
        self._to, self._group = peer, name_of_group
        self._sockets = {port: self._open(port) for port in (IKE, NATT)}
        self._peer = Peer(self._send, time.monotonic)
        self._wanted = self._window = 0
        self._active = False
        self._goal: int | None = None
        self._begun = 0.0

    @staticmethod
    def _open(port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.setblocking(False)
        sock.bind(("0.0.0.0", port))
        return sock

    def _send(self, send: Send) -> None:
        data = (MARKER if send.local_port == NATT else b"") + send.data
        control = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, socket.inet_aton(send.local), bytes(4)))]
        self._sockets[send.local_port].sendmsg([data], control, 0, (send.remote, send.remote_port))

    def _receive(self, port: int) -> None:
        try:
            data, control, _, (remote, remote_port) = self._sockets[port].recvmsg(65536, 64)
        except BlockingIOError:
            return
        if port == NATT:
            if data[:4] != MARKER:
                return
            data = data[4:]
        local = socket.inet_ntoa(_PKTINFO.unpack(control[0][2])[2])
        self._peer.receive(Datagram(local, port, remote, remote_port, data))

    def _configure(self, count: int) -> None:
        self._peer.configure([
            connection(address(n), self._to, f"sec{n}", self._group, active=self._active) for n in range(count)
        ])  # fmt: skip
        self._wanted = count

    def command(self, words: list[str]) -> None:
        """Begin what a line asks for."""
        match words:
            case ["begin", count, window]:
                self._active, self._goal, self._window = True, int(count), int(window)
                self._begun = time.monotonic()
                self._configure(min(self._goal, self._window))
            case ["wait", count]:
                self._active, self._goal, self._window = False, int(count), 0
                self._configure(self._goal)
                print("waiting", flush=True)
                self._begun = time.monotonic()
            case ["end"]:
                self._goal = None
                self._peer.configure([])
                self._peer.up.clear()
                self._wanted = 0
                print("ended", flush=True)

    def progress(self) -> None:
        """Begin more, or say that all are up."""
        done = len(self._peer.up)
        if self._goal is None:
            return
        if done >= self._goal:
            print(f"up {time.monotonic() - self._begun:.4f}", flush=True)
            self._goal = None
        elif self._active and self._wanted < self._goal and self._wanted - done < self._window:
            self._configure(min(self._goal, done + self._window))

    def run(self) -> None:
        """Until standard input ends."""
        ports = {sock.fileno(): port for port, sock in self._sockets.items()}
        while True:
            deadline = self._peer.speaker.next_deadline()
            wait = 1.0 if deadline is None else max(0.0, min(1.0, deadline - time.monotonic()))
            ready, _, _ = select.select([*ports, sys.stdin], [], [], wait)
            for each in ready:
                if each is sys.stdin:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self.command(line.split())
                else:
                    self._receive(ports[each])
            self._peer.tick()
            self.progress()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(prog="python -m bench.ike_load")
    parser.add_argument("--peer", required=True)
    parser.add_argument("--group", required=True)
    options = parser.parse_args()
    print("ready", flush=True)
    Load(options.peer, options.group).run()


if __name__ == "__main__":
    main()
