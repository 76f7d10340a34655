"""Hours of the week in which a machine is reserved for its owner, in local wall-clock time.

A window is written `[DAYS ]HH:MM-HH:MM`: `Mon-Fri 09:00-18:00`, `Sat,Sun 00:00-24:00`, `22:00-06:00`. A window that ends before
it begins spans midnight and belongs to the day on which it begins. Times are `datetime` without a zone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from agent.sections import WordedText

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONGEST: Final = timedelta(days=7)
"""Searches for the end of a pause are capped at this horizon, because windows that cover the whole week never end."""

_WINDOW: Final = re.compile(r"(?:(\S.*?)\s+)?(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)
_DAY_MINUTES: Final = 24 * 60
_HINT: Final = 'write it like "Mon-Fri 09:00-18:00", "Sat,Sun 00:00-24:00" or "22:00-06:00"'


@dataclass(frozen=True, slots=True)
class Window:
    """A window: the days of the week (Monday is 0) on which it begins, and minutes after midnight. `end` may be 1440."""

    days: frozenset[int]
    begin: int
    end: int

    def end_of(self, now: datetime) -> datetime | None:
        """Return the end of the window if `now` is inside it, or None. The end itself is outside."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in (midnight, midnight - timedelta(days=1)):
            begin = day + timedelta(minutes=self.begin)
            length = self.end - self.begin if self.end > self.begin else self.end - self.begin + _DAY_MINUTES
            end = begin + timedelta(minutes=length)
            if day.weekday() in self.days and begin <= now < end:
                return end
        return None


@lru_cache(256)  # asked for again every second
def parse_window(text: str) -> Window:
    """Parse a window from the settings. Raises `ValueError` with the error and an example."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time of the week; {_HINT}")
    begin = _minutes(text, match[2], match[3])
    end = _minutes(text, match[4], match[5])
    if begin in {end, _DAY_MINUTES}:
        raise ValueError(f"{text!r} is empty; write a whole day as 00:00-24:00")
    return Window(_days(text, match[1]), begin, end)


def paused_until(windows: Sequence[Window], now: datetime) -> datetime | None:
    """Return the time until which a schedule pauses without a gap, at most `LONGEST` ahead, or None if it does not pause now."""
    moment = now
    while moment - now < LONGEST:
        ends = [end for window in windows if (end := window.end_of(moment)) is not None]
        if not ends:
            break
        moment = max(ends)
    return None if moment == now else min(moment, now + LONGEST)


class ScheduleWindow(WordedText):
    """A window in settings: its text, validated."""

    __slots__ = ()
    words = "time of the week"
    sample = '"Mon-Fri 09:00-18:00"'

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls._validate, core_schema.str_schema())

    @classmethod
    def _validate(cls, value: str) -> Self:
        parse_window(value)
        return cls(value)


def _minutes(text: str, hours: str, minutes: str) -> int:
    total = int(hours) * 60 + int(minutes)
    if int(minutes) >= 60 or total > _DAY_MINUTES:  # noqa: PLR2004 - an hour
        raise ValueError(f"{text!r} contains {hours}:{minutes}, which is not a time of day; {_HINT}")
    return total


def _days(text: str, names: str | None) -> frozenset[int]:
    if names is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in names.split(","):
        first, dash, last = part.strip().lower().partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(
                f"{text!r} contains the unknown days {part.strip()!r}; days are {', '.join(day.title() for day in DAYS)}, "
                "ranges like Mon-Fri, and lists like Sat,Sun"
            )
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days |= {(begin + offset) % 7 for offset in range((end - begin) % 7 + 1)}
    return frozenset(days)
