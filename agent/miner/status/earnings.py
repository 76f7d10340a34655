"""What this miner has earned today, as its coordinator tells it once a minute, for the owner to see."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from agent.miner.link.client import Link
from agent.miner.link.errors import Unreachable

ASK_SECONDS: Final = 60.0
_OK: Final = 200

_log = structlog.get_logger(__name__)


class _Day(BaseModel):
    model_config = ConfigDict(extra="ignore")

    date: str
    amount: str
    jobs: int = 0


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    days: list[_Day]


@dataclass(frozen=True, slots=True)
class Earned:
    """Money and jobs of the day `date` (UTC), as of `asked_at` (seconds since the epoch)."""

    date: str
    amount: str
    jobs: int
    asked_at: float


class Earnings:
    """`run` is the daemon's to run. `key` gives the miner's API key and id, None before there is one."""

    def __init__(self, link: Link, key: Callable[[], tuple[str | None, str]]) -> None:
        self._link = link
        self._key = key
        self.today: Earned | None = None

    async def run(self) -> None:
        """Ask until cancelled. What cannot be had is left out; nothing depends on it."""
        while True:
            api_key, miner_id = self._key()
            if api_key is not None:
                await self._ask(api_key, miner_id)
            await asyncio.sleep(ASK_SECONDS)

    def to_status(self) -> dict[str, Any] | None:
        """For whoever asks; None while nothing is known."""
        return None if self.today is None else asdict(self.today)

    async def _ask(self, api_key: str, miner_id: str) -> None:
        try:
            status, body = await self._link.read(f"/v1/miners/{miner_id}/earnings?days=1", api_key)
            answer = _Answer.model_validate(body) if status == _OK else None
        except (Unreachable, ValidationError) as error:
            _log.debug("earnings_unknown", error=type(error).__name__)
            return
        if answer is not None and answer.days:
            day = answer.days[-1]
            self.today = Earned(day.date, day.amount, day.jobs, time.time())
