"""Answers about the marketplace and miners' records."""

from __future__ import annotations

from agent.core.values import fields
from agent.core.values.fields import Answer, example


class MarketStats(Answer):
    """Statistics of the whole market. `average_completion_time` is the seconds from a job's assignment to its result."""

    model_config = example(
        {
            "total_jobs": 10000,
            "active_jobs": 150,
            "completed_jobs": 9800,
            "failed_jobs": 50,
            "average_completion_time": 120.5,
            "total_volume": "1500.50",
            "active_miners": 500,
        }
    )

    total_jobs: int
    active_jobs: int
    completed_jobs: int
    failed_jobs: int
    average_completion_time: float
    total_volume: fields.Amount
    active_miners: int


class MinerStats(Answer):
    """A miner's record. `total_jobs` counts its results and the runs that failed through its own fault (docs/explanation/reputation.md).

    `client_failures` counts the runs that, according to the miner, failed through their clients' fault.
    """

    model_config = example(
        {
            "miner_id": "miner_1234567890",
            "reputation": 4.8,
            "total_jobs": 500,
            "success_rate": 0.98,
            "average_completion_time": 115.2,
            "total_earned": "125.50",
            "active_since": "2024-01-01T00:00:00Z",
            "failed_runs": 10,
            "client_failures": 12,
            "refused_results": 0,
        }
    )

    miner_id: fields.MinerId
    reputation: float
    total_jobs: int
    success_rate: float
    average_completion_time: float
    total_earned: fields.Amount
    active_since: fields.Time
    failed_runs: int
    client_failures: int
    refused_results: int
