"""The miner's earnings of today, queried from its coordinator after each result and once a minute, and shown to the owner.

Also what machines like this one earn there, once in ten minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.miner.link.client import CoordinatorLink
from agent.miner.link.refusals import Unreachable
from agent.miner.session import Session

QUERY_SECONDS: Final = 60.0
OUTLOOK_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 0.5
"""Least time between two queries. A result that follows a quiet time is queried immediately."""
_OK: Final = 200

_log = structlog.get_logger(__name__)


class _Day(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="ignore")

    date: str
    amount: str
    jobs: int = 0


class _Answer(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="ignore")

    days: list[_Day]


class _EarnedRange(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="ignore")

    low: str
    typical: str
    high: str


class Outlook(BaseModel, defer_build=True):
    """What machines with the same cards have earned in an hour and a day online there, before electricity; `missing` says why that is unknown."""

    model_config = ConfigDict(extra="ignore")

    hardware: str
    days: int
    machines: int
    online_hours: float
    jobs: int
    missing: str | None
    per_hour: _EarnedRange | None
    per_day: _EarnedRange | None


@dataclass(frozen=True, slots=True)
class Earned:
    """Money and jobs of the day `date` (UTC), as of `queried_at` (seconds since the epoch)."""

    date: str
    amount: str
    jobs: int
    queried_at: float


@dataclass(eq=False)
class Earnings:
    """`today` and `outlook` are None until known. The daemon runs `run`. `on_days` is called with the dates and amounts of the latest days."""

    link: CoordinatorLink
    session: Session
    on_days: Callable[[Iterable[tuple[str, str]]], None] = lambda _: None

    def __post_init__(self) -> None:
        self.today: Earned | None = None
        self.outlook: Outlook | None = None
        self._outlook_at = -OUTLOOK_SECONDS
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Query the coordinator soon: it has acknowledged a result."""
        self._changed.set()

    async def run(self) -> None:
        """Query the coordinator until cancelled. A failed query is ignored: nothing depends on it."""
        while True:
            self._changed.clear()
            if self.session.api_key is not None:
                await self._query(self.session.api_key, self.session.identity.miner_id)
                await self._query_outlook(self.session.api_key, self.session.identity.miner_id)
            # Results that follow at once share the next query.
            await asyncio.sleep(PAUSE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(QUERY_SECONDS):
                    await self._changed.wait()

    def to_status(self) -> dict[str, Any] | None:
        """Return the earnings for the daemon's status, None while unknown."""
        return None if self.today is None else asdict(self.today)

    async def _query_outlook(self, api_key: str, miner_id: str) -> None:
        if time.monotonic() - self._outlook_at < OUTLOOK_SECONDS:
            return
        self._outlook_at = time.monotonic()
        try:
            status, body = await self.link.read(f"/v1/miners/{miner_id}/outlook", api_key)
            # A coordinator of an earlier version does not know it.
            self.outlook = Outlook.model_validate(body) if status == _OK else None
        except (Unreachable, ValidationError) as error:
            _log.debug("outlook_unknown", error=type(error).__name__)

    async def _query(self, api_key: str, miner_id: str) -> None:
        try:
            status, body = await self.link.read(f"/v1/miners/{miner_id}/earnings?days=2", api_key)
            answer = _Answer.model_validate(body) if status == _OK else None
        except (Unreachable, ValidationError) as error:
            _log.debug("earnings_unknown", error=type(error).__name__)
            return
        if answer is not None and answer.days:
            day = answer.days[-1]
            self.today = Earned(day.date, day.amount, day.jobs, time.time())
            # Yesterday too: its last results may have been acknowledged after midnight.
            self.on_days((earned.date, earned.amount) for earned in answer.days if earned.jobs)
