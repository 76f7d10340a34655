"""The owner's limits of the network: rates by the time of the week, data of a month, and what waits while the connection is metered.

All transfers of a direction share its rate. Only files count: models, and the files of jobs. Messages to the coordinator are small.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from agent.atomic_file import replace_file
from agent.deadline import call_within
from agent.desktop_bus import metered
from agent.miner.schedules import ScheduleWindow, parse_window
from agent.miner.settings import MinerSettings, NetworkSettings
from agent.sections import section_of
from agent.settings import Settings

STEP: Final = 2**16
"""Bytes that are sent between two waits."""
POLL_SECONDS: Final = 15.0
_ANSWER_SECONDS: Final = 10.0
_DAYS: Final = 400
TRAFFIC_FILE: Final = "traffic.json"
_METERED: Final = (
    "This connection is metered, so no models and engines are downloaded (miner.network.metered_downloads)."
)

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Traffic:
    """Call `received` and `sent` with the size of each piece: they count it, and wait as long as the rate demands.

    `path` is the file of the days' data, None to count nothing. The daemon runs `run`; `on_change` is called when `hindrance` has changed.
    """

    settings: NetworkSettings
    path: Path | None = None
    _: KW_ONLY
    clock: Callable[[], float] = time.time
    is_metered: Callable[[], bool] = metered

    def __post_init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._metered = False
        self._days = {} if self.path is None else read_traffic(self.path)
        self._saved = json.dumps(self._days)
        # When the bytes until now may have passed, in monotonic seconds.
        self._due = {"received": 0.0, "sent": 0.0}

    async def received(self, size: int) -> None:
        """Count received bytes."""
        await self._pass("received", size, self.settings.download_rate, self.settings.download_rates)

    async def sent(self, size: int) -> None:
        """Count bytes that are about to be sent, at most `STEP` at once."""
        await self._pass("sent", size, self.settings.upload_rate, self.settings.upload_rates)

    async def _pass(
        self, direction: str, size: int, rate: int | None, rates: Mapping[ScheduleWindow, int]
    ) -> None:
        day = self._days.setdefault(self._today(), {"received": 0, "sent": 0})
        day[direction] += size
        now = datetime.fromtimestamp(self.clock())  # noqa: DTZ006 - schedules are in local time
        rate = next((special for window, special in rates.items() if parse_window(window).end_of(now)), rate)
        if rate is not None:
            due = max(self._due[direction], time.monotonic()) + size / rate
            self._due[direction] = due
            await asyncio.sleep(due - time.monotonic())

    def _today(self) -> str:
        return datetime.fromtimestamp(self.clock()).strftime("%Y-%m-%d")  # noqa: DTZ006 - of the owner's calendar

    def of_month(self) -> int:
        """Return the bytes of this month, in both directions."""
        month = self._today()[:7]
        return sum(sum(data.values()) for day, data in self._days.items() if day.startswith(month))

    def exhausted_until(self) -> float | None:
        """Return when the next month begins if the data of this one is used up, in seconds since the epoch; else None."""
        limit = self.settings.monthly_data
        if limit is None or self.of_month() < limit:
            return None
        now = datetime.fromtimestamp(self.clock())  # noqa: DTZ006 - local time
        return datetime(now.year + now.month // 12, now.month % 12 + 1, 1).timestamp()  # noqa: DTZ001 - local time

    @property
    def hindrance(self) -> str | None:
        """Why no models are downloaded at present, None if they are."""
        if self._metered and not self.settings.metered_downloads:
            return _METERED
        if self.exhausted_until() is not None:
            return "The data of this month is used up (miner.network.monthly_data)."
        return None

    async def poll(self) -> None:
        """Find out whether the connection is metered."""
        if not self.settings.metered_downloads:
            try:
                self._metered = await call_within(_ANSWER_SECONDS, self.is_metered, name="metered")
            except TimeoutError:
                self._metered = False

    async def run(self) -> None:
        """Poll, and save the days' data, until cancelled."""
        former = self.hindrance
        try:
            while True:
                await self.poll()
                if self.hindrance != former:
                    former = self.hindrance
                    _log.info("downloads_hindered" if former else "downloads_resumed", reason=former)
                    self.on_change()
                self._save()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._save()

    def _save(self) -> None:
        days = dict(sorted(self._days.items())[-_DAYS:])
        if self.path is None or (content := json.dumps(days)) == self._saved:
            return
        try:
            replace_file(self.path, content.encode(), 0o600)
            self._saved = content
        except OSError as error:
            _log.warning("traffic_not_saved", error=str(error))

    def status(self) -> dict[str, Any]:
        """Return the data of the months in bytes, the newest last, the limit, and why no models are downloaded."""
        limit = self.settings.monthly_data
        months: dict[str, dict[str, int]] = {}
        for day, data in sorted(self._days.items()):
            month = months.setdefault(day[:7], {"received": 0, "sent": 0})
            for direction, size in data.items():
                month[direction] += size
        return {
            "months": [{"month": month, **data} for month, data in months.items()],
            "monthly_data": None if limit is None else int(limit),
            "hindrance": self.hindrance,
        }


def owners_traffic(settings: Settings) -> Traffic:
    """Return the limits of this machine, and the data that its agent has counted."""
    network = section_of(settings, MinerSettings).network
    return Traffic(network, settings.data_dir.absolute() / "miner" / TRAFFIC_FILE)


def read_traffic(path: Path) -> dict[str, dict[str, int]]:
    """Return the bytes `received` and `sent` by day ("2026-12-01"); nothing if there is no readable file."""
    try:
        days = json.loads(path.read_bytes())
        return {
            str(day): {"received": int(data["received"]), "sent": int(data["sent"])}
            for day, data in days.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        _log.warning("traffic_lost", path=str(path), error=type(error).__name__)
        return {}
