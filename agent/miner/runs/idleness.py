"""How a miner's capacity is used: what each slot does now, and the shares of the last hour."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent.miner.pausing.gpu_watch import PauseCause

HOUR_SECONDS: Final = 3600.0
_BUCKETS: Final = 60


class Use(StrEnum):
    """What a slot does, or why it is idle. The values are displayed to the owner."""

    WORKING = "working"
    LOADING = "loading a model"
    FETCHING = "fetching a model or an input"
    WAITING = "a job waits for memory on a device"
    HAND = "paused by hand"
    SCHEDULE = "paused by schedule"
    TEST = "paused for a self-test"
    FAULT = "paused because of a fault"
    OWNER = "paused for its owner"
    PROGRAM = "paused for another program"
    BATTERY = "paused for the battery"
    DATA = "paused for the data limit"
    TEMPERATURE = "paused for the temperature"
    POWER = "paused for the power"
    OFFLINE = "no connection to the coordinator"
    OUTBOX = "too many results wait to be sent"
    COOLING_DOWN = "cooling down after machine faults"
    STARTING = "starting"
    STOPPING = "stopping"
    NO_JOB = "no jobs for this machine"


PAUSED: Final = {cause: Use(f"paused {cause}") for cause in PauseCause}


@dataclass(frozen=True, slots=True)
class Moment:
    """A miner at one moment: `free` of its `slots` have no job.

    `stages` is what each job does, `barrier` why no job is accepted at all, and `paused` the causes of paused GPUs, each of
    which has `per_card` slots.
    """

    slots: int
    free: int
    stages: Sequence[Use] = ()
    barrier: Use | None = None
    paused: Sequence[PauseCause] = ()
    per_card: int = 1


def uses(moment: Moment) -> dict[Use, float]:
    """Return the number of slots for each use. They sum to the number of slots."""
    slots_by_use: defaultdict[Use, float] = defaultdict(float)
    busy = moment.slots - moment.free
    for stage, count in Counter(moment.stages).items():
        slots_by_use[stage] += busy * count / len(moment.stages)
    idle = float(moment.free if moment.stages else moment.slots)
    if moment.barrier is not None:
        slots_by_use[moment.barrier] += idle
        return dict(slots_by_use)
    for cause in moment.paused:
        size = min(float(moment.per_card), idle)
        slots_by_use[PAUSED[cause]] += size
        idle -= size
    slots_by_use[Use.NO_JOB] += idle
    return {use: size for use, size in slots_by_use.items() if size > 0}


class LastHour:
    """Adds up what slots did, in one entry a minute, so that its size is bounded."""

    def __init__(self) -> None:
        self._minutes: deque[tuple[int, dict[Use, float]]] = deque(maxlen=_BUCKETS + 1)
        self._current: tuple[float, Mapping[Use, float]] | None = None

    def note(self, now: float, uses: Mapping[Use, float]) -> None:
        """Record what slots do from `now` (monotonic seconds) on."""
        self._advance(now)
        self._current = (now, dict(uses))

    def shares(self, now: float) -> dict[Use, float]:
        """Return the shares of the last hour, the largest first. They sum to 1. Empty before the first record."""
        self._advance(now)
        total: dict[Use, float] = defaultdict(float)
        for minute, sums in self._minutes:
            if minute + 1 > now / 60 - _BUCKETS:
                for use, amount in sums.items():
                    total[use] += amount
        all_seconds = sum(total.values())
        if all_seconds <= 0:
            current = dict(self._current[1]) if self._current else {}
            total, all_seconds = current, sum(current.values())
        return {
            use: amount / all_seconds
            for use, amount in sorted(total.items(), key=lambda item: -item[1])
            if amount
        }

    def _advance(self, now: float) -> None:
        """Account for the time since the last record, at most an hour: a machine that was suspended did nothing before."""
        if self._current is None:
            return
        begin, current = self._current
        begin = max(begin, now - HOUR_SECONDS)
        while begin < now:
            minute = int(begin // 60)
            end = min(now, (minute + 1) * 60.0)
            if not self._minutes or self._minutes[-1][0] != minute:
                self._minutes.append((minute, {}))
            sums = self._minutes[-1][1]
            for use, size in current.items():
                sums[use] = sums.get(use, 0.0) + size * (end - begin)
            begin = end
        self._current = (max(now, self._current[0]), current)
