"""Splits a text into passages that are spoken one by one, so that the first can be played early and a job can be cancelled between two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

SHORT: Final = 120
"""Characters up to which sentences are spoken together: voices sound odd in a sentence of one word."""

LONGEST: Final = 300
"""Characters of a passage. A longer sentence is split between two clauses or words; engines have limits of their own above that."""

_CLOSING: Final = "[\"'\u201d\u2019\u00bb)\\]\u300d\u300f]*"
"""Quotation marks and brackets behind a full stop."""
_END: Final = re.compile(rf"[.!?\u2026]+{_CLOSING}\s+|[\u3002\uff01\uff1f]+{_CLOSING}\s*|\s*\n\s*\n\s*")
"""The end of a sentence, also in Chinese and Japanese, or of a paragraph."""
_ABBREVIATED: Final = re.compile(
    r"(?:^|[\s(\"'\u201c\u2018])(?:[A-Z][a-z]{0,2}|[a-z]|(?:\w\.)+\w|vs|etc)\.\s+$"
)
"""A word before a full stop that rarely ends a sentence: "Dr.", "J.", "e.g."."""
_PARAGRAPH: Final = re.compile(r"\n\s*\n")
_CLAUSE: Final = re.compile(r"[,;:\u2014\u2013\u3001\uff0c\uff1b]\s*")


def passages(text: str) -> list[str]:
    """Return the passages of a text, in order. Each has a letter or a digit; all words of the text are in them."""
    result: list[str] = []
    for sentence in _sentences(text):
        if result and len(result[-1]) + len(sentence) < SHORT:
            result[-1] += f" {sentence}"
        else:
            result += _pieces(sentence)
    spoken: list[str] = []
    for passage in result:
        if any(map(str.isalnum, passage)):
            spoken.append(passage)
        elif spoken:
            # Only signs, such as a row of asterisks: their pause belongs to what precedes.
            spoken[-1] += f" {passage}"
    return spoken


def _sentences(text: str) -> Iterator[str]:
    begin = 0
    for end in _END.finditer(text):
        sentence, following = text[begin : end.end()], text[end.end() : end.end() + 1]
        # Between two paragraphs nothing goes on.
        if not _PARAGRAPH.search(end[0]) and (following.islower() or _ABBREVIATED.search(sentence)):
            continue
        begin = end.end()
        yield from _words(sentence)
    yield from _words(text[begin:])


def _words(sentence: str) -> Iterator[str]:
    """Yield a sentence with single spaces; nothing if it is blank."""
    if words := " ".join(sentence.split()):
        yield words


def _pieces(sentence: str) -> Iterator[str]:
    """Yield a sentence in pieces of at most `LONGEST` characters."""
    while len(sentence) > LONGEST:
        head = sentence[:LONGEST]
        clauses = [match.end() for match in _CLAUSE.finditer(head) if match.end() > LONGEST // 3]
        cut = clauses[-1] if clauses else head.rfind(" ") + 1 or LONGEST
        yield sentence[:cut].strip()
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence
