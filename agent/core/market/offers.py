"""Offers: a miner's price for jobs of a type or name, and which jobs it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.core.matching import Candidate, Waiting, fits


class OfferState(StrEnum):
    """Where an offer stands. An `active` one may still be exhausted, which passes when a job of it gives its place back."""

    ACTIVE = "active"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


EXHAUSTED = "exhausted"
"""How an active offer is shown that takes no more jobs at present."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the machine behind an offer has at least: memory of its largest GPU in bytes, CPU in thousandths of a core."""

    gpu_memory: int = 0
    cpu_millis: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer. `price` is units of 1e-8 for each metered unit of the job's service; times are seconds since the epoch.

    Without `max_jobs` only the miner's slots are the limit; without `expires_at` it stands until it is withdrawn. A standing
    offer follows from the price that a miner has configured for `service`; one that was made has no service of its own.
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
        """Whether it follows from a configured price."""
        return self.service is not None

    def status(self, now: float) -> str:
        """As it is shown: active, exhausted, expired or withdrawn."""
        if self.state is OfferState.ACTIVE and self.expires_at is not None and self.expires_at <= now:
            return OfferState.EXPIRED.value
        if self.state is OfferState.ACTIVE and self.jobs_left == 0:
            return EXHAUSTED
        return self.state.value


def kind_of(job_type: str) -> str:
    """A job type or name in the one spelling in which they are compared."""
    return job_type.replace("-", "_")


def broken_promises(promise: Promise, cpu_cores: int, gpu_memories: Sequence[int]) -> dict[str, str]:
    """Where a promise is more than the machine has, by field of the request."""
    faults = {}
    largest = max(gpu_memories, default=0)
    if promise.gpu_memory > largest:
        has = (
            f"the largest GPU of this miner has {largest} bytes" if gpu_memories else "this miner has no GPU"
        )
        faults["requirements.min_gpu_memory"] = has
    if promise.cpu_millis > cpu_cores * 1000:
        faults["requirements.min_cpu"] = f"this miner has {cpu_cores * 1000}m"
    return faults


def misfit(offer: Offer, job: Waiting, names: Sequence[str], budget: int, miner: Candidate) -> str | None:
    """Why a job cannot be run under an offer, in a sentence; None if it can.

    `names` are the job's type and name, `budget` is its `max_cost` in units of 1e-8.
    """
    if kind_of(offer.job_type) not in map(kind_of, names):
        return f"The offer is for {offer.job_type}, and the job's type and name are {' and '.join(names)}."
    if budget < offer.price:
        return "The job's max_cost does not pay for one unit at the offer's price."
    if offer.promise.cpu_millis and job.cpu * 1000 > offer.promise.cpu_millis:
        return f"The job asks for more CPU than the {offer.promise.cpu_millis}m that are offered."
    if not fits(job, miner, job.submitted_at):
        return "The offer's miner cannot run the job at present: it lacks the service, the model or the hardware."
    return None
