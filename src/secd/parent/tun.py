"""One detached queue of every TUN device, held here so that no restart of the data plane drops the link.

A TUN whose last descriptor closes loses its carrier, and its routes with it.  The data plane opens nothing itself: it
asks for descriptors of /dev/net/tun, attaches them to secN, and detaches one, of which a copy stays here.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct

from msgspec import Struct

from secd.ipc.channel import MAX_FDS

DEVICE = "/dev/net/tun"
#: Linux's admin-guide/devices.txt: 10 is for miscellaneous devices, of which 200 is TUN.
_NUMBER = os.makedev(10, 200)
#: From <linux/if_tun.h>.
_TUNGETFEATURES, _IFF_MULTI_QUEUE, _IFF_VNET_HDR = 0x800454CF, 0x0100, 0x4000


class Fault(Struct, frozen=True):
    """What is wrong with the device, and what to do about it."""

    text: str
    advice: str

    def __str__(self) -> str:
        """Give one line for the person who starts us."""
        return f"{DEVICE} {self.text}: {self.advice}"


def fault(path: str = DEVICE) -> Fault | None:
    """Look at the device without making an interface; None when it is as it should be."""
    try:
        status = os.stat(path)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NUMBER:
            advice = f"`rm -r {path}; mknod -m 666 {path} c 10 200`"
            return Fault(f"is {_kind(status)}, not the TUN device (character device 10:200)", advice)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Fault(
            "is missing", f"`modprobe tun`, or in a container pass the device in (`docker run --device {path}`)"
        )
    except OSError as error:
        advice = "run as root, with the device allowed in this container (device cgroup: `c 10:200 rwm`)"
        return Fault(f"cannot be opened ({error.strerror})", advice)
    try:
        features = struct.unpack("I", fcntl.ioctl(fd, _TUNGETFEATURES, bytes(4)))[0]
    except OSError as error:
        return Fault(f"does not answer as the TUN driver ({error.strerror})", "`modprobe tun`, and see dmesg")
    finally:
        os.close(fd)
    lacking = [what for what, bit in (("several queues", _IFF_MULTI_QUEUE), ("offloads", _IFF_VNET_HDR))
               if not features & bit]  # fmt: skip
    if lacking:
        return Fault(f"belongs to a driver without {' and '.join(lacking)}", "run a kernel newer than 3.8")
    return None


def _kind(status: os.stat_result) -> str:
    """Say what is there instead of the device."""
    mode, numbers = status.st_mode, f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    kinds = {stat.S_IFREG: "a plain file", stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO",
             stat.S_IFSOCK: "a socket", stat.S_IFBLK: f"block device {numbers}"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), f"character device {numbers}")


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
