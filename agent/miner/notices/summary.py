"""What the owner may want to know of a day or a week: what the machine earned, used and failed at, when it was away, and updates.

Days are those of UTC, as in the coordinator's account of earnings, but for data, which counts by the owner's calendar.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from agent import __version__
from agent.atomic_file import replace_file
from agent.core.errors import AgentError
from agent.core.values.quantities import gibibytes
from agent.miner.energy.account import FILE_NAME
from agent.miner.energy.history import History, Period
from agent.miner.energy.profit import JOULES, in_credits
from agent.miner.identity import default_name
from agent.miner.notices.delivery import Notice, NotSent, send
from agent.miner.settings import MinerSettings
from agent.miner.traffic import TRAFFIC_FILE, read_traffic
from agent.sections import section_of
from agent.settings import Settings
from runners.awake import awake_seconds

RECORD_FILE: Final = "days.json"
POLL_SECONDS: Final = 60.0
_SAVE_SECONDS: Final = 600.0
_DAYS: Final = 400
_DAY_SECONDS: Final = 86_400
_SHOWN: Final = 5

_log = structlog.get_logger(__name__)


class DayRecord(BaseModel, defer_build=True):
    """A day: seconds in which the miner was connected, seconds of these in which it was paused, and the versions that ran."""

    model_config = ConfigDict(extra="ignore")

    connected: float = 0.0
    paused: float = 0.0
    versions: list[str] = []


class RecordedDays(BaseModel, defer_build=True):
    """The file: days by their date, and the last day whose summary was sent."""

    model_config = ConfigDict(extra="ignore")

    days: dict[str, DayRecord] = {}
    sent_until: str | None = None


@dataclass(frozen=True, slots=True)
class OwnerSummary:
    """The days from `first` to `last`. Amounts are credits; `failures` counts jobs by the code of their error; `data` is in bytes.

    `connected` and `paused` are shares of the time since the machine's first day of the period. None means unknown.
    """

    first: str
    last: str
    earned: float
    electricity: float | None
    kwh: float
    data: int
    completed: int
    failures: dict[str, int]
    connected: float | None
    paused: float | None
    versions: tuple[str, ...]

    def text(self) -> str:
        """Return the summary in a few sentences."""
        failed = sum(self.failures.values())
        codes = sorted(self.failures.items(), key=lambda item: -item[1])[:_SHOWN]
        reasons = ", ".join(f"{count} {code}" for code, count in codes)
        sentences = [
            f"{self.first if self.first == self.last else f'{self.first} to {self.last}'}: earned {in_credits(self.earned)} with {self.completed} jobs; "
            + (f"{failed} failed ({reasons})." if failed else "none failed."),
            f"Used {self.kwh:.3g} kWh"
            + ("" if self.electricity is None else f" for {in_credits(self.electricity)}")
            + f" and {gibibytes(self.data)} of data.",
        ]
        if self.connected is not None and self.paused is not None:
            sentences.append(
                f"It was away {1 - self.connected:.0%} of the time, and paused {self.paused:.0%}."
            )
        if len(self.versions) > 1:
            sentences.append(f"It was updated: {' → '.join(self.versions)}.")
        return " ".join(sentences)


def read_summary(settings: Settings, first: date, last: date) -> OwnerSummary:
    """Return the summary of these days. Blocking. Raises `ConfigurationError` if the history of earnings cannot be read."""
    directory = settings.data_dir.absolute() / "miner"
    miner = section_of(settings, MinerSettings)
    dates = {f"{first + timedelta(days=number)}" for number in range((last - first).days + 1)}
    periods, outcomes = _history(directory, miner, dates, first, last)
    costs = sum(period.cost + (period.idle_cost if miner.energy.idle_costs else 0.0) for period in periods)
    days = {name: day for name, day in read_records(directory / RECORD_FILE).days.items() if name in dates}
    # Of a machine that has begun in the middle, only the days since then say something.
    span = _DAY_SECONDS * len([name for name in dates if name >= min(days)]) if days else 0
    return OwnerSummary(
        first=str(first),
        last=str(last),
        earned=sum(period.credits for period in periods),
        electricity=costs / miner.energy.credit_value if any(period.cost for period in periods) else None,
        kwh=sum(period.joules + period.idle_joules for period in periods) / JOULES,
        data=sum(
            sum(data.values())
            for name, data in read_traffic(directory / TRAFFIC_FILE).items()
            if name in dates
        ),
        completed=outcomes.pop("completed", 0),
        failures={code: count for code, count in outcomes.items() if code.isupper()},
        connected=min(1.0, sum(day.connected for day in days.values()) / span) if span else None,
        paused=min(1.0, sum(day.paused for day in days.values()) / span) if span else None,
        versions=tuple(dict.fromkeys(_versions(days))),
    )


def _versions(days: dict[str, DayRecord]) -> Iterable[str]:
    for _, day in sorted(days.items()):
        yield from day.versions


def _history(
    directory: Path, miner: MinerSettings, dates: set[str], first: date, last: date
) -> tuple[list[Period], Counter[str]]:
    path = directory / FILE_NAME
    if not path.is_file():
        return [], Counter()
    history = History(path, miner.energy.history_jobs)
    history.open()
    with closing(history):
        periods = [period for period in history.days(_DAYS) if period.name in dates]
        return periods, Counter(history.outcomes(_begin(first), _begin(last + timedelta(days=1))))


def _begin(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def read_records(path: Path) -> RecordedDays:
    """Return what was recorded of the days; nothing if there is no readable file."""
    try:
        return RecordedDays.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return RecordedDays()
    except (OSError, ValidationError) as error:
        _log.warning("days_lost", path=str(path), error=type(error).__name__)
        return RecordedDays()


def due(records: RecordedDays, now: datetime, every: str, hour: int) -> tuple[date, date] | None:
    """Return the first and the last day of the summary to send now, None if none is. `now` is local time, `every` "daily" or "weekly"."""
    if every == "off" or now.hour < hour:
        return None
    last = now.date() - timedelta(days=1)
    if every == "weekly":
        # The week that ended on Sunday, also if the machine was away on Monday.
        last = now.date() - timedelta(days=now.weekday() + 1)
    if records.sent_until is None or records.sent_until >= str(last):
        return None
    return last - timedelta(days=6 if every == "weekly" else 0), last


@dataclass(eq=False)
class Summaries:
    """The daemon runs `run`. `connected` and `paused` return whether the miner is."""

    settings: Settings
    _: KW_ONLY
    connected: Callable[[], bool]
    paused: Callable[[], bool]
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._miner = section_of(self.settings, MinerSettings)
        self._path = self.settings.data_dir.absolute() / "miner" / RECORD_FILE
        self._records = RecordedDays()
        self._saved_at = float("-inf")

    async def run(self) -> None:
        """Record the days, and send what is due, until cancelled."""
        self._records = await asyncio.to_thread(read_records, self._path)
        awake = awake_seconds()
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                passed, awake = awake_seconds() - awake, awake_seconds()
                self._note(passed)
                await self.send_due()
        finally:
            self._save()

    def _note(self, seconds: float) -> None:
        day = self._records.days.setdefault(
            f"{datetime.fromtimestamp(self.clock(), UTC):%Y-%m-%d}", DayRecord()
        )
        if self.connected():
            day.connected += seconds
            day.paused += seconds if self.paused() else 0.0
        if __version__ not in day.versions:
            day.versions = [*day.versions, __version__]
        if time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._save()

    async def send_due(self) -> None:
        """Send the summary that is due, if any. One that cannot be sent is sent again at the next round."""
        notices, now = self._miner.notices, datetime.fromtimestamp(self.clock())  # noqa: DTZ006 - of the owner's morning
        if self._records.sent_until is None:
            # The first summary is of the first whole day or week.
            self._records.sent_until = str(now.date() - timedelta(days=1))
            self._save()
        period = due(self._records, now, notices.summary, notices.summary_hour)
        if period is None or (notices.webhook is None and not notices.command):
            return
        try:
            summary = await asyncio.to_thread(read_summary, self.settings, *period)
        except (AgentError, sqlite3.Error) as error:
            _log.warning("summary_not_made", error=str(error))
            return
        machine = self._miner.name or default_name(self._path.parent)
        try:
            await send(Notice("summary", summary.text(), machine, None, self.clock()), notices)
        except NotSent:
            return
        self._records.sent_until = summary.last
        self._save()
        _log.info("summary_sent", first=summary.first, last=summary.last)

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        self._records.days = dict(sorted(self._records.days.items())[-_DAYS:])
        try:
            replace_file(self._path, self._records.model_dump_json().encode(), 0o600)
        except OSError as error:
            _log.warning("days_not_saved", error=str(error))
