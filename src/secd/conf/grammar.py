"""ipsec.conf(5): recursive descent, one method for each production of OpenBSD's grammar, under its name.

Rules are expanded as soon as their line ends, so that what is wrong with them is reported with that line.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from secd.conf.diagnostics import Diagnostics, TooManyErrors
from secd.conf.expand import Expander
from secd.conf.lexer import END, NEWLINE, STRING, Lexer
from secd.conf.macros import Macros
from secd.conf.parser import RuleError
from secd.conf.phrases import SA_PROTOCOLS, Phrases
from secd.conf.rules import FlowStatement, IkeStatement, Rule, SaStatement, Statement
from secd.conf.source import Source, SourceError, open_source
from secd.conf.transforms import Transforms


class Definition(Struct, frozen=True):
    """A macro; `before` is how many rules stand in front of it."""

    name: str
    value: str
    before: int


class Parsed(Struct, frozen=True):
    """What a configuration says, and what is wrong with it.  `unused` are the macros that no line uses."""

    rules: tuple[Rule, ...]
    definitions: tuple[Definition, ...]
    unused: tuple[str, ...]
    diagnostics: Diagnostics


def parse_file(path: str, defines: Sequence[tuple[str, str]] = ()) -> Parsed:
    """Read the configuration at `path`, `-` being standard input; it must be secret, what it includes need not."""
    try:
        return parse(open_source(path, secret=path != "-"), defines)
    except SourceError as error:
        diagnostics = Diagnostics()
        diagnostics.error(f"ipsecctl: {error}", None)
        return Parsed((), (), (), diagnostics)


def parse_text(text: str, name: str = "stdin", defines: Sequence[tuple[str, str]] = ()) -> Parsed:
    """Read a configuration that is there as text."""
    return parse(Source(name, text), defines)


def parse(source: Source, defines: Sequence[tuple[str, str]] = ()) -> Parsed:
    """Read a configuration; whatever is wrong with it is among the diagnostics, and nothing is raised."""
    diagnostics = Diagnostics()
    macros = Macros(defines)
    grammar = Grammar(Lexer(source, macros, diagnostics), macros, diagnostics)
    try:
        grammar.grammar()
    except TooManyErrors:
        diagnostics.warning("too many errors: the rest was not read", grammar.lexer.origin)
    return Parsed(tuple(grammar.rules), tuple(grammar.definitions), tuple(macros.unused()), diagnostics)


class Grammar(Phrases):
    """The lines of a configuration."""

    def __init__(self, lexer: Lexer, macros: Macros, diagnostics: Diagnostics) -> None:
        """Read from `lexer`."""
        super().__init__(lexer)
        self.rules: list[Rule] = []
        self.definitions: list[Definition] = []
        self._macros = macros
        self._expander = Expander(self.rules, diagnostics)

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
        elif kind == "ike":
            self._end_of_rule(self.ikerule())
        elif kind == "flow":
            self._end_of_rule(self.flowrule())
        elif kind in SA_PROTOCOLS:
            self._end_of_rule(self.sarule())
        elif kind == "tcpmd5":
            self._end_of_rule(self.tcpmd5rule())
        elif kind == STRING:
            self._varset()
        else:
            self.syntax_error()

    def _end_of_rule(self, statement: Statement) -> None:
        if self.peek() != NEWLINE:
            self.syntax_error(NEWLINE)
        if not self._expander.add(statement, self.lexer.origin):
            raise RuleError

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
        self.definitions.append(Definition(name, text, len(self.rules)))
        if any(c in " \t\n\v\f\r" for c in name):
            self.fail("macro name cannot contain whitespace")
        self._macros.define(name, text)

    def flowrule(self) -> FlowStatement:
        """`flow [esp|ah|..] [in|out] [proto P] from .. to .. [local ..] [peer ..] [srcid ..] [dstid ..] [type ..]`."""
        self.take()
        satype = self.satype()
        return FlowStatement(
            satype, self.dir(), self.proto(), self.hosts(), self.peers(), self.ids(), self.type()
        )  # fmt: skip

    def ikerule(self) -> IkeStatement:
        """`ike [mode] [esp|ah] [tunnel|transport] ..`, or `ike [mode] interface secN ..`."""
        self.take()
        mode = self.ikemode()
        iface = self.interface()
        if iface is None:
            satype, tunnel, proto, hosts = self.satype(("esp", "ah")), self.tmode(), self.proto(), self.hosts()
        else:
            satype, tunnel, proto, hosts = "esp", "tunnel", 0, None
        return IkeStatement(
            mode, iface, satype, tunnel, proto, hosts, self.peers(), self.phase1mode(), self.phase2mode(), self.ids(),
            self.ikeauth(), self.tag() if iface is None else None,
        )  # fmt: skip

    def sarule(self) -> SaStatement:
        """`esp|ah|ipcomp|ipip [tunnel|transport] from .. to .. spi X[:Y] ..`; ours: `esp interface secN from ..`."""
        satype = self.take().kind
        iface = self.interface() if satype == "esp" else None
        mode = self.tmode() if iface is None else "tunnel"
        return SaStatement(
            satype, mode, iface, self.hosts(), self.spispec(), self.udpencap(), self.transforms(),
            self.keyspec("authkey"), self.keyspec("enckey"), self.bundlestring() if iface is None else None,
        )  # fmt: skip

    def tcpmd5rule(self) -> SaStatement:
        """`tcpmd5 from .. to .. spi X[:Y] authkey ..`."""
        satype = self.take().kind
        return SaStatement(
            satype, "transport", None, self.hosts(), self.spispec(), None, Transforms(), self.keyspec("authkey"),
            (None, None), None,
        )  # fmt: skip
