"""The script that finds the words which the glossary replaces."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import words  # noqa: E402 - a script, found by the path above

TERMS = words.glossary((ROOT / words.GLOSSARY).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("class ModelShelf:", ["shelf"]),
        ("self._kept_until = now", ["kept"]),
        ("# Nobody needs whatever this is.", ["whatever"]),
        ("seatsOf(model); SEATS_PER_BATCH", ["seats"] * 2),
        ("written in place, with two decimal places", []),
        ("process_resident_memory_bytes", []),
        ("roommates are tolerated", []),
    ],
)
def test_finds_words_in_names_and_text(line: str, found: list[str]) -> None:
    assert [word for _, word in words.words(line, TERMS)] == found


def test_every_term_of_the_glossary_replaces_other_words_than_itself() -> None:
    assert len(TERMS) > 40
    assert not [word for word, term in TERMS.items() if word in term.split(", ")]
