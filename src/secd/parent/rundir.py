"""The run directory and its lock: one instance each."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from secd.ipc.paths import run_directory


class RunDirectoryError(Exception):
    """The directory cannot be used, or somebody else uses it; the text is for the person who started us."""


class RunDirectory:
    """Ours from construction to `close`."""

    def __init__(self) -> None:
        """Make the directory (0700) if need be and lock it."""
        self.path = run_directory()
        made = _make(self.path)
        self._lock_path = self.path / "secd.lock"
        # A lock that nobody holds was left by an instance that was killed: what it made is ours to take away.
        self._remove = made or self._lock_path.exists()
        self._lock = _lock(self._lock_path)

    def close(self) -> None:
        """Leave nothing behind: sockets, lock, and the directory unless somebody else made it."""
        for path in (*(self.path / name for name in ("secd.sock", "sadb.sock", "iked.sock")), self._lock_path):
            with contextlib.suppress(OSError):  # gone, or read-only now: the next instance takes over what is left
                path.unlink()
        os.close(self._lock)
        if self._remove:
            try:
                self.path.rmdir()
            except OSError:
                return  # somebody put something else there


def _make(path: Path) -> bool:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise RunDirectoryError(f"cannot make the run directory {path}: {error.strerror}") from error
    else:
        return True
    try:
        status = path.stat()
        if not path.is_dir() or status.st_uid != os.geteuid():
            raise RunDirectoryError(f"{path} is not a directory of user {os.geteuid()}: remove it, or set SECD_RUNDIR")
        path.chmod(0o700)
    except OSError as error:
        raise RunDirectoryError(f"cannot use the run directory {path}: {error.strerror}") from error
    return False


def _lock(path: Path) -> int:
    """Lock `path` and write our pid into it; the lock goes with the process, however it ends."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise RunDirectoryError(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(fd, 20).decode(errors="replace").strip()
            os.close(fd)
            raise RunDirectoryError(
                f"secd is already running (pid {pid or 'unknown'}) in {path.parent}; "
                "another instance needs a SECD_RUNDIR of its own"
            ) from error
        # An instance that was ending may have removed the file between our open and our lock.
        if _same_file(fd, path):
            with contextlib.suppress(OSError):  # a full disk: the pid is for people, the lock holds without it
                os.ftruncate(fd, 0)
                os.write(fd, f"{os.getpid()}\n".encode())
            return fd
        os.close(fd)


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
