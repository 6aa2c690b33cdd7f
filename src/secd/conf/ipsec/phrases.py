"""What the rules of ipsec.conf(5) are made of: hosts, peers, transforms, identities, keys.

Each method is a production of OpenBSD's grammar, under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from secd.conf import addresses
from secd.conf.addresses import Address
from secd.conf.ipsec.keys import BadKeyError, key_from_file, key_from_hex
from secd.conf.ipsec.rules import PSK, Direction, Hosts, Ids, IkeMode, Mode, Peers, Phase, StaticKey, UdpEncap
from secd.conf.ipsec.transforms import AUTHENTICATION, COMPRESSION, ENCRYPTION, GROUPS, T, Transforms, find
from secd.conf.lexer import NUMBER, STRING
from secd.conf.lines import Lines

MAX_LISTS = 32  # nested { { .. } }
MAX_ADDRESSES = 10_000  # of one list
MAX_SPI = 0xFFFFFFFF
RESERVED_SPIS = 255

SA_PROTOCOLS = ("esp", "ah", "ipcomp", "ipip")
#: Ours; no keyword, so that it takes no name away from anybody.
AGGRESSIVE_PSK = "aggressive-psk"
_FLOW_TYPES = ("use", "acquire", "require", "deny", "bypass", "dontacq")
_Keys = tuple[StaticKey | None, StaticKey | None]


class Phrases(Lines):
    """The parts of a rule."""

    def satype(self, allowed: Iterable[str] = SA_PROTOCOLS) -> str:
        """`esp`, `ah`, ..; `esp` when nothing is said."""
        return self.accept(*allowed) or "esp"

    def dir(self) -> Direction | None:
        """`in` or `out`."""
        kind = self.accept("in", "out")
        return "in" if kind == "in" else "out" if kind else None

    def tmode(self) -> Mode:
        """`tunnel` or `transport`."""
        return "transport" if self.accept("tunnel", "transport") == "transport" else "tunnel"

    def ikemode(self) -> IkeMode:
        """`active`, `passive` or `dynamic`."""
        kind = self.accept("active", "passive", "dynamic")
        return "passive" if kind == "passive" else "dynamic" if kind == "dynamic" else "active"

    def interface(self) -> int | None:
        """`interface secN`: give N."""
        if not self.accept("interface"):
            return None
        return self.sec_unit(self.string(), what="sec interface")

    def proto(self) -> int:
        """`proto P`; 0 for all."""
        return self.protocol() if self.accept("proto") else 0

    def hosts(self) -> Hosts:
        """`from .. [port ..] to .. [port ..]`, in either order."""
        if self.peek() not in ("from", "to"):
            self.syntax_error("from", "to")
        first = self.take().kind
        one, one_port = self._endpoint()
        self.expect("to" if first == "from" else "from")
        other, other_port = self._endpoint()
        if first == "from":
            return Hosts(one, other, one_port, other_port)
        return Hosts(other, one, other_port, one_port)

    def _endpoint(self) -> tuple[tuple[Address, ...], int]:
        return self.host(), self.port()

    def host(self, depth: int = 0) -> tuple[Address, ...]:
        """An address, a network, a name, `any`, or a list of them."""
        if self.accept("any"):
            return addresses.ANY
        if not self.accept("{"):
            return self._single_host(depth)
        if depth >= MAX_LISTS:
            self.fail(f"lists nested deeper than {MAX_LISTS}")
        found = list(self.host(depth + 1))
        while self.peek() != "}":
            self.accept(",")
            found.extend(self.host(depth + 1))
            if len(found) > MAX_ADDRESSES:
                self.fail(f"more than {MAX_ADDRESSES} addresses in a list")
        self.take()
        return tuple(found)

    def _single_host(self, depth: int) -> tuple[Address, ...]:
        if self.peek() != STRING:
            self.syntax_error(STRING, "any", "{")
        name = self.take().text
        found = self.resolve(name, self.prefix())
        if not self.accept("("):
            return found
        if depth >= MAX_LISTS:
            self.fail(f"lists nested deeper than {MAX_LISTS}")
        nat = self.host(depth + 1)
        self.expect(")")
        return tuple(
            Address(one.address, one.prefix, one.network, one.family, nat[0]) for one in found
        )  # fmt: skip

    def peers(self) -> Peers:
        """`local ..` and `peer ..`, in either order."""
        local: tuple[Address, ...] = ()
        peer: tuple[Address, ...] | Literal["any"] = ()
        seen: set[str] = set()
        while (kind := self.peek()) in ("local", "peer") and kind not in seen:
            seen.add(self.take().kind)
            if kind == "local":
                local = self.resolve(self.string())
            elif self.accept("any"):
                peer = "any"
            else:
                peer = self.resolve(self.string())
        return Peers(local, peer)

    def phase1mode(self) -> Phase:
        """`main ..` or `aggressive ..`."""
        exchange = self.accept("main", "aggressive")
        if not exchange:
            return Phase("main")
        return Phase("aggressive" if exchange == "aggressive" else "main", self.transforms(), self.lifetime())

    def phase2mode(self) -> Phase:
        """`quick ..`."""
        return Phase("quick", self.transforms(), self.lifetime()) if self.accept("quick") else Phase("quick")

    def transforms(self) -> Transforms:
        """`auth ..`, `enc ..`, `comp ..`, `group ..`: in any order, each once."""
        auth, enc, comp, group = None, None, None, None
        while kind := self.accept("auth", "enc", "comp", "group"):
            name = self.string()
            if kind == "auth":
                auth = self._transform(kind, name, AUTHENTICATION, auth)
            elif kind == "enc":
                enc = self._transform(kind, name, ENCRYPTION, enc)
            elif kind == "comp":
                comp = self._transform(kind, name, COMPRESSION, comp)
            else:
                group = self._transform(kind, name, GROUPS, group)
        return Transforms(auth, enc, comp, group)

    def _transform(self, kind: str, name: str, table: Iterable[T], present: T | None) -> T | None:
        if present is not None:
            self.lexer.error(f"{kind} already set")
            return present
        entry = find(table, name)
        if entry is None:
            names = " ".join(entry.name for entry in table)
            self.lexer.error(f"{name} not a valid transform", f"{kind} is one of: {names}")
        return entry

    def lifetime(self) -> int | None:
        """`lifetime SECONDS`, `lifetime 30m`, `lifetime 8h`."""
        if not self.accept("lifetime"):
            return None
        if self.peek() == NUMBER:
            text, seconds = "", self.take().number
        else:
            text = self.string()
            digits, unit = text[:-1], {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
            plain = digits.isdecimal() and digits.isascii() and len(digits) <= 10
            seconds = int(digits) * unit if plain else 0
        if not 0 < seconds <= 0xFFFFFFFF:
            self.fail(f"{text or seconds} not a valid lifetime", "write seconds, or minutes or hours as 30m, 8h")
        return seconds

    def ids(self) -> Ids:
        """`srcid .. dstid ..`."""
        source = self.string() if self.accept("srcid") else None
        return Ids(source, self.string() if self.accept("dstid") else None)

    def type(self) -> str | None:
        """`type require` and its kin."""
        if not self.accept("type"):
            return None
        return self.accept(*_FLOW_TYPES) or self.syntax_error(*_FLOW_TYPES)

    def ikeauth(self) -> PSK | None:
        """`psk .. [aggressive-psk]`, or `rsa` (None)."""
        if self.accept("psk"):
            return PSK(self.string(), self.accept_word(AGGRESSIVE_PSK))
        self.accept("rsa")
        return None

    def tag(self) -> str | None:
        """`tag ..`."""
        return self.string() if self.accept("tag") else None

    def bundlestring(self) -> str | None:
        """`bundle ..`."""
        return self.string() if self.accept("bundle") else None

    def udpencap(self) -> UdpEncap | None:
        """`udpencap [port N]`."""
        if not self.accept("udpencap"):
            return None
        if not self.accept("port"):
            return UdpEncap()
        number = self.expect(NUMBER).number
        if not 0 < number <= 0xFFFF:
            self.fail("port outside range")
        return UdpEncap(number)

    def spispec(self) -> tuple[int, int | None]:
        """`spi X` or `spi X:Y`."""
        self.expect("spi")
        if self.peek() == NUMBER:
            return self._spi(str(self.take().number)), None
        first, colon, second = self.string().partition(":")
        return self._spi(first), self._spi(second) if colon else None

    def _spi(self, text: str) -> int:
        base = 16 if text[:2] in ("0x", "0X") else 10
        allowed = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
        digits = text[2:] if base == 16 else text
        if not digits or len(digits) > 10 or any(c not in allowed for c in digits) or int(digits, base) > MAX_SPI:
            self.fail(f"{text[:40]} not a valid spi")
        number = int(digits, base)
        if number <= RESERVED_SPIS:
            self.fail(f"{text} within reserved spi range")
        return number

    def keyspec(self, keyword: str) -> _Keys:
        """`authkey K[:K2]`, `enckey file "F[:F2]"`."""
        if not self.accept(keyword):
            return None, None
        read: Callable[[str], StaticKey] = key_from_file if self.accept("file") else key_from_hex
        first, colon, second = self.string().partition(":")
        try:
            return read(first), read(second) if colon else None
        except BadKeyError as error:
            self.fail(str(error))
