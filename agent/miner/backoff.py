"""How long to wait before trying again, so that many miners do not come back to a restarted coordinator at once."""

from __future__ import annotations

import random


class Backoff:
    """Exponential delays with jitter: each lies between half and all of `first`, 2 x `first`, ... up to `longest` s."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """The delay before the next try, in seconds."""
        ceiling = self._next
        self._next = min(self._longest, 2 * ceiling)
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards no secret

    def reset(self) -> None:
        """Begin again with `first`, after a success."""
        self._next = self._first
