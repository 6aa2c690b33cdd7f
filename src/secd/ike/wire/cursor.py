"""Reading and writing octets, in network order, for both versions of IKE.

A `Reader` stands on a slice of a message.  A part whose length the message tells is read by a reader of its own
(`sub`), which must end exactly where that part ends (`finish`).  Whatever the octets are, nothing but `WireError`
comes out of here.
"""

from __future__ import annotations

from enum import IntEnum

from secd.ike.wire.iana import NotifyType


class WireError(Exception):
    """The peer's octets are not acceptable.

    `notify` is the NOTIFY type that tells the peer so (RFC 2408 §3.14.1, RFC 7296 §3.10.1) and `data` what goes with
    it; the text is for our own log.
    """

    def __init__(self, message: str, notify: IntEnum = NotifyType.PAYLOAD_MALFORMED, data: bytes = b"") -> None:
        """`message` says what was seen and what was expected."""
        super().__init__(message)
        self.notify = notify
        self.data = data


class Reader:
    """Takes octets one field after another; every error says what was being read, and at which offset."""

    __slots__ = ("_data", "_end", "_fault", "_offset", "_what")

    def __init__(
        self,
        data: bytes,
        what: str,
        *,
        start: int = 0,
        end: int | None = None,
        fault: IntEnum = NotifyType.PAYLOAD_MALFORMED,
    ) -> None:
        """Stand on `data[start:end]`, called `what` in errors, which carry the NOTIFY type `fault`."""
        self._data = data
        self._what = what
        self._offset = start
        self._end = len(data) if end is None else end
        self._fault = fault

    @property
    def offset(self) -> int:
        """Where the next octet is taken from, counted from the start of the message."""
        return self._offset

    @property
    def remaining(self) -> int:
        """How many octets are left."""
        return self._end - self._offset

    def error(self, problem: str, notify: IntEnum | None = None) -> WireError:
        """Make the error that says `problem` and where it was met."""
        text = f"{self._what}: {problem} (at offset {self._offset})"
        return WireError(text, self._fault if notify is None else notify)

    def take(self, count: int, what: str) -> bytes:
        """The next `count` octets."""
        if not 0 <= count <= self.remaining:
            raise self.error(f"{what} takes {count} octets, {self.remaining} are left")
        taken = self._data[self._offset : self._offset + count]
        self._offset += count
        return taken

    def u8(self, what: str) -> int:
        """An unsigned number of one octet."""
        return self.take(1, what)[0]

    def u16(self, what: str) -> int:
        """An unsigned number of two octets."""
        return int.from_bytes(self.take(2, what), "big")

    def u32(self, what: str) -> int:
        """An unsigned number of four octets."""
        return int.from_bytes(self.take(4, what), "big")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.remaining, self._what)

    def peek(self) -> bytes:
        """All that is left, without passing it."""
        return self._data[self._offset : self._end]

    def sub(self, count: int, what: str) -> Reader:
        """A reader for the next `count` octets, which this one then has passed."""
        if not 0 <= count <= self.remaining:
            raise self.error(f"{what} takes {count} octets, {self.remaining} are left")
        start = self._offset
        self._offset += count
        return Reader(self._data, what, start=start, end=self._offset, fault=self._fault)

    def finish(self) -> None:
        """Refuse octets that nothing has read."""
        if self.remaining:
            raise self.error(f"{self.remaining} octets are left over")


class Writer:
    """Puts octets one field after another.  A value that does not fit its field is our own mistake: `ValueError`."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        """Start empty."""
        self._data = bytearray()

    def __len__(self) -> int:
        """How many octets have been written."""
        return len(self._data)

    def put(self, data: bytes) -> Writer:
        """Append octets."""
        self._data += data
        return self

    def u8(self, value: int) -> Writer:
        """Append a number of one octet."""
        return self._number(value, 1)

    def u16(self, value: int) -> Writer:
        """Append a number of two octets."""
        return self._number(value, 2)

    def u32(self, value: int) -> Writer:
        """Append a number of four octets."""
        return self._number(value, 4)

    def getvalue(self) -> bytes:
        """Everything written so far."""
        return bytes(self._data)

    def _number(self, value: int, octets: int) -> Writer:
        if not 0 <= value < 1 << (8 * octets):
            raise ValueError(f"{value} does not fit a field of {octets} octets")
        self._data += value.to_bytes(octets, "big")
        return self
