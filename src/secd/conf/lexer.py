"""Characters to tokens, as ipsec.conf(5) and iked.conf(5) have it: macros, quotes, continuation, comments, includes.

The common case (a whole word or number in plain text) is one match of a regular expression.  What remains - a token
that a macro or a continued line cuts in two - goes character by character.  `Lexer.line` is where the reader stood when
it gave the last token: errors name that line.  Text is UTF-8 with surrogates for what is not, so that a quoted string
keeps its octets.
"""

from __future__ import annotations

import re

from secd.conf.diagnostics import Diagnostics, Origin
from secd.conf.macros import Macros
from secd.conf.source import Chunk, Source, SourceError, open_source

MAX_TOKEN = 8094  # octets, as OpenBSD's
MAX_INCLUDES = 16  # files that include each other
MAX_TEXT = 32 * 1024 * 1024  # characters of all files together
MAX_EXPANSION = 4 * 1024 * 1024  # characters put in place of macros, over the whole configuration

_WORD_CHARACTERS = r"A-Za-z0-9\"$%&'*+\-.:;?@\[\]^_`|~"
_WORD = re.compile(rf"[A-Za-z0-9:_*][{_WORD_CHARACTERS}]*+(?=[^\\])")
_NUMBER = re.compile(r"-?[0-9]+(?=[\s),/}=])", re.ASCII)
_COMMENT = re.compile(r"[^\n\\]*")
_BLANKS = re.compile(r"[ \t]*")
_QUOTED = {quote: re.compile(rf"[^{quote}\\\n\0]*+") for quote in "'\""}
_STARTS_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_*")
_IN_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_IN_WORD = _IN_NAME | frozenset("\"$%&'*+-.:;?@[\\]^`|~")
_DIGITS = frozenset("0123456789")
_ENDS_NUMBER = frozenset(" \t\n\v\f\r),/}=")

STRING, NUMBER, ERROR, NEWLINE, END = "STRING", "NUMBER", "ERROR", "\n", ""


class Token:
    """`kind` is STRING, NUMBER, ERROR, END, a keyword, or the character itself."""

    __slots__ = ("kind", "number", "text")

    def __init__(self, kind: str, text: str = "", number: int = 0) -> None:
        """Make a token; `text` is what stood there."""
        self.kind = kind
        self.text = text
        self.number = number


class Lexer:
    """Tokens of a file and of the files that it includes."""

    def __init__(
        self,
        top: Source,
        macros: Macros,
        diagnostics: Diagnostics,
        keywords: frozenset[str],
        *,
        secret_includes: bool = False,
    ) -> None:
        """Start at the beginning of `top`; with `secret_includes`, what it includes must be as secret as it is."""
        self.line = 1
        self._macros = macros
        self._diagnostics = diagnostics
        self._keywords = keywords
        self._secret_includes = secret_includes
        self._files = [top]
        self._file = top
        self._pushed = top.pushed
        self._expanding = False
        self._expanded = 0
        self._read = len(top.text)

    @property
    def origin(self) -> Origin:
        """Where the reader stands."""
        return Origin(self._file.name, self.line)

    def error(self, message: str, hint: str = "", *, blames_file: bool = True) -> None:
        """Note an error where the reader stands."""
        self._diagnostics.error(message, self.origin, hint, blames_file=blames_file)

    def note(self, message: str) -> None:
        """Note a line that goes before an error."""
        self._diagnostics.warning(message, None)

    # -- tokens -------------------------------------------------------------------------------------------

    def next(self) -> Token:
        """Give the next token; END for ever after the last."""
        while True:
            c = self._skip_blanks()
            self.line = self._file.line
            if c == "#":
                c = self._skip_comment()
            if c == "$" and not self._expanding:
                failed = self._expand()
                if failed:
                    return failed
                continue
            break
        if c in ("'", '"'):
            return self._quoted(c)
        if c in _DIGITS or c == "-":
            number = self._number(c)
            if number:
                return number
        if c in _STARTS_WORD:
            return self._word(c)
        if c == "\n":
            self.line = self._file.line
            self._file.line += 1
        return Token(c, c)

    def _skip_blanks(self) -> str:
        while True:
            if not self._pushed:
                file = self._file
                match = _BLANKS.match(file.text, file.pos)
                file.pos = match.end() if match else file.pos
            c = self._getc()
            if c not in (" ", "\t"):
                return c

    def _skip_comment(self) -> str:
        """Swallow up to the end of the line; a backslash before it continues the comment."""
        while True:
            if not self._pushed:
                file = self._file
                match = _COMMENT.match(file.text, file.pos)
                file.pos = match.end() if match else file.pos
            c = self._getc()
            if c in ("\n", END):
                return c

    def _expand(self) -> Token | None:
        """Put the value of the macro whose `$` was read in front of what follows."""
        name: list[str] = []
        while True:
            c = self._getc()
            if c == END:
                return Token(END)
            if len(name) >= MAX_TOKEN:
                return self._broken("string too long")
            if c not in _IN_NAME:
                self._ungetc(c)
                break
            name.append(c)
        value = self._macros.get("".join(name))
        if value is None:
            return self._broken(f"macro '{''.join(name)}' not defined")
        self._expanded += len(value)
        if self._expanded > MAX_EXPANSION:
            return self._broken(f"macros stand for more than {MAX_EXPANSION} characters")
        self._pushed.append(Chunk(value, expanding=True))
        return None

    def _quoted(self, quote: str) -> Token:
        text: list[str] = []
        length = 0
        while True:
            run = "" if self._pushed else self._quoted_run(quote)
            length += len(run)
            text.append(run)
            c = self._getc_quoted(quote)
            if c == END:
                return Token(END)
            if c == quote:
                return Token(STRING, "".join(text)) if length <= MAX_TOKEN else self._broken("string too long")
            if c == "\n":
                self._file.line += 1
                continue
            if c == "\\":
                following = self._getc_quoted(quote)
                if following == END:
                    return Token(END)
                if following == "\n":
                    self._file.line += 1
                    continue
                if following in (quote, " ", "\t"):
                    c = following
                else:
                    self._ungetc(following)
            elif c == "\0":
                return self._broken("syntax error", "a NUL octet in a quoted string")
            length += 1
            if length > MAX_TOKEN:
                return self._broken("string too long")
            text.append(c)

    def _quoted_run(self, quote: str) -> str:
        """Take the characters up to one that needs a look."""
        file = self._file
        match = _QUOTED[quote].match(file.text, file.pos)
        if not match:
            return ""
        file.pos = match.end()
        return match.group()

    def _number(self, first: str) -> Token | None:
        """Read a number, or nothing (then `first` is still what was read last)."""
        match = None if self._pushed else _NUMBER.match(self._file.text, self._file.pos - 1)
        if match:
            self._file.pos = match.end()
            digits = match.group()
        else:
            characters = [first]
            while (c := self._getc()) in _DIGITS and len(characters) <= MAX_TOKEN:
                characters.append(c)
            if c != END:
                self._ungetc(c)
            if characters == ["-"] or not (c == END or c in _ENDS_NUMBER):
                if len(characters) > 1:
                    self._pushed.append(Chunk("".join(characters[1:]), self._expanding))
                return None
            digits = "".join(characters)
        if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 63:
            shown = digits if len(digits) <= 40 else digits[:40] + "..."
            return self._broken(f'"{shown}" invalid number: too {"small" if digits[0] == "-" else "large"}')
        return Token(NUMBER, digits, int(digits))

    def _word(self, first: str) -> Token:
        match = None if self._pushed else _WORD.match(self._file.text, self._file.pos - 1)
        if match and match.end() - match.start() < MAX_TOKEN:
            self._file.pos = match.end()
            word = match.group()
        else:
            characters = [first]
            while (c := self._getc()) in _IN_WORD:
                characters.append(c)
                if len(characters) >= MAX_TOKEN:
                    return self._broken("string too long")
            if c != END:
                self._ungetc(c)
            word = "".join(characters)
        return Token(word, word) if word in self._keywords else Token(STRING, word)

    def _broken(self, message: str, hint: str = "") -> Token:
        """Note an error and leave the rest of the line unread."""
        self.error(message, hint)
        while True:
            c = self._getc()
            if c == "\n":
                self._file.line += 1
                break
            if c == END:
                break
        return Token(ERROR)

    # -- characters ---------------------------------------------------------------------------------------

    def _raw(self) -> str:
        """Give the next character of the current file, END at its end."""
        while self._pushed:
            chunk = self._pushed[-1]
            if chunk.pos < len(chunk.text):
                self._expanding = chunk.expanding
                chunk.pos += 1
                return chunk.text[chunk.pos - 1]
            self._pushed.pop()
        self._expanding = False
        file = self._file
        if file.pos < len(file.text):
            file.pos += 1
            return file.text[file.pos - 1]
        return END

    def _getc(self) -> str:
        """Give the next character outside quotes: `\\` before a newline joins lines, before another is dropped."""
        while (c := self._raw()) == "\\":
            c = self._raw()
            if c != "\n":
                break
            self.line = self._file.line
            self._file.line += 1
        if c == END:
            # Each file ends with a newline, whether it is there or not: a rule cannot go on in another file.
            if not self._file.eof_reached:
                self._file.eof_reached = True
                return "\n"
            while c == END:
                if not self._pop_file():
                    return END
                c = self._raw()
        return c

    def _getc_quoted(self, quote: str) -> str:
        """Give the next character inside quotes.  The end of an included file closes them, with an error."""
        c = self._raw()
        if c == END:
            self.error("reached end of file while parsing quoted string", "a closing quote is missing")
            return quote if self._pop_file() else END
        return c

    def _ungetc(self, c: str) -> None:
        self._pushed.append(Chunk(c, self._expanding))

    # -- files --------------------------------------------------------------------------------------------

    def include(self, path: str) -> str:
        """Read `path` before what follows; give why not, or nothing."""
        if len(self._files) > MAX_INCLUDES:
            return f"files include each other more than {MAX_INCLUDES} deep"
        try:
            source = open_source(path, secret=self._secret_includes)
        except SourceError as error:
            return str(error)
        self._read += len(source.text)
        if self._read > MAX_TEXT:
            return f"all files together are larger than {MAX_TEXT} characters"
        if any(source.identity and source.identity == file.identity for file in self._files):
            return f"{path} includes itself"
        source.line = 0  # the newline after the name comes first
        self._files.append(source)
        self._file = source
        self._pushed = source.pushed
        self._pushed.append(Chunk("\n", expanding=False))
        return ""

    def _pop_file(self) -> bool:
        if len(self._files) == 1:
            return False
        self._files.pop()
        self._file = self._files[-1]
        self._pushed = self._file.pushed
        return True
