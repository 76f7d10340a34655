"""Connects again at once after a suspension of the machine, instead of when the dead connection is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from runners.awake import ClockJumps

POLL_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


async def watch_clock(reconnect: Callable[[], None]) -> None:
    """Call `reconnect` after each suspension and each change of the clock, until cancelled."""
    jumps = ClockJumps()
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if jump := jumps.since_last():
            _log.info("clock_jumped", seconds=round(jump))
            reconnect()
