"""The estimate itself: pure figures. Amounts are in units of 1e-8, days are UTC days since the epoch."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

HOUR_SECONDS: Final = 3600
FEW_DAYS: Final = 4
"""With fewer days of machines the range is from the worst to the best of them, otherwise the middle half."""


@dataclass(frozen=True, slots=True)
class OnlineDay:
    """For how many seconds a machine was online and accepted jobs on a day."""

    miner_id: str
    day: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PaidWork:
    """The paid jobs of a machine for a service on a day, and what it received for them."""

    miner_id: str
    day: int
    service: str
    jobs: int
    earned: int


@dataclass(frozen=True, slots=True)
class HourlyRange:
    """What an online hour earns: of the middle half of the days of machines, and on average."""

    low: int
    typical: int
    high: int


@dataclass(frozen=True, slots=True)
class Basis:
    """What like machines did: how many of them were online, for how many hours, and their paid jobs; those by service with what they earned."""

    machines: int
    hours: float
    jobs: int
    by_service: Mapping[str, tuple[int, int]]
    range: HourlyRange | None
    """None without an hour online."""


def hardware_of(capabilities: Mapping[str, Any]) -> str:
    """Return the class of a machine's hardware: its cards, such as "2 x NVIDIA GeForce RTX 4090", or that it has none."""
    cards = Counter(gpu["name"] for gpu in capabilities["gpus"])
    words = (name if count == 1 else f"{count} x {name}" for name, count in sorted(cards.items()))
    return ", ".join(words) or "no GPU"


def estimate(online: Sequence[OnlineDay], work: Sequence[PaidWork]) -> Basis:
    """Return what like machines earned for each hour online. Work on days of which no online time is known does not count."""
    seconds = {(day.miner_id, day.day): day.seconds for day in online if day.seconds > 0}
    earned: defaultdict[tuple[str, int], int] = defaultdict(int)
    by_service: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for item in work:
        if (item.miner_id, item.day) in seconds:
            earned[item.miner_id, item.day] += item.earned
            jobs, amount = by_service[item.service]
            by_service[item.service] = jobs + item.jobs, amount + item.earned
    hours = sum(seconds.values()) / HOUR_SECONDS
    # Days of less than an hour would be extremes by chance.
    rates = [earned[key] / time * HOUR_SECONDS for key, time in seconds.items() if time >= HOUR_SECONDS]
    return Basis(
        machines=len({miner_id for miner_id, _ in seconds}),
        hours=hours,
        jobs=sum(jobs for jobs, _ in by_service.values()),
        by_service=dict(by_service),
        range=_range(rates, sum(earned.values()) / hours) if rates else None,
    )


def _range(rates: Sequence[float], typical: float) -> HourlyRange:
    if len(rates) < FEW_DAYS:
        low, high = min(rates), max(rates)
    else:
        low, _, high = statistics.quantiles(rates, n=4, method="inclusive")
    # The average may lie outside of the middle half, where a few good days earn most.
    return HourlyRange(int(min(low, typical)), int(typical), int(max(high, typical)))
