"""What a miner's work says of it, as a number from 0 to 5 (docs/explanation/reputation.md).

Every run that ended well or by the miner's fault is remembered as evidence, for each client apart: the newest run of a client
counts 1 and every earlier one of the same client a little less, so that one client is never more than 20 runs' worth of
evidence, however many jobs it sends. All evidence fades with time. The score is the share of what went well, with a neutral
opinion mixed in that weighs as much as ten runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agent.core.jobs import Effect, Job, JobState, Outcome, RunEnded
from runners.errors import FailureCode, Fault

BEST: Final = 5.0
NEUTRAL: Final = 3.0
"""The score of a miner of which nothing is known."""
NEUTRAL_WEIGHT: Final = 10.0
"""How many runs of evidence the neutral opinion weighs as much as."""
KEPT: Final = 0.95
"""What a new run of a client leaves of that client's earlier ones; their sum stays below 1 / (1 - 0.95) = 20."""
HALF_LIFE_SECONDS: Final = 30 * 86_400.0
"""Evidence of so long ago counts half."""
TOO_LARGE: Final = frozenset(code for code in FailureCode if code.fault is Fault.CAPACITY)
"""Codes of runs that needed more memory than the machine has to give. The job is tried elsewhere, and neither side failed; who
meets them again and again is slowed down (see `agent.core.market.habits`)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much went well and how much by the miner's fault did not, in runs, as it was worth at the time `at`."""

    good: float = 0.0
    bad: float = 0.0
    at: float = 0.0


NOTHING: Final = Evidence()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose a run was that counts, and whether it went well."""

    miner_id: str
    success: bool


def aged(evidence: Evidence, now: float) -> Evidence:
    """What evidence is worth now."""
    share = 0.5 ** (max(0.0, now - evidence.at) / HALF_LIFE_SECONDS)
    return Evidence(evidence.good * share, evidence.bad * share, max(now, evidence.at))


def learn(client: Evidence, success: bool, now: float) -> Evidence:
    """A client's evidence with one more run."""
    before = aged(client, now)
    return Evidence(before.good * KEPT + success, before.bad * KEPT + (not success), before.at)


def exchange(total: Evidence, before: Evidence, after: Evidence) -> Evidence:
    """The evidence of all clients, of which one's has become `after`."""
    now = after.at
    whole, part = aged(total, now), aged(before, now)
    return Evidence(
        max(0.0, whole.good - part.good) + after.good, max(0.0, whole.bad - part.bad) + after.bad, whole.at
    )


def score(evidence: Evidence, now: float) -> float:
    """The reputation, 0 to 5."""
    known = aged(evidence, now)
    share = NEUTRAL / BEST
    return BEST * (known.good + NEUTRAL_WEIGHT * share) / (known.good + known.bad + NEUTRAL_WEIGHT)


def shown(evidence: Evidence, now: float) -> float:
    """The reputation as it is shown, with two decimals."""
    return round(score(evidence, now), 2)


def judge(before: Job, after: Job, effects: Iterable[Effect]) -> Verdict | None:
    """Whether a change of a job speaks for or against a miner; None if it says nothing of one.

    A result speaks for it. Against it speak a failure of the machine and a lease that ran out; that one only once the work is
    lost for good, since the miner's result may still come as long as nobody else has the job. What the client did (wrong
    input, more memory than the machine has, cancelling) and leases that were handed back in time say nothing.
    """
    for effect in effects:
        if isinstance(effect, RunEnded):
            if effect.outcome is Outcome.COMPLETED:
                return Verdict(effect.lease.miner_id, success=True)
            lost = effect.outcome is Outcome.EXPIRED and after.lease is None
            too_large = effect.failure is not None and effect.failure.code in TOO_LARGE
            if lost or (effect.outcome is Outcome.RETRIED and not too_large):
                return Verdict(effect.lease.miner_id, success=False)
    expired = before.lease if before.state is JobState.SUBMITTED else None
    if expired is None or after.state not in (JobState.SUBMITTED, JobState.RUNNING):
        return None
    if after.lease is not None and after.lease.fence == expired.fence:
        return None
    return Verdict(expired.miner_id, success=False)
