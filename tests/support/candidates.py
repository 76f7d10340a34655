"""Jobs and miners as the matching sees them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from agent.core.matching import Candidate, CandidateService, Waiting

CHEAP = CandidateService(Decimal("0.001"), frozenset({"base"}))
BATCHED = CandidateService(Decimal("0.001"), frozenset({"base", "tiny"}), concurrency=4)


def job(job_id: str, **changes: Any) -> Waiting:
    values: dict[str, Any] = {
        "account_id": "account_1",
        "service": "whisper",
        "model": None,
        "priority": 0,
        "submitted_at": 0.0,
        **changes,
    }
    return Waiting(job_id=job_id, **values)


def miner(miner_id: str, slots: int = 1, offer: CandidateService = CHEAP, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "services": {"whisper": offer},
        "cpu_cores": Decimal(4),
        "memory": 2**33,
        **changes,
    }
    return Candidate(miner_id=miner_id, session=1, slots=slots, **values)
