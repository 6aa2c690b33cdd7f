"""hostname.secN: the file that says what a sec interface is to be, after OpenBSD's hostname.if(5).

Lines are carried out in order; each is one of

    inet [alias] A MASK [PEER] [parameters]      inet [alias] A/len [parameters]
    inet6 [alias] A LEN [PEER] [parameters]      inet6 [alias] A/LEN [PEER] [parameters]
    dest PEER                                    the other end of the address on the line before
    !command                                     run by sh, `$if` replaced by the interface's name
    parameters                                   mtu N, up, down, description "...", rdomain N, ...
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from msgspec import Struct

from secd.conf.hostname_settings import InterfaceAddress, RunCommand, SetAddress, Setting, SetUp, interface_unit
from secd.conf.hostname_words import (
    WordError,
    Words,
    dotted_netmask,
    make_address,
    parameter,
    parse_ip,
    parse_netmask,
    parse_prefixlen,
    split,
    split_prefix,
)

#: Bounds of one file: octets and lines.
MAX_FILE = 64 * 1024
MAX_LINES = 1000
_IF = re.compile(r"\\?\$(?:if\b|\{if\})")


class HostnameError(Exception):
    """The file cannot be used; every line of the text is `FILE: LINE: message` or `FILE: message`."""


class Located(Struct, frozen=True):
    """A setting and the number of its line."""

    line: int
    setting: Setting


class InterfaceFile(Struct, frozen=True):
    """A whole hostname.secN."""

    path: str
    interface: str
    settings: tuple[Located, ...]

    @property
    def addresses(self) -> tuple[InterfaceAddress, ...]:
        """Every address that the interface is to have, as Linux has to be given it."""
        return tuple(s.setting.address.routed for s in self.settings if isinstance(s.setting, SetAddress))

    @property
    def goes_up(self) -> bool:
        """Whether the interface is up when all is done."""
        return [s.setting.up for s in self.settings if isinstance(s.setting, SetUp)][-1:] == [True]


def parse_hostname(text: str, *, path: str, interface: str) -> InterfaceFile:
    """Read the text of hostname.`interface`; HostnameError lists what is wrong, line by line."""
    if interface_unit(interface) is None:
        raise HostnameError(f"{path}: {interface} is no sec interface: its name is `sec` and a number (sec0)")
    settings: list[Located] = []
    errors: list[str] = []
    for number, line in _logical_lines(text):
        if number > MAX_LINES:
            errors.append(f"{path}: {number}: more than {MAX_LINES} lines")
            break
        try:
            _add_line(line, number, interface, settings)
        except WordError as error:
            errors.append(f"{path}: {number}: {error}")
    if errors:
        raise HostnameError("\n".join(errors))
    return InterfaceFile(path, interface, tuple(settings))


def read_hostname(path: str, *, interface: str) -> tuple[InterfaceFile, list[str]]:
    """Read the file at `path`; also give what had to be put right about its mode.

    Its commands run as root, so nobody else may be able to write it; and OpenBSD takes away what the world may do.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # do not wait for a FIFO's writer
    except OSError as error:
        raise HostnameError(f"{path}: {error.strerror}") from error
    try:
        warnings = _check_mode(path, fd)
        data = os.read(fd, MAX_FILE + 1)
    except OSError as error:
        raise HostnameError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > MAX_FILE:
        raise HostnameError(f"{path}: larger than {MAX_FILE} octets")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise HostnameError(f"{path}: {line}: not UTF-8 text") from error
    return parse_hostname(text, path=path, interface=interface), warnings


def _check_mode(path: str, fd: int) -> list[str]:
    status = os.fstat(fd)
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise HostnameError(f"{path}: not a regular file")
    if status.st_uid not in {0, os.geteuid()}:
        raise HostnameError(f"{path}: belongs to user {status.st_uid}, and its commands run as root: chown root {path}")
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and status.st_gid != 0):
        raise HostnameError(f"{path}: others than root can write it (mode {mode:04o}): chmod go-w,o-rwx {path}")
    if not mode & stat.S_IRWXO:
        return []
    secret = mode & ~stat.S_IRWXO
    try:
        os.fchmod(fd, secret)
    except OSError as error:
        return [f"{path}: everybody can read it (mode {mode:04o}), and that cannot be changed: {error.strerror}"]
    return [f"{path}: everybody could read it (mode {mode:04o}): changed to {secret:04o}"]


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Give line numbers and lines, a line that ends in a backslash joined with the next; numbers are the first's."""
    start, joined = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        start = start or number
        if line.endswith("\\"):
            joined += line[:-1]
            continue
        yield start, joined + line
        start, joined = 0, ""
    if joined:
        yield start, joined


def _add_line(line: str, number: int, interface: str, settings: list[Located]) -> None:
    """Read one line and append what it says."""
    stripped = line.strip()
    if "\0" in stripped:
        raise WordError("the line holds a NUL")
    if stripped.startswith("!"):
        command = _IF.sub(interface, stripped[1:].strip())
        if command:
            settings.append(Located(number, RunCommand(command)))
        return
    words = Words(split(stripped))
    if words.skip("dest"):
        _patch_destination(words, settings)
        return
    if words.skip("inet"):
        settings.append(Located(number, _inet(words, settings)))
    elif words.skip("inet6"):
        settings.append(Located(number, _inet6(words)))
    while words:
        settings.append(Located(number, parameter(words)))


def _inet(words: Words, settings: list[Located]) -> SetAddress:
    """`[alias] A [MASK [PEER|NONE]]` or `[alias] A/len`."""
    alias = words.skip("alias")
    if words.peek() in {"autoconf", "tunnel"}:
        parameter(words)
    local, prefixlen = split_prefix(words.take("the address"), 4)
    if prefixlen is not None:
        if _like_ip(words.peek()):
            peer, mask = words.peek(), dotted_netmask(prefixlen)
            raise WordError(
                f"after an address with a prefix length {peer} means a netmask: write inet {local} {mask} {peer}"
            )
        return _address(local, prefixlen, None, alias, settings)
    if not _like_ip(words.peek()) and not words.peek().startswith("0x"):
        return _address(local, 32, None, alias, settings)
    text = words.take("the netmask")
    prefixlen = parse_netmask(text)
    if prefixlen is None:
        if text.startswith(("255.", "0x")):
            raise WordError(f"{text}: no netmask: ones, then zeros, as 255.255.255.252 or 0xfffffffc")
        hint = f": write inet {local} 255.255.255.252 {text}" if _like_ip(text) else ""
        raise WordError(f"{text}: no netmask; the netmask comes before the peer's address{hint}")
    if words.skip("NONE") or not _like_ip(words.peek()):
        return _address(local, prefixlen, None, alias, settings)
    return _address(local, prefixlen, parse_ip(words.take("the peer's address"), 4), alias, settings)


def _inet6(words: Words) -> SetAddress:
    """`[alias] A LEN [PEER]` or `[alias] A/LEN [PEER]`; as on OpenBSD each one is added to the others."""
    alias = words.skip("alias")
    if words.peek() in {"autoconf", "tunnel", "eui64"}:
        parameter(words)
    local, prefixlen = split_prefix(words.take("the address"), 6)
    if prefixlen is None:
        prefixlen = parse_prefixlen(words.take("the prefix length"), 128) if words.peek()[:1].isdigit() else 128
    peer = parse_ip(words.take("the peer's address"), 6) if ":" in words.peek() else None
    return SetAddress(make_address(local, prefixlen, peer), alias)


def _address(local: str, prefixlen: int, peer: str | None, alias: bool, settings: list[Located]) -> SetAddress:
    """One IPv4 address; a second without `alias` would silently take the place of the first."""
    for earlier in settings:
        if not alias and isinstance(earlier.setting, SetAddress) and earlier.setting.address.version == 4:
            first = earlier.setting.address.local
            raise WordError(f"inet {local} would replace {first} of line {earlier.line}: write inet alias {local} ...")
    return SetAddress(make_address(local, prefixlen, peer), alias)


def _patch_destination(words: Words, settings: list[Located]) -> None:
    """`dest PEER` belongs to the address before it."""
    text = words.take("the peer's address")
    if not settings or not isinstance(before := settings[-1].setting, SetAddress):
        raise WordError("dest belongs on the line after the inet or inet6 line whose other end it names")
    if before.address.peer is not None:
        raise WordError(f"{before.address.local} has the peer {before.address.peer} already")
    peer = parse_ip(text, before.address.version)
    address = make_address(before.address.local, before.address.prefixlen, peer)
    settings[-1] = Located(settings[-1].line, SetAddress(address, before.alias))
    if words:
        raise WordError(f"{words.peek()}: nothing may follow the address on a dest line")


def _like_ip(text: str) -> bool:
    """Whether a word was meant for an IPv4 address, right or wrong."""
    return bool(re.fullmatch(r"[0-9]+(\.[0-9]+){1,3}", text))
