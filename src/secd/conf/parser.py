"""One token of lookahead and recovery from errors, as yacc has them; grammars are in `conf.ipsec` and `conf.iked`.

An error is reported where the reader stands, then tokens are skipped to the end of the line.  As with yacc, an error
within three tokens of the last one is not reported again.
"""

from __future__ import annotations

from typing import NoReturn

from secd.conf.lexer import END, ERROR, NEWLINE, NUMBER, STRING, Lexer, Token

_QUIET_TOKENS = 3
#: After these on a line a word may be part of a key, and is not quoted: hints reach tickets by `sec doctor`.
_BEFORE_KEYS = frozenset({"psk", "ppk", "authkey", "enckey"})
_WORDS = {STRING: "a word", NUMBER: "a number", NEWLINE: "the end of the line"}


class RuleError(Exception):
    """This rule is not to be had; the reason is among the diagnostics."""


class Parser:
    """What the productions are written with."""

    def __init__(self, lexer: Lexer) -> None:
        """Read from `lexer`."""
        self.lexer = lexer
        self._ahead: Token | None = None
        self._quiet = 0
        self._key_seen = False

    def peek(self) -> str:
        """Give the kind of the next token."""
        if self._ahead is None:
            self._ahead = self.lexer.next()
        return self._ahead.kind

    def take(self) -> Token:
        """Accept the next token, whatever it is."""
        token = self._ahead or self.lexer.next()
        self._ahead = None
        self._key_seen = token.kind != NEWLINE and (self._key_seen or token.kind in _BEFORE_KEYS)
        if self._quiet:
            self._quiet -= 1
        return token

    def accept(self, *kinds: str) -> str:
        """Accept the next token if it is one of `kinds`; give its kind, or nothing."""
        return self.take().kind if self.peek() in kinds else ""

    def accept_word(self, text: str) -> bool:
        """Accept the next token if it is the word `text`, which is no keyword."""
        if self.peek() != STRING or self._ahead is None or self._ahead.text != text:
            return False
        self.take()
        return True

    def expect(self, kind: str) -> Token:
        """Accept a token of `kind`; anything else is a syntax error."""
        if self.peek() != kind:
            self.syntax_error(kind)
        return self.take()

    def string(self) -> str:
        """Accept a word or a quoted string."""
        return self.expect(STRING).text

    def syntax_error(self, *expected: str) -> NoReturn:
        """Report that the next token cannot stand here."""
        self.peek()
        if not self._quiet:
            self.lexer.error("syntax error", self._hint(expected))
        raise RuleError

    def fail(self, message: str, hint: str = "") -> NoReturn:
        """Report what is wrong with a rule that is well-formed."""
        self.lexer.error(message, hint)
        raise RuleError

    def recover(self) -> bool:
        """Skip to the end of the line; give False when the configuration ends there."""
        self._quiet = _QUIET_TOKENS
        while True:
            kind = self.peek()
            if kind == END:
                return False
            if kind == NEWLINE:
                self.take()
                return True
            self._ahead = None

    def _hint(self, expected: tuple[str, ...]) -> str:
        token = self._ahead
        if token is None or token.kind == ERROR:
            return ""
        if token.kind == END:
            seen = "the end of the file"
        else:
            hidden = token.kind == NEWLINE or (self._key_seen and token.kind in (STRING, NUMBER))
            seen = _WORDS[token.kind] if hidden else f"{token.text[:40]!r}"
        if not expected:
            return f"{seen} cannot stand here"
        quotes = " (in quotes it would be one)" if STRING in expected and token.kind[:1].isalnum() else ""
        return f"found {seen}, expected {' or '.join(_WORDS.get(kind, repr(kind)) for kind in expected)}{quotes}"
