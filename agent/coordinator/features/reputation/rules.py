"""A miner's reputation as a number from 0 to 5 (docs/explanation/reputation.md).

Every run that succeeded, or failed by the miner's fault, is evidence, which is stored for each client separately. A client's
newest run counts 1 and each earlier one a little less, so that one client never contributes more than 20 runs of evidence,
however many jobs it sends. All evidence decays with time. The score is the share of successes, with a neutral prior that weighs
as much as ten runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from agent.core.jobs import Effect, Job, JobState, Outcome, ResultRefused, RunEnded
from agent.core.matching import NEUTRAL
from runners.errors import UNABLE

BEST: Final = 5.0
NEUTRAL_WEIGHT: Final = 10.0
"""Weight of the neutral prior, in runs of evidence."""
RETAINED_SHARE: Final = 0.95
"""Factor by which a new run of a client reduces that client's earlier evidence. The sum stays below 1 / (1 - 0.95) = 20."""
HALF_LIFE_SECONDS: Final = 30 * 86_400.0
"""Evidence of this age counts half."""
SANCTION_WEIGHT: Final = 20.0
"""How many failed runs a result weighs that audits have proven wrong: as much as one client's failures can weigh at most."""
WITHDRAWN: Final = -1.0
"""Weight of a success that is withdrawn, because nothing can be known about its result."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Successes and failures by the miner's fault, in runs, with their weight at the time `at`."""

    good: float = 0.0
    bad: float = 0.0
    at: float = 0.0


NOTHING: Final = Evidence()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run that counts: the miner, and whether the run succeeded, or `failed`: a refused result or a returned lease is neither."""

    miner_id: str
    success: bool
    failed: bool = False


def aged(evidence: Evidence, now: float) -> Evidence:
    """Return the evidence with its weight at the time `now`."""
    # Never below zero, or a clock that was set back would make old evidence weigh more.
    share = 0.5 ** (max(0.0, now - evidence.at) / HALF_LIFE_SECONDS)
    return Evidence(evidence.good * share, evidence.bad * share, max(now, evidence.at))


def learn(client: Evidence, success: bool, now: float, weight: float = 1.0) -> Evidence:
    """Return a client's evidence with one more run, or what weighs as much as `weight` runs; without a success if that is negative."""
    earlier = aged(client, now)
    if weight < 0:
        return replace(earlier, good=max(0.0, earlier.good + weight))
    good, bad = (weight, 0.0) if success else (0.0, weight)
    return Evidence(earlier.good * RETAINED_SHARE + good, earlier.bad * RETAINED_SHARE + bad, earlier.at)


def exchange(total: Evidence, earlier: Evidence, later: Evidence) -> Evidence:
    """Return the total evidence of all clients after one client's has changed from `earlier` to `later`."""
    now = later.at
    total_now, part = aged(total, now), aged(earlier, now)
    return Evidence(
        # Rounding must not leave a sum below zero.
        max(0.0, total_now.good - part.good) + later.good,
        max(0.0, total_now.bad - part.bad) + later.bad,
        total_now.at,
    )


def score(evidence: Evidence, now: float) -> float:
    """Return the reputation, 0 to 5."""
    recent = aged(evidence, now)
    share = NEUTRAL / BEST
    return BEST * (recent.good + NEUTRAL_WEIGHT * share) / (recent.good + recent.bad + NEUTRAL_WEIGHT)


def shown(evidence: Evidence, now: float) -> float:
    """Return the reputation as displayed, with two decimals."""
    return round(score(evidence, now), 2)


def judge(earlier: Job, later: Job, effects: Iterable[Effect]) -> Verdict | None:
    """Return whether a change of a job counts for or against a miner, or None if it does neither.

    A result counts for it, and an invalid one against it. A failure of the machine counts against it, and so does an expired lease, once the work is lost for
    good: until another miner has the job, the result may still arrive. Causes on the client's side (invalid input, cancelling),
    jobs that the machine cannot run (more memory than it has, an engine that does not work there) and leases that were handed back in time do
    not count, unless the miner hands back too many.
    """
    for effect in effects:
        if isinstance(effect, ResultRefused):
            # The run has not failed: the miner may still deliver a valid result.
            return Verdict(effect.lease.miner_id, success=False)
        if isinstance(effect, RunEnded):
            if effect.outcome is Outcome.COMPLETED:
                return Verdict(effect.lease.miner_id, success=True)
            lost = effect.outcome is Outcome.EXPIRED and later.lease is None
            unable = effect.failure is not None and effect.failure.code in UNABLE
            if lost or effect.blamed or (effect.outcome is Outcome.RETRIED and not unable):
                return Verdict(effect.lease.miner_id, success=False, failed=not effect.blamed)
    expired = earlier.lease if earlier.state is JobState.SUBMITTED else None
    if expired is None or later.state not in (JobState.SUBMITTED, JobState.RUNNING):
        return None
    if later.lease is not None and later.lease.fence == expired.fence:
        return None
    return Verdict(expired.miner_id, success=False, failed=True)
