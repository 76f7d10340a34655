"""Names for output files, from untrusted names and from prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path, PureWindowsPath

_LETTERS = 40


def safe_name(name: str, otherwise: str) -> str:
    """Return the last part of a file's name, or `otherwise` if it would leave the directory or has control characters."""
    # Windows accepts both slashes as separators, so its rules are the stricter ones.
    plain = PureWindowsPath(name).name.strip()
    return plain if plain.isprintable() and plain not in {"", ".", ".."} else otherwise


def numbered(path: Path) -> Iterator[Path]:
    """Yield the path, then the same path with the numbers 2, 3 and so on."""
    yield path
    for number in count(2):
        yield with_number(path, number)


def with_number(path: Path, number: int) -> Path:
    """Return the path with a number at the end of its stem."""
    return path.with_stem(f"{path.stem}-{number}")


def name_of(prompt: str) -> str:
    """Return a short file name for a prompt."""
    joined = re.sub(r"\W+", "-", prompt.lower()).strip("-")
    return joined[:_LETTERS].rstrip("-") or "picture"
