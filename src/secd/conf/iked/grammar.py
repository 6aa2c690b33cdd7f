"""iked.conf(5): recursive descent, one method for each production of OpenBSD's grammar, under its name."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from secd.conf.diagnostics import Diagnostics, TooManyErrors
from secd.conf.iked.keywords import KEYWORDS
from secd.conf.iked.phrases import Phrases
from secd.conf.iked.rules import Policy, Settings, User
from secd.conf.lexer import NEWLINE, NUMBER, Lexer
from secd.conf.lines import Definition
from secd.conf.macros import Macros
from secd.conf.source import Source, SourceError, open_source

MAX_POLICIES = 10_000
MAX_DPD = 86_400  # seconds

#: Lines of ipsec.conf(5), which iked(8) skips in silence: a tunnel would be missing, and nothing would say so.
_IPSEC_CONF = ("ike", "flow", "sa", "esp", "ah", "ipcomp", "tcpmd5")

_SWITCHES = {
    "active": ("passive", False), "passive": ("passive", True),
    "couple": ("decouple", False), "decouple": ("decouple", True),
    "fragmentation": ("fragmentation", True), "nofragmentation": ("fragmentation", False),
    "mobike": ("mobike", True), "nomobike": ("mobike", False),
    "redirect": ("redirect", True), "noredirect": ("redirect", False),
    "vendorid": ("vendorid", True), "novendorid": ("vendorid", False),
}  # fmt: skip
#: What is so in any case: a tunnel has one peer, which has one IKE SA, and gets the same inner address again;
#: certificates in ca/ are trusted whether they are roots or not.
_GIVEN = ("enforcesingleikesa", "stickyaddress", "cert_partial_chain")
#: The opposite, which is accepted with a warning.
_OTHERWISE = {
    "noenforcesingleikesa": "a tunnel has one peer and one IKE SA here",
    "nostickyaddress": "a peer is given the inner address that it had before, if it is free",
}


class Parsed(Struct, frozen=True):
    """What a configuration says, and what is wrong with it.  `unused` are the macros that no line uses."""

    settings: Settings
    users: tuple[User, ...]
    policies: tuple[Policy, ...]
    definitions: tuple[Definition, ...]
    unused: tuple[str, ...]
    diagnostics: Diagnostics


def parse_file(path: str, defines: Sequence[tuple[str, str]] = ()) -> Parsed:
    """Read the configuration at `path`, `-` being standard input; it and what it includes must be secret."""
    try:
        return parse(open_source(path, secret=path != "-"), defines)
    except SourceError as error:
        diagnostics = Diagnostics()
        diagnostics.error(f"ikectl: {error}", None)
        return Parsed(Settings(), (), (), (), (), diagnostics)


def parse_text(text: str, name: str = "stdin", defines: Sequence[tuple[str, str]] = ()) -> Parsed:
    """Read a configuration that is there as text."""
    return parse(Source(name, text), defines)


def parse(source: Source, defines: Sequence[tuple[str, str]] = ()) -> Parsed:
    """Read a configuration; whatever is wrong with it is among the diagnostics, and nothing is raised."""
    diagnostics = Diagnostics()
    macros = Macros(defines)
    lexer = Lexer(source, macros, diagnostics, KEYWORDS, secret_includes=True)
    grammar = Grammar(lexer, macros, diagnostics)
    try:
        grammar.grammar()
    except TooManyErrors:
        diagnostics.warning("too many errors: the rest was not read", lexer.origin)
    return Parsed(
        grammar.settings, tuple(grammar.users), tuple(grammar.policies), tuple(grammar.definitions),
        tuple(macros.unused()), diagnostics,
    )  # fmt: skip


class Grammar(Phrases):
    """The lines of a configuration."""

    def __init__(self, lexer: Lexer, macros: Macros, diagnostics: Diagnostics) -> None:
        """Read from `lexer`."""
        super().__init__(lexer, macros)
        self.settings = Settings()
        self.users: list[User] = []
        self.policies: list[Policy] = []
        self._diagnostics = diagnostics

    def count(self) -> int:
        """Say how many policies there are so far."""
        return len(self.policies)

    def rule(self) -> None:
        """Read `set`, `user` or `ikev2`."""
        kind = self.peek()
        if kind == "set":
            self.set()
        elif kind == "user":
            self.user()
        elif kind == "ikev2":
            self.ikev2rule()
        elif kind in _IPSEC_CONF:
            self.take()
            self.fail(f"{kind}: this line is ipsec.conf's: write it there, or write an ikev2 policy here")
        else:
            self.syntax_error("set", "user", "ikev2")

    def set(self) -> None:
        """`set WORD`, `set dpd_check_interval N`, `set ocsp URL ..`."""
        self.take()
        if kind := self.accept(*_SWITCHES):
            name, value = _SWITCHES[kind]
            setattr(self.settings, name, value)
        elif self.accept("dpd_check_interval"):
            seconds = self.expect(NUMBER).number
            if not 0 <= seconds <= MAX_DPD:
                self.fail(f"dpd_check_interval outside range: 0 to {MAX_DPD} seconds")
            self.settings.dpd_check_interval = seconds
        elif kind := self.accept(*_OTHERWISE):
            self._warn(f"{kind}: {_OTHERWISE[kind]}")
        elif self.accept("ocsp"):
            self.fail("ocsp is not available here: put the revocation lists of the authorities into /etc/iked/crls")
        elif not self.accept(*_GIVEN):
            self.syntax_error(*sorted((*_SWITCHES, *_GIVEN, *_OTHERWISE, "dpd_check_interval")))
        self._end_of_line()

    def user(self) -> None:
        """`user NAME PASSWORD`."""
        self.take()
        name = self.string()
        self.string()
        self._end_of_line()
        if len(self.users) < MAX_POLICIES:
            self.users.append(User(self.lexer.origin, name))

    def ikev2rule(self) -> None:
        """`ikev2 ["name"] ..`: see `Policy`."""
        self.take()
        name = self.take().text if self.peek() == "STRING" else ""
        evaluation = self.ikematch()
        active = self.accept("passive", "active") == "active"
        ipcomp = bool(self.accept("ipcomp"))
        transport = self.accept("tunnel", "transport") == "transport"
        natt = bool(self.accept("natt"))
        satype, family, protos, rdomain = self.satype(), self.af(), self.proto(), self.rdomain()
        hosts = self.hosts_list()
        local, peer = self.peers(family)
        family = peer.family if peer else local.family if local else family
        ikesa, childsa = self.ike_sas(), self.child_sas()
        srcid, dstid = self.ids()
        ikelifetime = self.ikelifetime()
        lifetime, lifetime_bytes = self.lifetime()
        auth, ppk, config, iface = self.ikeauth(), self.ppk(), self.ikecfg(), self.iface()
        tag, tap = self.filters()
        self._end_of_line()
        if active and (peer is None or peer.network):
            self.fail("active mode requires local/peer address", "an active policy names the peer by one address")
        if len(self.policies) >= MAX_POLICIES:
            self._diagnostics.error(f"more than {MAX_POLICIES} policies", self.lexer.origin)
            raise TooManyErrors
        self.policies.append(Policy(
            self.lexer.origin, name or f"policy{len(self.policies) + 1}", evaluation, active, ipcomp, transport, natt,
            satype, family, protos, rdomain, hosts, local, peer, ikesa, childsa, srcid, dstid, ikelifetime, lifetime,
            lifetime_bytes, auth, ppk, config, iface, tag, tap,
        ))  # fmt: skip

    def _end_of_line(self) -> None:
        if self.peek() != NEWLINE:
            self.syntax_error(NEWLINE)

    def _warn(self, message: str) -> None:
        self._diagnostics.warning(message, self.lexer.origin)
