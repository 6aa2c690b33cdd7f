"""One detached queue of every TUN device, held here so that no restart of the data plane drops the link.

A TUN whose last descriptor closes loses its carrier, and its routes with it.  The data plane opens nothing itself: it
asks for descriptors of /dev/net/tun, attaches them to secN, and detaches one, of which a copy stays here.
"""

from __future__ import annotations

import os

from secd.ipc.channel import MAX_FDS

DEVICE = "/dev/net/tun"


class TUNError(Exception):
    """The device cannot be opened; the text says why."""


class DetachedQueues:
    """The copies, by interface."""

    def __init__(self) -> None:
        """Hold none."""
        self._queues: dict[str, int] = {}

    def names(self) -> tuple[str, ...]:
        """Name the interfaces whose queue is held."""
        return tuple(self._queues)

    def open(self, name: str, queues: int) -> tuple[list[int], bool]:
        """Open the device `queues` times, and once more for a new `name`: then the second value is true.

        The caller closes what it gets; the copy stays here.
        """
        new = name not in self._queues
        wanted = queues + new
        if queues <= 0 or wanted > MAX_FDS:
            raise TUNError(f"{queues} queues were asked for; 1 to {MAX_FDS - 1} are possible")
        fds: list[int] = []
        try:
            for _ in range(wanted):
                fds.append(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
            if new:
                self._queues[name] = os.dup(fds[-1])
        except OSError as error:
            for fd in fds:
                os.close(fd)
            raise TUNError(f"cannot open {DEVICE}: {error.strerror}") from error
        return fds, new

    def drop(self, name: str) -> None:
        """Let go of `name`; without another descriptor the kernel removes it."""
        fd = self._queues.pop(name, None)
        if fd is not None:
            os.close(fd)

    def clear(self) -> None:
        """Let go of all."""
        for name in self.names():
            self.drop(name)
