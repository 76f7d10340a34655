"""Names for output files: from what a stranger's machine calls them, and from words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PureWindowsPath

_LETTERS = 40


def safe_name(name: str, otherwise: str) -> str:
    """The name of an output file without what would lead out of its directory, or act on a terminal."""
    plain = PureWindowsPath(name).name.strip()
    return plain if plain.isprintable() and plain not in {"", ".", ".."} else otherwise


def numbered(path: Path) -> Iterator[Path]:
    """The path, then the same with the numbers 2, 3 and so on."""
    yield path
    for number in count(2):
        yield with_number(path, number)


def with_number(path: Path, number: int) -> Path:
    """The path with a number at the end of the name."""
    return path.with_stem(f"{path.stem}-{number}")


def name_of(words: str) -> str:
    """A short name for a file about these words."""
    joined = re.sub(r"\W+", "-", words.lower()).strip("-")
    return joined[:_LETTERS].rstrip("-") or "picture"
