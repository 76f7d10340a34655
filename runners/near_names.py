"""Suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

MAX_CONSIDERED: Final = 1000
"""Known names that are looked at, the first ones."""
MAX_COMPARED: Final = 100
"""Known names that are compared letter by letter, which takes a time that grows with both lengths."""
MAX_COMPARISONS: Final = 100_000
"""Pairs of letters that one search compares at most, so about 10 ms: a hundred usual names, or ten of a hundred letters."""
MAX_LENGTH: Final = 100
MAX_NAMED: Final = 20
SHORTEST: Final = 3
"""Characters of a name's beginning that suggest it."""
CUTOFF: Final = 0.6
"""Similarity from which a name is suggested: twice the common letters, divided by all letters of both names."""


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the known name that is most similar to this one or else begins with it, or None if there is none.

    Of many known names, only those that may be similar are compared, and those that begin alike are preferred.
    """
    # Both come from requests, so the time must not grow with what a stranger sends.
    short, considered = name[:MAX_LENGTH], names[:MAX_CONSIDERED]
    near = difflib.get_close_matches(short, _comparable(short, considered), n=1, cutoff=CUTOFF)
    if not near and len(short) >= SHORTEST:
        near = [candidate for candidate in considered if candidate.startswith(short)]
    return near[0] if near else None


def _comparable(name: str, names: Sequence[str]) -> list[str]:
    """Return the known names whose length allows a similarity, those that begin like this one first, within the limits."""
    similar = [
        candidate
        for candidate in names
        if len(candidate) <= MAX_LENGTH
        and 2 * min(len(candidate), len(name)) >= CUTOFF * (len(candidate) + len(name))
    ]

    def rank(candidate: str) -> tuple[int, int]:
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(candidate, name, strict=False)))
        return -alike, abs(len(candidate) - len(name))

    comparable, comparisons_left = [], MAX_COMPARISONS
    for candidate in sorted(similar, key=rank)[:MAX_COMPARED]:
        comparisons_left -= len(candidate) * len(name)
        if comparisons_left < 0:
            break
        comparable.append(candidate)
    return comparable


def hint(name: str, names: Sequence[str]) -> str:
    """Return a suggestion for the end of an error message: " Did you mean base? There are: base, tiny"."""
    near = nearest(name, names)
    meant = f" Did you mean {near}?" if near else ""
    ellipsis = ", ..." if len(names) > MAX_NAMED else ""
    return f"{meant} There are: {', '.join(names[:MAX_NAMED])}{ellipsis}" if names else " There are none"
