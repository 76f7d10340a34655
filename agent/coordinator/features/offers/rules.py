"""Offers: a miner's price for jobs of a type or name, and the jobs that it applies to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.core.matching import Candidate, Waiting, fits


class OfferState(StrEnum):
    """The stored state of an offer. An `active` offer may be exhausted until one of its jobs ends without a result."""

    ACTIVE = "active"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


EXHAUSTED = "exhausted"
"""The displayed status of an active offer that accepts no more jobs at present."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The minimum hardware behind an offer: memory of the largest GPU in bytes, CPU in thousandths of a core."""

    gpu_memory: int = 0
    cpu_millis: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer. `price` is in units of 1e-8 for each metered unit of the job's service; times are seconds since the epoch.

    Without `max_jobs`, only the miner's slots limit it; without `expires_at`, it is valid until it is withdrawn. A standing
    offer is derived from the price that a miner has configured for `service`; other offers have no `service`.
    """

    offer_id: str
    miner_id: str
    job_type: str
    price: int
    max_jobs: int | None
    jobs_left: int | None
    promise: Promise
    created_at: float
    expires_at: float | None
    state: OfferState = OfferState.ACTIVE
    service: str | None = None

    @property
    def standing(self) -> bool:
        """Whether the offer is derived from a configured price."""
        return self.service is not None

    def status(self, now: float) -> str:
        """Return the status as displayed: active, exhausted, expired or withdrawn."""
        # The row says `active` until the next round of tidying; the time counts.
        if self.state is OfferState.ACTIVE and self.expires_at is not None and self.expires_at <= now:
            return OfferState.EXPIRED.value
        if self.state is OfferState.ACTIVE and self.jobs_left == 0:
            return EXHAUSTED
        return self.state.value


def kind_of(job_type: str) -> str:
    """Return a job type or name in the spelling that is used for comparison."""
    return job_type.replace("-", "_")


def broken_promises(promise: Promise, cpu_cores: int, gpu_memories: Sequence[int]) -> dict[str, str]:
    """Return an error for each field of the request that promises more than the machine has."""
    errors = {}
    largest = max(gpu_memories, default=0)
    if promise.gpu_memory > largest:
        has = (
            f"the largest GPU of this miner has {largest} bytes" if gpu_memories else "this miner has no GPU"
        )
        errors["requirements.min_gpu_memory"] = has
    if promise.cpu_millis > cpu_cores * 1000:
        errors["requirements.min_cpu"] = f"this miner has {cpu_cores * 1000}m"
    return errors


def misfit(offer: Offer, job: Waiting, names: Sequence[str], budget: int, miner: Candidate) -> str | None:
    """Return why a job cannot run under an offer, as a sentence, or None if it can.

    `names` are the job's type and name; `budget` is its `max_cost` in units of 1e-8.
    """
    # The name counts too: clients and miners may agree on names of their own for kinds of jobs.
    if kind_of(offer.job_type) not in map(kind_of, names):
        return f"The offer is for {offer.job_type}, and the job's type and name are {' and '.join(names)}."
    if budget < offer.price:
        return "The job's max_cost does not pay for one unit at the offer's price."
    if offer.promise.cpu_millis and job.cpu * 1000 > offer.promise.cpu_millis:
        return f"The job requests more CPU than the {offer.promise.cpu_millis}m that the offer promises."
    if not fits(job, miner, job.submitted_at):
        return "The offer's miner cannot run the job at present: it lacks the service, the model, the hardware or the reputation."
    return None
