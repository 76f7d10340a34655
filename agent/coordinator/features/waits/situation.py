"""What decides when a job runs, as far as its explanation needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from agent.core.feasibility import Situation
from agent.core.matching import Waiting
from agent.core.waiting_reasons import WaitingReason


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run of the job that failed on a miner."""

    miner_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class JobSituation(Situation):
    """Everything that an explanation depends on, besides the job.

    `limit` is the account's maximum number of running jobs, None without one. `ahead` are the jobs that come first, oldest first; None:
    unknown. `of_features` are reasons that other features know.
    """

    missing_files: Sequence[str] = ()
    failures: Sequence[FailedRun] = ()
    of_features: Sequence[WaitingReason] = ()
    running: int = 0
    limit: int | None = None
    ahead: Sequence[Waiting] | None = None

    @classmethod
    def of(cls, situation: Situation) -> Self:
        """Return the situation of a job of which nothing else is to be explained."""
        return cls(situation.miners, situation.now, situation.unit, situation.units, situation.model)
