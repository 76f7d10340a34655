"""Reports the agent's progress and activity to systemd, which kills the agent when progress stops.

The agent sends the keep-alive message from its event loop, and only while no part is overdue (`agent.core.liveness`). A loop that
hangs sends nothing, nor does one whose database or miner hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from agent.cli.systemd.notify import Notifier
from agent.core.liveness import Liveness

ROUND_SECONDS: Final = 5.0
"""Interval of the activity reports; shorter if the watchdog requires it."""
BEATS: Final = 3
"""Number of keep-alive messages within the watchdog's time, so that one message may be late."""
DESCRIBE_SECONDS: Final = 2.0
EXTENSION_SECONDS: Final = 30.0
"""Extension that each round of a long stop requests: enough until the next round requests another."""

Describe = Callable[[], Awaitable[str]]

_log = structlog.get_logger()


class Watchdog:
    """The watchdog of one agent. `describe` returns the agent's activity in one line."""

    def __init__(self, notifier: Notifier, liveness: Liveness, describe: Describe) -> None:
        self._notifier = notifier
        self._liveness = liveness
        self._describe = describe
        self._overdue: dict[str, str] = {}
        self._is_ready = False
        self._stop_by: float | None = None
        watched = notifier.watchdog_seconds
        self._seconds = ROUND_SECONDS if watched is None else min(ROUND_SECONDS, watched / BEATS)

    def ready(self, status: str) -> None:
        """Report that dependent services need not wait any longer. Only the first call has an effect."""
        if not self._is_ready:
            self._is_ready = True
            self._notifier.ready(status)

    def stopping(self, status: str, seconds: float) -> None:
        """Report that the agent has begun to stop, which may take up to `seconds` while it makes progress."""
        self._stop_by = asyncio.get_running_loop().time() + seconds
        self._notifier.stopping(status)
        self._extend()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch while the body runs, if there is a supervisor."""
        if not self._notifier.present:
            yield
            return
        watching = asyncio.create_task(self._run(), name="watchdog")
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _run(self) -> None:
        while True:
            overdue = self._liveness.overdue(asyncio.get_running_loop().time())
            # Once for each change: a part that hangs for hours would otherwise fill the log.
            if overdue.keys() != self._overdue.keys():
                _log.critical("parts_hang", parts=overdue) if overdue else _log.warning("parts_still_running")
            self._overdue = overdue
            if overdue:
                parts = ", ".join(f"{part}: {reason}" for part, reason in sorted(overdue.items()))
                self._notifier.status(f"Not responding ({parts})")
            else:
                self._notifier.alive()
                self._extend()
                await self._report()
            await asyncio.sleep(self._seconds)

    def _extend(self) -> None:
        if self._stop_by is not None and asyncio.get_running_loop().time() < self._stop_by:
            self._notifier.extend(EXTENSION_SECONDS)

    async def _report(self) -> None:
        # The stop and the start have their own lines, which a description of the work would replace.
        if self._stop_by is not None or not self._is_ready:
            return
        try:
            async with asyncio.timeout(DESCRIBE_SECONDS):
                status = await self._describe()
        except Exception as error:  # noqa: BLE001 - a status line must not end the keep-alive messages
            _log.warning("not_described", error=type(error).__name__)
        else:
            self._notifier.status(status)
