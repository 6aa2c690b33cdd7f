"""One rtnetlink socket: a request and its answer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

from secd.netlink import wire

_SOL_NETLINK = 270
_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 11, 12
_SO_RCVBUFFORCE = 33
_NLM_F_CAPPED, _NLM_F_ACK_TLVS, _NLMSGERR_ATTR_MSG = 0x100, 0x200, 1
_RECEIVE = 128 * 1024
_DUMP_TRIES = 5
_TIMEOUT = 10.0  # seconds; the kernel answers at once


class NetlinkError(OSError):
    """The kernel refused a request; `strerror` has its own words where it gave any."""


class Netlink:
    """An rtnetlink socket in the current network namespace.  Not for use by several threads at once."""

    def __init__(self) -> None:
        """Open it; OSError when that is not possible."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._sequence = 0
        try:
            enlarge(self._socket, 1024 * 1024)
            for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                with contextlib.suppress(OSError):  # before Linux 4.12, 4.20
                    self._socket.setsockopt(_SOL_NETLINK, option, 1)
            self._socket.bind((0, 0))
            self._socket.settimeout(_TIMEOUT)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[0]

    def request(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Send a request, wait for the kernel's word on it, and give the bodies that it answered with."""
        sequence = self._send(kind, body, flags | wire.NLM_F_ACK)
        bodies: list[bytes] = []
        while True:
            for answer, answer_flags, number, _, content in wire.messages(self._socket.recv(_RECEIVE)):
                if number != sequence:
                    continue  # the tail of an exchange that was given up
                if answer == wire.NLMSG_ERROR:
                    raise_for(content, answer_flags)
                    return bodies
                bodies.append(content)

    def dump(self, kind: int, body: bytes) -> Iterator[list[bytes]]:
        """Ask for a list; give the bodies of its entries as they come, a datagram's worth at a time.

        No other request before the iteration has ended (one that is given up reads the rest and forgets it).
        NetlinkError with EINTR: the list changed meanwhile, so that entries may be lacking or come twice.
        """
        sequence = self._send(kind, body, wire.NLM_F_DUMP)
        interrupted = ended = False
        try:
            while not ended:
                bodies: list[bytes] = []
                for answer, flags, number, _, content in wire.messages(self._socket.recv(_RECEIVE)):
                    if number != sequence:
                        continue
                    interrupted |= bool(flags & wire.NLM_F_DUMP_INTR)
                    ended = answer in {wire.NLMSG_ERROR, wire.NLMSG_DONE}
                    if ended:
                        raise_for(content, flags | _NLM_F_CAPPED * (answer == wire.NLMSG_DONE))
                    else:
                        bodies.append(content)
                yield bodies
        finally:
            while not ended:
                for answer, _, number, _, _ in wire.messages(self._socket.recv(_RECEIVE)):
                    ended |= number == sequence and answer in {wire.NLMSG_ERROR, wire.NLMSG_DONE}
        if interrupted:
            raise NetlinkError(errno.EINTR, "the list changed while it was read")

    def entries(self, kind: int, body: bytes) -> list[bytes]:
        """Give a whole list, asking again while it changes under the reading."""
        for _ in range(_DUMP_TRIES - 1):
            try:
                return [entry for bodies in self.dump(kind, body) for entry in bodies]
            except NetlinkError as error:
                if error.errno != errno.EINTR:
                    raise
        return [entry for bodies in self.dump(kind, body) for entry in bodies]

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _send(self, kind: int, body: bytes, flags: int) -> int:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        length = wire.HEADER.size + len(body)
        header = wire.HEADER.pack(length, kind, flags | wire.NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + body)
        return self._sequence

    def __enter__(self) -> Netlink:
        """Use as a context that closes."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def enlarge(sock: socket.socket, octets: int) -> None:
    """Make room for `octets` in the receive buffer, beyond the limit for unprivileged ones where that is allowed."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, octets)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets)


def raise_for(content: bytes, flags: int) -> None:
    """Raise the error in the body of an NLMSG_ERROR (or NLMSG_DONE) message; do nothing when it says success."""
    number = -int(struct.unpack_from("=i", content)[0]) if len(content) >= 4 else 5
    if number <= 0:
        return
    said = ""
    if flags & _NLM_F_ACK_TLVS and len(content) >= 4 + wire.HEADER.size:
        request = wire.HEADER.size if flags & _NLM_F_CAPPED else wire.aligned(wire.HEADER.unpack_from(content, 4)[0])
        for kind, payload in wire.attributes(content, 4 + request):
            if kind == _NLMSGERR_ATTR_MSG:
                said = wire.string(payload)
    raise NetlinkError(number, f"{os.strerror(number)} ({said})" if said else os.strerror(number))
