"""Answers "why is my machine idle?": samples what the slots do, once a second, and adds up the last hour."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from agent.core.machine.idleness import LastHour, Moment, Use, uses

SAMPLE_SECONDS: Final = 1.0


class Activity:
    """`run` is the daemon's to run. `moment` says what the slots do now."""

    def __init__(self, moment: Callable[[], Moment]) -> None:
        self._moment = moment
        self._hour = LastHour()

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self._hour.note(time.monotonic(), self.now())
            await asyncio.sleep(SAMPLE_SECONDS)

    def now(self) -> dict[Use, float]:
        """How many slots do what at this moment."""
        return uses(self._moment())

    def shares(self) -> list[dict[str, Any]]:
        """The last hour: `reason` and `share`, the largest first, summing to 1."""
        now = time.monotonic()
        self._hour.note(now, self.now())
        shares = self._hour.shares(now)
        return [{"reason": str(use), "share": share} for use, share in shares.items()]
