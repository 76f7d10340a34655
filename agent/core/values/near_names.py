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


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most similar to this one or else begins with it, or None if there is none.

    Of many known names, only those that may be similar are compared, and those that begin alike are preferred.
    """
    short, considered = name[:MAX_LENGTH], known[:MAX_CONSIDERED]
    near = difflib.get_close_matches(short, _comparable(short, considered), n=1, cutoff=CUTOFF)
    if not near and len(short) >= SHORTEST:
        near = [one for one in considered if one.startswith(short)]
    return near[0] if near else None


def _comparable(name: str, known: Sequence[str]) -> list[str]:
    """Return the known names whose length allows a similarity, those that begin like this one first, within the limits."""
    similar = [
        one
        for one in known
        if len(one) <= MAX_LENGTH and 2 * min(len(one), len(name)) >= CUTOFF * (len(one) + len(name))
    ]

    def rank(one: str) -> tuple[int, int]:
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, name, strict=False)))
        return -alike, abs(len(one) - len(name))

    found, left = [], MAX_COMPARISONS
    for one in sorted(similar, key=rank)[:MAX_COMPARED]:
        left -= len(one) * len(name)
        if left < 0:
            break
        found.append(one)
    return found


def hint(name: str, known: Sequence[str]) -> str:
    """Return a suggestion for the end of an error message: " Did you mean base? There are: base, tiny"."""
    near = nearest(name, known)
    meant = f" Did you mean {near}?" if near else ""
    more = ", ..." if len(known) > MAX_NAMED else ""
    return f"{meant} There are: {', '.join(known[:MAX_NAMED])}{more}" if known else " There are none"
