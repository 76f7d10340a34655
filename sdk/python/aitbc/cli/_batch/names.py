"""Names for output files, from untrusted names and from prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path, PureWindowsPath

import typer

_LETTERS = 40
_LABEL_LENGTH = 40


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


def label_of(prompt: str) -> str:
    """Return the beginning of a prompt, on one line, for the display."""
    words = " ".join(prompt.split())
    return words if len(words) <= _LABEL_LENGTH else f"{words[: _LABEL_LENGTH - 3]}..."


def format_of(output: Path | None, formats: Mapping[str, str], listed: str) -> dict[str, str]:
    """Return the field of a request that follows from a file's suffix, none without a file. Raises `BadParameter`; `listed` are the suffixes."""
    if output is None:
        return {}
    if output.suffix.lower() not in formats:
        raise typer.BadParameter(f"-o {output} has no suffix of a known format: {listed}.")
    return {"output_format": formats[output.suffix.lower()]}
