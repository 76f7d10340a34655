"""Names that clients give their files."""

from __future__ import annotations


def clean_file_name(name: str | None) -> str | None:
    """Return a file name without directories and control characters; None if nothing is left of it."""
    if name is None:
        return None
    base = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in base if letter.isprintable()).strip()[:255] or None
