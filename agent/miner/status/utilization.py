"""Answers "why is my machine idle?": samples the use of the slots once a second, and sums up the last hour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from agent.miner.runs.idleness import LastHour, Moment, Use, uses

SAMPLE_SECONDS: Final = 1.0


class SlotActivity:
    """The use of the slots. The daemon runs `run`; `moment` returns the current use."""

    def __init__(self, moment: Callable[[], Moment]) -> None:
        self._moment = moment
        self._hour = LastHour()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self._hour.note(time.monotonic(), self.now())
            await asyncio.sleep(SAMPLE_SECONDS)

    def now(self) -> dict[Use, float]:
        """Return how many slots are in each use at this moment."""
        return uses(self._moment())

    def shares(self) -> list[dict[str, Any]]:
        """Return `reason` and `share` of each use in the last hour, the largest first. The shares sum to 1."""
        now = time.monotonic()
        self._hour.note(now, self.now())
        shares = self._hour.shares(now)
        return [{"reason": str(use), "share": share} for use, share in shares.items()]
