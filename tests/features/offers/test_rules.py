"""Offers: the jobs that they apply to, and the hardware that they promise."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from agent.coordinator.features.offers.rules import Offer, OfferState, Promise, broken_promises, misfit
from agent.core.matching import Candidate, CandidateService, Waiting

OFFER = Offer(
    offer_id="offer_1",
    miner_id="miner_1",
    job_type="image-classification",
    price=100,
    max_jobs=2,
    jobs_left=2,
    promise=Promise(cpu_millis=2000),
    created_at=0.0,
    expires_at=10.0,
)
JOB = Waiting("job_1", "account_1", "ai_inference", None, 0, 0.0, cpu=Decimal(2))
MINER = Candidate("miner_1", 1, 1, {"ai_inference": CandidateService(Decimal(9))}, cpu_cores=Decimal(8))
NAMES = ("ai_inference", "image_classification")


def test_the_status_follows_from_time_and_jobs_left() -> None:
    assert OFFER.status(9.9) == "active"
    assert OFFER.status(10.0) == "expired"
    assert replace(OFFER, jobs_left=0).status(9.9) == "exhausted"
    assert replace(OFFER, state=OfferState.WITHDRAWN).status(99.0) == "withdrawn"
    assert replace(OFFER, expires_at=None).status(1e12) == "active"


def test_an_offer_is_for_jobs_of_its_type_or_name() -> None:
    assert misfit(OFFER, JOB, NAMES, 100, MINER) is None
    assert misfit(replace(OFFER, job_type="ai-inference"), JOB, NAMES, 100, MINER) is None
    assert "is for image-classification" in (misfit(OFFER, JOB, ("ai_inference", "other"), 100, MINER) or "")


def test_a_job_must_fit_the_offers_price_and_promise() -> None:
    """The offer's price counts, not the miner's. The promise is a limit even if the machine has more."""
    assert "max_cost" in (misfit(OFFER, JOB, NAMES, 99, MINER) or "")
    assert "2000m" in (misfit(OFFER, replace(JOB, cpu=Decimal("2.001")), NAMES, 100, MINER) or "")
    free = replace(OFFER, promise=Promise())
    assert misfit(free, replace(JOB, cpu=Decimal(8)), NAMES, 100, MINER) is None
    assert "cannot run" in (misfit(free, replace(JOB, cpu=Decimal(9)), NAMES, 100, MINER) or "")
    assert "cannot run" in (misfit(OFFER, replace(JOB, service="llm"), NAMES, 100, MINER) or "")


def test_promises_beyond_the_machine_are_reported_with_what_it_has() -> None:
    assert broken_promises(Promise(4, 2000), 2, [3, 4]) == {}
    faults = broken_promises(Promise(5, 2001), 2, [3, 4])
    assert faults == {
        "requirements.min_gpu_memory": "the largest GPU of this miner has 4 bytes",
        "requirements.min_cpu": "this miner has 2000m",
    }
    assert "no GPU" in broken_promises(Promise(1, 0), 2, [])["requirements.min_gpu_memory"]
