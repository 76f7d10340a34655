"""Answers about jobs, money and miners over time."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from aitbc.answers import fields
from aitbc.answers.record import Record


class Metric(StrEnum):
    """What a history is about."""

    JOBS = "jobs"
    QUEUE = "queue"
    MONEY = "money"
    MINERS = "miners"


class Period(StrEnum):
    """The time that a history covers, until now."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class HistoryPoint(Record):
    """The figures of one interval by name: numbers, or money as decimal strings; null if nothing was measured."""

    time: fields.Time
    figures: dict[str, int | float | str | None] = Field(
        examples=[{"submitted": 42, "completed": 40, "failed": 1, "cancelled": 0}]
    )


class History(Record):
    """Figures over time. Points are `interval_seconds` apart, each at the beginning of its interval."""

    metric: Metric = Field(examples=["jobs"])
    period: Period = Field(examples=["day"])
    interval_seconds: int = Field(examples=[1800])
    points: list[HistoryPoint]
