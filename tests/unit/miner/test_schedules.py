"""Schedules: their syntax, their meaning on every day of the week, and their ends."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.miner.schedules import DAYS, LONGEST, Window, parse_window, paused_until

MONDAY = datetime(2026, 11, 23)  # noqa: DTZ001 - wall-clock time has no zone


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


def until(now: datetime, *windows: str) -> datetime | None:
    return paused_until([parse_window(window) for window in windows], now)


@pytest.mark.parametrize(
    ("text", "days", "begin", "end"),
    [
        ("Mon-Fri 09:00-18:00", {0, 1, 2, 3, 4}, 540, 1080),
        ("22:00-06:00", set(range(7)), 1320, 360),
        ("sat,SUN 0:00-24:00", {5, 6}, 0, 1440),
        ("Fri-Mon, Wed 12:30 - 13:00", {4, 5, 6, 0, 2}, 750, 780),
        ("Tue 23:00-00:00", {1}, 1380, 0),
    ],
)
def test_a_window_is_parsed_as_written(text: str, days: set[int], begin: int, end: int) -> None:
    """Ranges of days may span Sunday."""
    assert parse_window(text) == Window(frozenset(days), begin, end)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mon-Fri 9-18", 'is not a time of the week; write it like "Mon-Fri 09:00-18:00"'),
        ("", "is not a time of the week"),
        ("Mo 09:00-18:00", "contains the unknown days 'Mo'; days are Mon, Tue"),
        ("Mon-Fry 09:00-18:00", "contains the unknown days 'Mon-Fry'"),
        ("09:00-25:00", "contains 25:00, which is not a time of day"),
        ("09:60-10:00", "contains 09:60, which is not a time of day"),
        ("09:00-09:00", "is empty; write a whole day as 00:00-24:00"),
        ("24:00-06:00", "is empty"),
    ],
)
def test_an_invalid_window_is_refused_with_an_example(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_window(text)


def test_a_window_begins_at_its_first_minute_and_ends_before_its_last() -> None:
    work = "Mon-Fri 09:00-18:00"
    assert until(at(0, 8, 59), work) is None
    assert until(at(0, 9), work) == at(0, 18)
    assert until(at(4, 17, 59), work) == at(4, 18)
    assert until(at(4, 18), work) is None
    assert until(at(5, 12), work) is None


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    """Friday's night extends into Saturday. Saturday has none itself."""
    nights = "Mon-Fri 22:00-06:00"
    assert until(at(4, 23), nights) == at(5, 6)
    assert until(at(5, 5, 59), nights) == at(5, 6)
    assert until(at(5, 22), nights) is None
    assert until(at(0, 3), nights) is None  # Sunday's night


def test_adjacent_windows_are_one_pause_and_an_endless_one_is_reported_a_week_ahead() -> None:
    assert until(at(0, 9), "Mon-Fri 09:00-18:00", "18:00-20:00", "19:00-23:00") == at(0, 23)
    assert until(at(5, 1), "Sat,Sun 00:00-24:00") == at(7, 0)
    assert until(at(0, 1), "00:00-24:00") == at(0, 1) + LONGEST


windows = st.builds(
    lambda days, begin, length: (
        f"{','.join(DAYS[day] for day in sorted(days))} {_clock(begin)}-{_clock((begin + length) % 1440)}"
    ),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(1, 1439),
)
moments = st.integers(0, 7 * 1440 - 1).map(lambda minutes: MONDAY + timedelta(minutes=minutes))


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


@given(st.lists(windows, min_size=1, max_size=4), moments)
def test_a_pause_lasts_exactly_as_long_as_any_window(texts: list[str], now: datetime) -> None:
    """Checked minute by minute: inside until the reported end, and outside at it."""
    schedule = [parse_window(text) for text in texts]

    def inside(moment: datetime) -> bool:
        minute = moment.hour * 60 + moment.minute
        for window in schedule:
            over = window.end < window.begin
            today, yesterday = moment.weekday(), (moment.weekday() - 1) % 7
            if today in window.days and window.begin <= minute < (1440 if over else window.end):
                return True
            if over and yesterday in window.days and minute < window.end:
                return True
        return False

    end = paused_until(schedule, now)
    assert (end is not None) == inside(now)
    if end is not None:
        minutes = round((end - now) / timedelta(minutes=1))
        assert all(inside(now + timedelta(minutes=offset)) for offset in range(0, minutes, 7))
        assert inside(end - timedelta(minutes=1))
        assert not inside(end) or end - now == LONGEST
