"""Bridges a restart of the coordinator: calls for jobs that exist are repeated for a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aitbc import errors
from aitbc.cli._terminal.display import WorkRow
from aitbc.errors import APIError, ServiceUnavailable, TransportError

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long the coordinator may be away."""
_PAUSE_SECONDS = 1.0
_GATEWAY = frozenset({502, 504})


class CoordinatorAway(TransportError):
    """The coordinator did not come back. The job continues without this program."""

    def __init__(self, job_id: str, how: str) -> None:
        super().__init__(
            f"The coordinator has not responded for {PATIENCE_SECONDS:.0f} s. Job {job_id} goes on without this command. {how}"
        )
        self.job_id = job_id


class JobPatience:
    """How long one work still waits for the coordinator. `how` states how to resume."""

    def __init__(self, job_id: str, row: WorkRow, how: str) -> None:
        self._job_id = job_id
        self._row = row
        self._how = how
        self._end: float | None = None

    def responded(self) -> None:
        """Note that the coordinator is back."""
        self._end = None

    async def wait(self, error: Exception) -> None:
        """Wait before the next attempt. Raises the error if another attempt cannot help, and `CoordinatorAway` after a minute."""
        if not is_away(error):
            raise error
        now = time.monotonic()
        # The minute begins with the first failure, not with the job.
        if self._end is None:
            self._end = now + PATIENCE_SECONDS
            self._row.report(f"the coordinator does not respond; trying again for {PATIENCE_SECONDS:.0f} s")
        if now >= self._end:
            raise CoordinatorAway(self._job_id, self._how) from error
        await asyncio.sleep(_PAUSE_SECONDS)

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a call that is safe to repeat."""
        while True:
            try:
                result = await attempt()
            except (TransportError, errors.TimeoutError, APIError) as error:
                await self.wait(error)
            else:
                self.responded()
                return result


def is_away(error: Exception) -> bool:
    """Return whether the error means that the coordinator is restarting or cannot be reached."""
    if isinstance(error, APIError):
        return isinstance(error, ServiceUnavailable) or error.status in _GATEWAY
    return isinstance(error, (TransportError, errors.TimeoutError))
