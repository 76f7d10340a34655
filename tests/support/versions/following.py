"""The made-up version that follows this one: the working tree with another number."""

from __future__ import annotations

from pathlib import Path

from agent import __version__

MAJOR, MINOR = (int(part) for part in __version__.split(".")[:2])
NUMBER = f"{MAJOR}.{MINOR + 1}.0"

NUMBERED = (
    "pyproject.toml",
    "agent/__init__.py",
    "sdk/python/pyproject.toml",
    "sdk/js/package.json",
    "sdk/js/src/version.ts",
)
"""The files that state the version."""


def make(source: Path) -> None:
    """Change a copy of the working tree into the next version."""
    for name in NUMBERED:
        replace(source / name, f'"{__version__}"', f'"{NUMBER}"')
    replace(
        source / "pyproject.toml",
        f"aitbc>={MAJOR}.{MINOR},<{MAJOR}.{MINOR + 1}",
        f"aitbc>={MAJOR}.{MINOR + 1},<{MAJOR}.{MINOR + 2}",
    )


def replace(file: Path, old: str, new: str) -> None:
    """Replace a text that occurs once in a file."""
    text = file.read_text()
    assert text.count(old) == 1, f"{file.name} has {old} {text.count(old)} times."
    file.write_text(text.replace(old, new))
