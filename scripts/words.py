"""Finds words that the list of terms in CONTRIBUTING.md replaces: in names, comments, messages and pages.

.venv/bin/python scripts/words.py           prints each line with such a word, and the term to use; exit status 1 if there are any
.venv/bin/python scripts/words.py PATH...   reads these files only
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
GLOSSARY: Final = "CONTRIBUTING.md"

SUFFIXES: Final = frozenset(
    {"", ".css", ".html", ".js", ".md", ".py", ".service", ".sh", ".toml", ".ts", ".tsx", ".yml"}
)
NOT_READ: Final = re.compile(
    r"scripts/(words|names)\.py|tests/unit/scripts/test_words\.py|CONTRIBUTING\.md|CHANGELOG\.md|LICENSE|tests/vectors/|agent/coordinator/store/schema/migrations/versions/"
)
"""This script, its test, the list of terms, the names of earlier versions, and data."""

ORDINARY: Final = re.compile(
    r"(in|into|out of|take|takes|taking|took|first|decimal|binary|market|version) ?places?"
    r"|place ?(holder|ment|ments|d|s the)"
    r"|resident (memory|set|bytes)|process resident|memory resident"
    r"|(status|http|410|error|\.) gone"
    r"|[\"`]gone[\"`]|deliverystate\.gone|delivery state\.gone|gone (webhooks|at)\b|^ *gone ="
    r"|\.tell\(\)|tell a story|\bsqlite master|\bmaster display|encryption\|master\||\.master\b|\.kept\b"
)
"""Uses of the same words in ordinary English, and in the names of other programs; matched in lower case."""

Terms = dict[str, str]


def main(arguments: list[str]) -> int:
    """Return the exit status."""
    terms = glossary((ROOT / GLOSSARY).read_text(encoding="utf-8"))
    found = 0
    for name in arguments or _tracked():
        path = ROOT / name
        if path.suffix not in SUFFIXES or NOT_READ.match(name) or not path.is_file():
            continue
        for number, word in words(path.read_text(encoding="utf-8", errors="replace"), terms):
            print(f"{name}:{number}: {word!r}: use {terms[word]!r}")
            found += 1
    return 1 if found else 0


def glossary(page: str) -> Terms:
    """Return the words of the table's last column, each with the term of the first."""
    terms: Terms = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3:  # noqa: PLR2004 - term, meaning, not
            terms |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[2]), cells[0])
    return terms


def words(text: str, terms: Terms) -> Iterator[tuple[int, str]]:
    """Yield each line's number with a word that is not to be used."""
    unwanted = re.compile(
        r"(?<![a-z])(" + "|".join(sorted(map(re.escape, terms), key=len, reverse=True)) + r")(?![a-z])"
    )
    for number, line in enumerate(text.splitlines(), 1):
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]", " ", line).lower()
        for match in unwanted.finditer(ORDINARY.sub(lambda m: " " * len(m[0]), spaced)):
            yield number, match[1]


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    return listed.stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
