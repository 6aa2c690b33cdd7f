"""Text back to what the lexer reads as the same text."""

from __future__ import annotations

import re

#: What needs no quotes: a word of the lexer's without punctuation that makes one look twice, and not a number.
_PLAIN = re.compile(r"(?!-?[0-9]+\Z)[A-Za-z0-9:_*][A-Za-z0-9:_*.@%+-]*\Z", re.ASCII)
_ESCAPED = re.compile(r'"|(?<=\\)[ \t]')


def quote(text: str, keywords: frozenset[str], *, always: bool = False) -> str:
    """Give `text` as a word, unless it is one of `keywords`, or in quotes; `always` in quotes where that can be.

    Quotes cannot hold a backslash at their end; a word can, doubled, and so what ends in one has been a word.
    """
    if _PLAIN.match(text) and text not in keywords and not always:
        return text
    if text.endswith("\\"):
        return text.replace("\\", "\\\\")
    return f'"{_ESCAPED.sub(lambda match: chr(92) + match.group(), text)}"'
