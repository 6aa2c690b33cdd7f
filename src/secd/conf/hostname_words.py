"""ifconfig's words, as a hostname.secN line and the `sec ifconfig` command have them in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable

from secd.conf.hostname_settings import (
    DESCRIPTION_MAX,
    MTU_MAX,
    MTU_MIN,
    InterfaceAddress,
    RemoveAddress,
    SetAddress,
    SetDescription,
    SetMTU,
    SetOption,
    SetRDomain,
    Setting,
    SetUp,
)

_RDOMAIN_MAX = 252  # 253 to 255 are the tables default, main and local

#: What OpenBSD's ifconfig takes for other interfaces and sec(4) or Linux cannot do, and why.
_REFUSED = {
    "tunnel": "a sec interface has no tunnel addresses of its own: they are `local` and `peer` of its ike rule",
    "tunneladdr": "a sec interface has no tunnel addresses of its own: they are `local` and `peer` of its ike rule",
    "tunneldomain": "the outer packets of every sec interface use the main routing table",
    "tunnelttl": "the outer TTL is always 64",
    "vnetid": "ESP has no virtual network identifier; the SPI names the tunnel",
    "parent": "a sec interface has no parent interface",
    "autoconf": "nothing sends router advertisements through a tunnel: write the address",
    "dhcp": "there is no DHCP through a tunnel: write the address",
    "eui64": "a sec interface has no hardware address to make one from: write the whole address",
    "llprio": "Linux has no priority for an interface's own packets",
    "priority": "Linux has no interface priority: give the route a metric instead",
    "rtlabel": "Linux has no route labels: use a route's protocol or realm",
    "mpls": "MPLS is not carried",
    "group": "Linux gives an interface one group, and every secN is in `sec`; name the interface itself instead",
    "wgkey": "this is not a wg interface",
}
_SWITCHES: dict[str, Setting] = {
    "up": SetUp(True),
    "down": SetUp(False),
    "tunneldf": SetOption("tunneldf", True),
    "-tunneldf": SetOption("tunneldf", False),
    "mssclamp": SetOption("mssclamp", True),
    "-mssclamp": SetOption("mssclamp", False),
    "-description": SetDescription(""),
    "-descr": SetDescription(""),
    "-rdomain": SetRDomain(0),
}


class WordError(Exception):
    """The words cannot be carried out; the text says what to write instead."""


class Words:
    """A line's words, read one after the other."""

    def __init__(self, words: Iterable[str]) -> None:
        """Start before the first."""
        self._words = list(words)
        self._at = 0

    def __bool__(self) -> bool:
        """Whether words are left."""
        return self._at < len(self._words)

    def peek(self) -> str:
        """Give the next word without taking it; "" at the end."""
        return self._words[self._at] if self else ""

    def take(self, what: str) -> str:
        """Give the next word; `what` names it when there is none."""
        if not self:
            after = f" after `{self._words[self._at - 1]}`" if self._at else ""
            raise WordError(f"{what} is missing{after}")
        self._at += 1
        return self._words[self._at - 1]

    def skip(self, word: str) -> bool:
        """Take the next word if it is `word`."""
        if self.peek() != word or not self:
            return False
        self._at += 1
        return True


def split(line: str) -> list[str]:
    """Cut a line into words as the shell does: blanks, quotes, backslash, `#` for a comment where a word may start."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    escaped = False
    for char in line:
        if escaped:
            word, escaped = (word or "") + char, False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            word, quote = (word, "") if char == quote else ((word or "") + char, quote)
        elif char in "'\"":
            word, quote = word or "", char
        elif char.isspace():
            if word is not None:
                words.append(word)
            word = None
        elif char == "#" and word is None:
            break
        else:
            word = (word or "") + char
    if quote:
        raise WordError(f"the closing {quote} is missing")
    if word is not None:
        words.append(word)
    return words


# -- single values ----------------------------------------------------------------------------------------


def parse_ip(text: str, version: int) -> str:
    """Give a host address of IP `version` in its canonical form."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise WordError(f"{text}: not an IPv{version} address") from None
    if address.version != version:
        raise WordError(f"{text}: an IPv{address.version} address where an IPv{version} address belongs")
    if isinstance(address, ipaddress.IPv6Address) and (address.scope_id or address.ipv4_mapped):
        raise WordError(f"{text}: write the address without a zone and not as an IPv4-mapped one")
    if address.is_multicast or address.is_unspecified or int(address) == 0xFFFFFFFF:
        raise WordError(f"{text}: no host can have this address")
    return str(address)


def parse_netmask(text: str) -> int | None:
    """Give the prefix length of `255.255.255.252` or `0xfffffffc`; None when it is no netmask."""
    try:
        value = int(text, 16) if text.lower().startswith("0x") else int(ipaddress.IPv4Address(text))
    except ValueError:
        return None
    if not 0 < value <= 0xFFFFFFFF:
        return None
    inverse = value ^ 0xFFFFFFFF
    return 32 - inverse.bit_length() if inverse & (inverse + 1) == 0 else None


def dotted_netmask(prefixlen: int) -> str:
    """Write an IPv4 prefix length as a netmask."""
    return str(ipaddress.IPv4Address(0xFFFFFFFF << (32 - prefixlen) & 0xFFFFFFFF))


def parse_prefixlen(text: str, bits: int) -> int:
    """Give a prefix length of 1 to `bits`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= bits):
        raise WordError(f"{text}: a prefix length is a number from 1 to {bits}")
    return int(text)


def make_address(local: str, prefixlen: int, peer: str | None) -> InterfaceAddress:
    """Put an address together, and refuse one whose two ends are the same."""
    if peer == local:
        raise WordError(f"{local} is given as both ends: the peer has another address than this host")
    return InterfaceAddress(local, prefixlen, peer)


def split_prefix(text: str, version: int) -> tuple[str, int | None]:
    """Give address and prefix length of `A` or `A/len`."""
    host, slash, length = text.partition("/")
    address = parse_ip(host, version)
    return address, parse_prefixlen(length, 32 if version == 4 else 128) if slash else None


def _number(text: str, what: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise WordError(f"{what} {text}: {what} is a number from {low} to {high}")
    return int(text)


# -- parameters -------------------------------------------------------------------------------------------


def _mtu(words: Words) -> Setting:
    return SetMTU(_number(words.take("the MTU"), "mtu", MTU_MIN, MTU_MAX))


def _description(words: Words) -> Setting:
    text = words.take("the text")
    if len(text.encode("utf-8", "surrogateescape")) > DESCRIPTION_MAX:
        raise WordError(f"description: longer than {DESCRIPTION_MAX} octets")
    if not text.isprintable():
        raise WordError("description: it holds a character that cannot be printed")
    return SetDescription(text)


def _rdomain(words: Words) -> Setting:
    return SetRDomain(_number(words.take("the routing domain"), "rdomain", 0, _RDOMAIN_MAX))


_PARAMETERS: dict[str, Callable[[Words], Setting]] = {
    "mtu": _mtu,
    "description": _description,
    "descr": _description,
    "rdomain": _rdomain,
}


def parameter(words: Words) -> Setting:
    """Read one parameter with its value."""
    word = words.take("a parameter")
    if word in _SWITCHES:
        return _SWITCHES[word]
    if word in _PARAMETERS:
        return _PARAMETERS[word](words)
    reason = _REFUSED.get(word.removeprefix("-"))
    if reason is not None:
        raise WordError(f"{word}: {reason}")
    raise WordError(f"{word}: unknown; known are inet, inet6, {', '.join((*_PARAMETERS, *_SWITCHES))}")


# -- ifconfig's own order of words ------------------------------------------------------------------------


def ifconfig_settings(arguments: Iterable[str]) -> list[Setting]:
    """Read what follows the interface's name on ifconfig's command line."""
    words = Words(arguments)
    settings: list[Setting] = []
    while words:
        if words.skip("inet"):
            settings.append(_ifconfig_address(words, 4))
        elif words.skip("inet6"):
            settings.append(_ifconfig_address(words, 6))
        else:
            settings.append(parameter(words))
    return settings


def _ifconfig_address(words: Words, version: int) -> Setting:
    """`[alias] A[/len] [-->] [B] [netmask M | prefixlen N] [alias | delete]`, as after `inet` or `inet6`."""
    bits = 32 if version == 4 else 128
    alias = words.skip("alias")
    if words.peek() in _REFUSED:
        parameter(words)
    if words.skip("delete") or words.skip("-alias"):
        return RemoveAddress(split_prefix(words.take("the address"), version)[0])
    local, prefixlen = split_prefix(words.take("the address"), version)
    peer: str | None = None
    if words.skip("-->") or _is_address(words.peek()):
        peer = parse_ip(words.take("the peer's address"), version)
    while True:
        if version == 4 and words.skip("netmask"):
            text = words.take("the netmask")
            prefixlen = parse_netmask(text)
            if prefixlen is None:
                raise WordError(f"{text}: no netmask; a netmask is 255.255.255.252 or 0xfffffffc")
        elif words.skip("prefixlen"):
            prefixlen = parse_prefixlen(words.take("the prefix length"), bits)
        elif words.skip("alias"):
            alias = True
        elif words.skip("delete") or words.skip("-alias"):
            return RemoveAddress(local)
        else:
            break
    return SetAddress(make_address(local, bits if prefixlen is None else prefixlen, peer), alias)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
