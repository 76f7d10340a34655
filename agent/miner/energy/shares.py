"""Divides a span of time among the jobs that ran in it: each moment equally among those that ran then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

JobKey: TypeAlias = tuple[str, int]
"""The id of a job, and the fence of its lease."""


@dataclass(slots=True)
class Stay:
    """A job on its devices ("cpu", UUIDs of GPUs) from `begin` to `end`, None while it runs; in monotonic seconds."""

    job: JobKey
    devices: tuple[str, ...]
    begin: float
    end: float | None = None


def divide(begin: float, end: float, stays: Sequence[Stay]) -> dict[JobKey, float]:
    """Return the seconds between `begin` and `end` that fall to each job. Without gaps between jobs they sum to the whole span."""
    spans = [
        (stay.job, max(begin, stay.begin), min(end, end if stay.end is None else stay.end)) for stay in stays
    ]
    spans = [span for span in spans if span[1] < span[2]]
    seconds: defaultdict[JobKey, float] = defaultdict(float)
    edges = sorted({edge for _, first, last in spans for edge in (first, last)})
    for first, last in pairwise(edges):
        present = [job for job, arrived, left in spans if arrived <= first and last <= left]
        for job in present:
            seconds[job] += (last - first) / len(present)
    return dict(seconds)
