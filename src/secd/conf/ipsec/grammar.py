"""ipsec.conf(5): recursive descent, one method for each production of OpenBSD's grammar, under its name.

Rules are expanded as soon as their line ends, so that what is wrong with them is reported with that line.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from secd.conf.diagnostics import Diagnostics, TooManyErrors
from secd.conf.ipsec.expand import Expander
from secd.conf.ipsec.keywords import KEYWORDS
from secd.conf.ipsec.phrases import SA_PROTOCOLS, Phrases
from secd.conf.ipsec.rules import FlowStatement, IkeStatement, Rule, SaStatement, Statement
from secd.conf.ipsec.transforms import Transforms
from secd.conf.lexer import NEWLINE, Lexer
from secd.conf.lines import Definition
from secd.conf.macros import Macros
from secd.conf.parser import RuleError
from secd.conf.source import Source, SourceError, open_source


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
    grammar = Grammar(Lexer(source, macros, diagnostics, KEYWORDS), macros, diagnostics)
    try:
        grammar.grammar()
    except TooManyErrors:
        diagnostics.warning("too many errors: the rest was not read", grammar.lexer.origin)
    return Parsed(tuple(grammar.rules), tuple(grammar.definitions), tuple(macros.unused()), diagnostics)


class Grammar(Phrases):
    """The lines of a configuration."""

    def __init__(self, lexer: Lexer, macros: Macros, diagnostics: Diagnostics) -> None:
        """Read from `lexer`."""
        super().__init__(lexer, macros)
        self.rules: list[Rule] = []
        self._expander = Expander(self.rules, diagnostics)

    def count(self) -> int:
        """Say how many rules there are so far."""
        return len(self.rules)

    def rule(self) -> None:
        """Read a rule, and expand it."""
        kind = self.peek()
        if kind == "ike":
            self._end_of_rule(self.ikerule())
        elif kind == "flow":
            self._end_of_rule(self.flowrule())
        elif kind in SA_PROTOCOLS:
            self._end_of_rule(self.sarule())
        elif kind == "tcpmd5":
            self._end_of_rule(self.tcpmd5rule())
        else:
            self.syntax_error()

    def _end_of_rule(self, statement: Statement) -> None:
        if self.peek() != NEWLINE:
            self.syntax_error(NEWLINE)
        if not self._expander.add(statement, self.lexer.origin):
            raise RuleError

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
