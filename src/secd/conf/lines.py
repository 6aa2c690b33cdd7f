"""What ipsec.conf(5) and iked.conf(5) have in common: lines, macros, includes, and the words for hosts and ports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NoReturn

from msgspec import Struct

from secd.conf import addresses, services
from secd.conf.addresses import Address
from secd.conf.lexer import END, NEWLINE, NUMBER, STRING, Lexer
from secd.conf.macros import Macros
from secd.conf.parser import Parser, RuleError

MAX_UNIT = 0xFFFFFFFF

#: `sec` is the name of every interface here.
_SEC = "sec"

_NO_RESOLVER = "the name servers are those of /etc/resolv.conf; an address, or a line in /etc/hosts, needs none"


class Definition(Struct, frozen=True):
    """A macro; `before` is how many rules stand in front of it."""

    name: str
    value: str
    before: int


class Lines(Parser, ABC):
    """Reads a file line by line; what a line that is neither macro nor include says is its heir's."""

    def __init__(self, lexer: Lexer, macros: Macros) -> None:
        """Read from `lexer`."""
        super().__init__(lexer)
        self.definitions: list[Definition] = []
        self._macros = macros

    @abstractmethod
    def rule(self) -> None:
        """Read a line that begins with a keyword, up to its end."""

    @abstractmethod
    def count(self) -> int:
        """Say how many rules there are so far."""

    def grammar(self) -> None:
        """Read everything, line by line."""
        while self.peek() != END:
            try:
                self._line()
                self.expect(NEWLINE)
            except RuleError:
                if not self.recover():
                    return

    def _line(self) -> None:
        kind = self.peek()
        if kind == NEWLINE:
            return
        if kind == "include":
            self._include()
        elif kind == STRING:
            self._varset()
        else:
            self.rule()

    def _include(self) -> None:
        self.take()
        path = self.string()
        reason = self.lexer.include(path)
        if reason:
            self.fail(f"failed to include file {path}", reason)

    def _varset(self) -> None:
        name = self.string()
        self.expect("=")
        value = [self.string()]
        while self.peek() == STRING:
            value.append(self.take().text)
        if self.peek() != NEWLINE:
            self.syntax_error(STRING, NEWLINE)
        text = " ".join(value)
        self.definitions.append(Definition(name, text, self.count()))
        if any(c in " \t\n\v\f\r" for c in name):
            self.fail("macro name cannot contain whitespace")
        self._macros.define(name, text)

    # -- words --------------------------------------------------------------------------------------------

    def sec_unit(self, name: str, *, what: str) -> int:
        """Give N of `secN`; `what` it is called in errors."""
        if not name.startswith(_SEC):
            self.fail(f"invalid {what} name", f"{name[:40]!r} is not sec and a number")
        unit = name[len(_SEC) :]
        if not unit.isdecimal() or not unit.isascii() or (len(unit) > 1 and unit[0] == "0"):
            self.fail(f"invalid {what} unit: invalid")
        if len(unit) > 10 or int(unit) > MAX_UNIT:
            self.fail(f"invalid {what} unit: too large")
        return int(unit)

    def protocol(self) -> int:
        """A protocol's number, or its name."""
        if self.peek() == NUMBER:
            number = self.take().number
            if not 0 <= number <= 255:
                self.fail("protocol outside range")
            return number
        name = self.take().kind if self.peek() in ("esp", "ah", "ipcomp", "ipip") else self.string()
        known = services.protocol_number(name)
        if known is None:
            self.fail(f"unknown protocol: {name}")
        return known

    def port(self) -> int:
        """`port N` or `port NAME`; 0 for all."""
        if not self.accept("port"):
            return 0
        if self.peek() == NUMBER:
            number = self.take().number
            if not 0 <= number <= 0xFFFF:
                self.fail("port outside range")
            return number
        name = self.string()
        known = services.port_number(name)
        if known is None:
            self.fail(f"unknown port: {name}")
        return known

    def prefix(self) -> int | None:
        """`/N` after an address, if it is there."""
        return self.expect(NUMBER).number if self.accept("/") else None

    def resolve(self, name: str, prefix: int | None = None) -> tuple[Address, ...]:
        """Give every address that a name stands for."""
        try:
            found = addresses.host(name, prefix)
        except addresses.LookUpError as error:
            self.lexer.error(str(error), _NO_RESOLVER, blames_file=False)
            raise RuleError from error
        if not found:
            self._no_host(name if prefix is None else f"{name}/{prefix}")
        return found

    def _no_host(self, shown: str) -> NoReturn:
        self.lexer.note(f"no IP address found for {shown}")
        self.fail("could not parse host specification")
