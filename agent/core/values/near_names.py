"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

MAX_COMPARED: Final = 1000
MAX_LENGTH: Final = 100
MAX_NAMED: Final = 20
SHORTEST: Final = 3
"""Characters of a name's beginning that suggest it."""


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most similar to this one or else begins with it, or None if there is none."""
    short, compared = name[:MAX_LENGTH], known[:MAX_COMPARED]
    near = difflib.get_close_matches(short, compared, n=1)
    if not near and len(short) >= SHORTEST:
        near = [one for one in compared if one.startswith(short)]
    return near[0] if near else None


def hint(name: str, known: Sequence[str]) -> str:
    """Return a suggestion for the end of an error message: " Did you mean base? There are: base, tiny"."""
    near = nearest(name, known)
    meant = f" Did you mean {near}?" if near else ""
    more = ", ..." if len(known) > MAX_NAMED else ""
    return f"{meant} There are: {', '.join(known[:MAX_NAMED])}{more}" if known else " There are none"
