"""What stands for a host in ipsec.conf(5): an address, a network, an interface, a name, `any`."""

from __future__ import annotations

import socket
from typing import Literal

from msgspec import Struct

from secd.conf.interfaces import interface_addresses

Family = Literal[4, 6]


class Address(Struct, frozen=True):
    """An address or a network.  `network` is false for a host (also for IPv6 /128, but not for IPv4 /32)."""

    address: str
    prefix: int
    network: bool
    family: Family
    nat: Address | None = None  # `from A (B)`: B is what the peer sees

    def __str__(self) -> str:
        """Give it as ipsec.conf has it."""
        return f"{self.address}/{self.prefix}" if self.network else self.address


class LookUpError(Exception):
    """Nobody can tell now what a name stands for; the text says why, for people."""


ANY = (Address("0.0.0.0", 0, True, 4), Address("::", 0, True, 6))  # noqa: S104 - a network, not a socket to bind

_FAMILIES = ((socket.AF_INET, 32), (socket.AF_INET6, 128))

#: What getaddrinfo(3) says of a name that does not exist, or has no address; -5, EAI_NODATA, is not in every libc.
_NO_SUCH_NAME = {socket.EAI_NONAME, -5, getattr(socket, "EAI_ADDRFAMILY", socket.EAI_NONAME)}
#: RFC 6761 §6.3: known also without a resolver.
_LOOPBACK = {"localhost": ["127.0.0.1", "::1"]}


def host(text: str, prefix: int | None = None) -> tuple[Address, ...]:
    """Give every address that `text`, with `/prefix` if that is given, stands for; none if it stands for nothing.

    `10.0.2/24` is 10.0.2.0/24.  Names are looked up at once; they have no prefix.  Raises LookUpError when that fails
    for another reason than that there is no such name.
    """
    if prefix is not None and "." in text and ":" not in text:
        text = _fill(text)
    literal = _literal(text, prefix)
    if literal:
        return (literal,)
    if prefix is not None:
        return ()
    addresses = interface_addresses(text)
    if addresses is None:
        addresses = _look_up(text)
    found = (_literal(address, None) for address in addresses)
    return tuple(address for address in found if address)


def _literal(text: str, prefix: int | None) -> Address | None:
    for family, bits in _FAMILIES:
        try:
            packed = socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        if prefix is not None and not 0 <= prefix <= bits:
            return None
        network = prefix is not None and not (family == socket.AF_INET6 and prefix == bits)
        number: Family = 4 if family == socket.AF_INET else 6
        return Address(socket.inet_ntop(family, packed), bits if prefix is None else prefix, network, number)
    return None


def _fill(text: str) -> str:
    octets = text.split(".")
    return ".".join(octets + ["0"] * (4 - len(octets))) if all(octets) else text


_known: dict[str, list[str] | LookUpError] = {}


def _look_up(name: str) -> list[str]:
    """Ask the resolver, once for each name: without a name server each question takes many seconds."""
    if name not in _known:
        try:
            _known[name] = _ask(name)
        except LookUpError as error:
            _known[name] = error
    found = _known[name]
    if isinstance(found, LookUpError):
        raise found
    return found


def _ask(name: str) -> list[str]:
    # Without a letter it is a mistyped address, which some resolvers would take for a short form of another; and of
    # names below `invalid` there is none (RFC 6761 §6.4).
    if not any(c.isalpha() for c in name) or name.endswith(".invalid"):
        return []
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except ValueError:  # too long for a name, or no text at all
        return []
    except OSError as error:
        if name in _LOOPBACK:
            return _LOOPBACK[name]
        if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
            return []
        raise LookUpError(f"cannot look up {name}: {error.strerror or error}") from error
    addresses = dict.fromkeys(str(answer[4][0]) for answer in answers)
    return [address for address in addresses if "%" not in address]


def netmask(address: Address) -> str:
    """Give the mask of a network as an address."""
    family, bits = (socket.AF_INET, 32) if address.family == 4 else (socket.AF_INET6, 128)
    mask = ((1 << address.prefix) - 1) << (bits - address.prefix)
    return socket.inet_ntop(family, mask.to_bytes(bits // 8, "big"))
