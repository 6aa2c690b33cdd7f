"""The lexer of ipsec.conf: what a person would stumble over, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secd.conf.diagnostics import Diagnostics, TooManyErrors
from secd.conf.ipsec.keywords import KEYWORDS
from secd.conf.lexer import END, ERROR, NEWLINE, NUMBER, STRING, Lexer
from secd.conf.macros import Macros
from secd.conf.source import Chunk, Source, SourceError, open_source

MACROS = (("host", "192.0.2.1"), ("list", "{ a, b }"), ("dollar", "$host"), ("open", "10.0."))


def lex(text: str, *, slowly: bool = False) -> tuple[list[tuple[str, str, int, int]], list[str]]:
    """Give (kind, text, number, line) of every token, and the errors; `slowly` goes character by character."""
    source = Source("f", "" if slowly else text)
    if slowly:
        source.pushed.append(Chunk(text, expanding=False))
    diagnostics = Diagnostics()
    lexer = Lexer(source, Macros(MACROS), diagnostics, KEYWORDS)
    tokens: list[tuple[str, str, int, int]] = []
    try:
        while (token := lexer.next()).kind != END:
            tokens.append((token.kind, token.text, token.number, lexer.line))
    except TooManyErrors:
        pass
    return tokens, [str(diagnostic) for diagnostic in diagnostics.all]


def words(text: str) -> list[str]:
    """Give the text of every token but the newlines."""
    return [token[1] for token in lex(text)[0] if token[0] != NEWLINE]


def test_a_word_may_hold_punctuation_but_no_brackets() -> None:
    assert words("a-b.c:d%e@f[g]{h}") == ["a-b.c:d%e@f[g]", "{", "h", "}"]


def test_a_keyword_in_quotes_is_a_string() -> None:
    assert [token[0] for token in lex("main \"main\" 'main'")[0][:3]] == ["main", STRING, STRING]


@pytest.mark.parametrize("text", ["10", "-10", "10 ", "10)", "10,", "10/", "10}", "10="])
def test_digits_that_end_so_are_a_number(text: str) -> None:
    assert lex(text)[0][0][0] == NUMBER


@pytest.mark.parametrize("text", ["10a", "10.0.0.1", "0x10", "3des", "10:20", "10{", "30m"])
def test_digits_that_go_on_otherwise_are_a_word(text: str) -> None:
    assert lex(text)[0][0][:2] == (STRING, text.rstrip("{"))


def test_a_number_beyond_64_bits_is_an_error_in_its_line() -> None:
    tokens, errors = lex("a\n9223372036854775808 b\nc")
    assert errors == ['f: 2: "9223372036854775808" invalid number: too large']
    assert [token[0] for token in tokens] == [STRING, NEWLINE, ERROR, STRING, NEWLINE]


def test_a_backslash_joins_lines_and_the_line_number_goes_on() -> None:
    tokens, _ = lex("a \\\n  b\nc")
    assert [(token[1], token[3]) for token in tokens] == [("a", 1), ("b", 2), ("\n", 2), ("c", 3), ("\n", 3)]


def test_a_backslash_joins_the_halves_of_a_word() -> None:
    assert words("ab\\\ncd 1\\\n2 ") == ["abcd", "12"]


def test_a_comment_goes_on_after_a_backslash() -> None:
    assert words("a # b \\\n c \n d") == ["a", "d"]


def test_newlines_in_quotes_vanish_and_are_counted() -> None:
    tokens, _ = lex('"a\nb" c')
    assert [(token[1], token[3]) for token in tokens[:2]] == [("ab", 1), ("c", 2)]


def test_quotes_are_escaped_by_a_backslash_and_other_characters_are_not() -> None:
    assert words(r'"a\"b\ c\d"') == ['a"b c\\d']


def test_a_macro_stands_for_its_words_wherever_it_ends() -> None:
    assert words("$host/24 $list $open.5") == ["192.0.2.1", "/", "24", "{", "a", ",", "b", "}", "10.0..5"]


def test_a_macro_within_a_macro_or_within_quotes_is_not_expanded() -> None:
    assert words('$dollar "$host"') == ["$", "host", "$host"]


def test_a_macro_that_is_not_there_spoils_its_line() -> None:
    tokens, errors = lex("a $nothing b\nc")
    assert errors == ["f: 1: macro 'nothing' not defined"]
    assert [token[0] for token in tokens] == [STRING, ERROR, STRING, NEWLINE]


def test_a_quote_that_is_never_closed_is_reported_where_it_was_opened() -> None:
    tokens, errors = lex('a\n"b\nc')
    assert errors == ["f: 2: reached end of file while parsing quoted string"]
    assert tokens[-1][0] == NEWLINE


def test_a_word_of_more_than_8094_characters_is_refused() -> None:
    assert lex("a" * 9000)[1] == ["f: 1: string too long"]
    assert lex('"' + "a" * 9000 + '"')[1] == ["f: 1: string too long"]
    assert lex("$" + "a" * 9000)[1] == ["f: 1: string too long"]


def test_octets_that_are_not_utf_8_come_through_quotes(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b'"\xff\xc3\xbc" \xff')
    path.chmod(0o600)
    tokens, _ = lex(open_source(str(path), secret=True).text)
    assert tokens[0][1].encode("utf-8", "surrogateescape") == b"\xff\xc3\xbc"
    assert tokens[1][0] not in (STRING, NUMBER)


def test_a_nul_octet_in_quotes_is_a_syntax_error() -> None:
    assert lex('"a\0b"\nc')[1] == ["f: 1: syntax error"]


_PIECES = (
    "$host", "$list", "$open", "$dollar", "$nothing", "\\\n", "\n", " ", "\t", '"', "'", "#", "\\", "ike", "esp", "10",
    "-1", "10.0.0.0/24", "3des", "0x1:0x2", "{", "}", "(", ")", ",", "=", "a", "sec0", "\0", "\r", "é", "\udcff",
)  # fmt: skip
_TEXT = st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=5)), max_size=40).map("".join)


@settings(deadline=None)
@given(_TEXT)
def test_the_quick_way_reads_what_the_slow_way_reads(text: str) -> None:
    assert lex(text) == lex(text, slowly=True)


# -- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "good"), [(0o600, True), (0o640, True), (0o400, True), (0o660, False), (0o604, False)]
)
def test_a_file_with_secrets_must_be_secret(tmp_path: Path, mode: int, good: bool) -> None:
    path = tmp_path / "ipsec.conf"
    path.write_text("x")
    path.chmod(mode)
    if good:
        assert open_source(str(path), secret=True).text == "x"
    else:
        with pytest.raises(SourceError, match="group writable or world read/writable"):
            open_source(str(path), secret=True)


@pytest.mark.parametrize("path", ["/nonexistent", "/", "a\0b"])
def test_what_is_no_file_is_told_so(path: str) -> None:
    with pytest.raises(SourceError):
        open_source(path, secret=False)


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(SourceError, match="larger than"):
        open_source("/dev/zero", secret=False)
