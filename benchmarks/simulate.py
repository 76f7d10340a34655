"""A network of many miners and jobs in simulated time: the coordinator's own matching, states of jobs and ledger, without a database.

    .venv/bin/python benchmarks/simulate.py [--miners 300] [--jobs 40000] [--accounts 40] [--load 0.85] [--seed 1] [--json]

A discrete-event simulation over `agent.core`: events in a heap, no waiting. Miners offer some services and models at prices of their
own, hold one model per slot in memory, leave and return. Clients submit in a Poisson process whose rate has a daily wave; account 0
also submits bursts. Runs take lognormal times, after loading or downloading their model. Each round of matching sees what a round of
the dispatcher sees: the miners with free slots, and at most 512 urgent and 512 old jobs. A miner that leaves loses its leases, which
expire. The ledger's postings must sum to zero in the end, and every job must have ended.

The output shows how long jobs wait for a miner; how evenly accounts are served (Jain's index of their mean times from submission to
result, 1 if all are equal); how many jobs waited longer than an hour; the share of slot time that was used, with loading, from the first
quarter of the jobs to the last submission; how often the model was loaded already; and the processor time of a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

from measuring.network import Network, Outcome


def figures(network: Network, outcome: Outcome) -> dict[str, Any]:
    """Summarize. Waits are in seconds of simulated time."""
    every = sorted(wait for waits in outcome.waits.values() for wait in waits)
    others = sorted(
        wait for account, waits in outcome.waits.items() if account != "account_0" for wait in waits
    )
    run = outcome.busy_seconds / outcome.claims
    means = [statistics.fmean(waits) + run for waits in outcome.waits.values()]
    (busy_before, online_before), (busy, online) = outcome.marks
    with_model = outcome.models.total() or 1
    ended = outcome.ended.total()
    assert ended == network.submitted, "every job has ended"
    assert sum(network.balances.values()) == network.issued, "the postings sum to zero"
    return {
        "miners": len(network.miners), "slots": network.slots, "jobs": ended, "failed_jobs": outcome.ended["failed"],
        "simulated_hours": round(network.now / 3600, 2), "leases_lost": outcome.expired,
        "wait_s": {name: round(cut(every, share), 2) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1))},
        "wait_s_without_bursts": {name: round(cut(others, share), 2) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))},
        "fairness_jain": round(sum(means) ** 2 / (len(means) * sum(mean * mean for mean in means)), 3),
        "starved": sum(wait > 3600 for wait in every),
        "mean_run_s": round(run, 1), "utilisation": round((busy - busy_before) / (online - online_before), 3),
        "model_loaded": round(outcome.models["loaded"] / with_model, 3),
        "model_downloaded": round(outcome.models["downloaded"] / with_model, 4),
        "rounds": outcome.rounds, "ms_per_round": round(outcome.seconds * 1000 / outcome.rounds, 3),
        "matching_us_per_job": round(outcome.seconds * 1e6 / outcome.claims, 1),
    }  # fmt: skip


def cut(values: list[float], share: float) -> float:
    """Return a quantile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    """Simulate and print the figures; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Simulate a network of many miners and jobs.")
    parser.add_argument("--miners", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=40_000)
    parser.add_argument("--accounts", type=int, default=40)
    parser.add_argument(
        "--load", type=float, default=0.85, help="of the miners' slots, without loading of models"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    begun = time.thread_time()
    network = Network(options)
    result = figures(network, network.run())
    result["processor_seconds"] = round(time.thread_time() - begun, 1)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
