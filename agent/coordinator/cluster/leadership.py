"""Which replica leads: it alone matches jobs with miners, numbers the log, sends webhooks and runs the upkeep.

Leadership decides who works, not what is correct: for a moment there may be two leaders, when a paused process continues. Every
transaction is therefore right on any replica.
"""

from __future__ import annotations

import asyncio


class Leadership:
    """Whether this replica leads. A coordinator that is alone always does."""

    def __init__(self, *, leads: bool) -> None:
        self._leads = leads
        self._changed = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Whether this replica leads now."""
        return self._leads

    def set(self, *, leads: bool) -> None:
        """Begin or stop leading."""
        if leads != self._leads:
            self._leads = leads
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    async def until(self, *, leads: bool) -> None:
        """Wait until this replica leads, or until it does not."""
        while self._leads != leads:
            await self._changed.wait()
