"""The files that a configuration is read from: opened with care, bounded in size."""

from __future__ import annotations

import os
import stat

#: Octets of one file.
MAX_FILE = 8 * 1024 * 1024


class SourceError(Exception):
    """A file could not be read, or must not be; the text says which and why."""


class Chunk:
    """Text put back in front of a file: a macro's value (`expanding`), or characters read too far."""

    __slots__ = ("expanding", "pos", "text")

    def __init__(self, text: str, expanding: bool) -> None:
        """Start at its first character."""
        self.text = text
        self.pos = 0
        self.expanding = expanding


class Source:
    """One file being read."""

    __slots__ = ("eof_reached", "identity", "line", "name", "pos", "pushed", "text")

    def __init__(self, name: str, text: str, identity: tuple[int, int] | None = None) -> None:
        """Start at the first line; `identity` is (device, inode) of what can be opened again."""
        self.name = name
        self.text = text
        self.identity = identity
        self.pos = 0
        self.line = 1
        self.eof_reached = False
        self.pushed: list[Chunk] = []


def open_source(path: str, *, secret: bool) -> Source:
    """Read a whole file, `-` being standard input.

    With `secret` it must belong to root or to us, and nobody else may read, write or execute it (the group may read).
    """
    if path == "-":
        return Source("stdin", _decode(_read_stdin()))
    data, identity = _open(path, secret=secret)
    return Source(path, _decode(data), identity)


def read_file(path: str, *, secret: bool) -> bytes:
    """Read a whole file that is no configuration, with the same care."""
    return _open(path, secret=secret)[0]


def _open(path: str, *, secret: bool) -> tuple[bytes, tuple[int, int] | None]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise SourceError(f"{path}: Is a directory")
        if secret:
            _check_secrecy(path, status)
        regular = stat.S_ISREG(status.st_mode)
        return _read(fd, path), (status.st_dev, status.st_ino) if regular else None
    finally:
        os.close(fd)


def _read_stdin() -> bytes:
    return _read(0, "stdin")


def _check_secrecy(path: str, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.getuid()):
        raise SourceError(f"{path}: owner not root or current user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO):
        raise SourceError(
            f"{path}: group writable or world read/writable (mode {stat.S_IMODE(status.st_mode):04o}; "
            f"secrets are in it: chmod 600 {path})"
        )


def _read(fd: int, name: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        while part := os.read(fd, 1 << 20):
            parts.append(part)
            size += len(part)
            if size > MAX_FILE:
                raise SourceError(f"{name}: larger than {MAX_FILE} octets")
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror or error}") from error
    return b"".join(parts)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
