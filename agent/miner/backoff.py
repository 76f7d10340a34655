"""The delays of every retry in the miner, with jitter, so that many miners do not return to a restarted server at once."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress


class Backoff:
    """Exponential delays: each lies between half and all of `first`, 2 x `first`, ... up to `longest` seconds."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """Return the delay before the next attempt, in seconds."""
        ceiling = self._next
        self._next = min(self._longest, 2 * ceiling)
        return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards no secret

    def reset(self) -> None:
        """Start with `first` again, after a success."""
        self._next = self._first


async def sleep(delay: float, wake: asyncio.Event) -> None:
    """Sleep for `delay` seconds, or until `wake` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await wake.wait()
