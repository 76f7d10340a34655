"""Processor time of a round of matching, by the number of idle miners and of kinds of waiting jobs.

    .venv/bin/python benchmarks/rounds.py [--idle 1000 10000 100000] [--kinds 8 80] [--seed 1] [--json]

The miners offer four services with one model per kind of job, and have one of them loaded for each; prices and slots differ. 128 jobs of all kinds wait. The
first round is that of a new leader, which knows no miner; the others follow on it, each after one miner has changed: with one job, with all
128, with 20 jobs that no miner can run, and with one job when a hundredth of the miners has changed. "ratio" divides by the row before: it may not be more than the ratio of the miners.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from agent.core.assignment import match
from agent.core.matching import Candidate, CandidateService, Waiting
from agent.core.ranked_miners import RankedMiners

SERVICES: Final = ("whisper", "llm_inference", "stable_diffusion", "embedding")
JOBS: Final = 128
REPEATS: Final = 5


def fleet(size: int, kinds: int, seed: int) -> list[Candidate]:
    """Return idle miners."""
    chance = random.Random(seed)  # noqa: S311 - a benchmark repeats itself
    models = [f"model-{number}" for number in range(kinds // len(SERVICES))]

    def offer() -> CandidateService:
        return CandidateService(
            Decimal(chance.randrange(1, 1000)) / 10_000,
            models=frozenset(models),
            loaded=frozenset([chance.choice(models)]),
        )

    return [
        Candidate(
            f"miner_{number:06}", 1, chance.choice((1, 1, 2, 4)), {service: offer() for service in SERVICES}
        )
        for number in range(size)
    ]


def waiting(number: int, kinds: int, **fields: Any) -> Waiting:
    """Return a job of the kind with this number."""
    kind = number % kinds
    model = f"model-{kind // len(SERVICES)}"
    return Waiting(f"job_{number:03}", "account_0", SERVICES[kind % len(SERVICES)], model, 0, 0.0, **fields)


def row(size: int, kinds: int, seed: int) -> dict[str, float]:
    """Return the milliseconds of each round."""
    candidates = fleet(size, kinds, seed)
    jobs = [waiting(number, kinds) for number in range(JOBS)]
    impossible = [waiting(number, kinds, memory=2**50 + number) for number in range(20)]
    begun = time.thread_time()
    miners = RankedMiners(candidates)
    match(jobs, miners, {}, 0.0)
    figures = {"first": time.thread_time() - begun}
    match(impossible, miners, {}, 0.0)
    rounds = (
        ("one", jobs[:1], 1),
        ("all", jobs, 1),
        ("impossible", impossible, 1),
        ("many_changed", jobs[:1], size // 100),
    )
    for name, round_jobs, changed in rounds:
        times = []
        for _ in range(REPEATS):
            for number in range(changed):
                candidates[number] = replace(candidates[number], capacity=candidates[number].capacity + 1)
            begun = time.thread_time()
            miners.update(candidates)
            match(round_jobs, miners, {}, 0.0)
            times.append(time.thread_time() - begun)
        figures[name] = min(times)
    return {name: round(seconds * 1000, 2) for name, seconds in figures.items()}


def show(kinds: int, sizes: Sequence[int], rows: Sequence[dict[str, float]]) -> None:
    """Print a table."""
    print(f"\n{kinds} kinds, ms of a round" + "".join(f"{name:>14}  ratio" for name in rows[0]))
    for number, figures in enumerate(rows):
        former = rows[max(0, number - 1)]
        cells = "".join(f"{figures[name]:14.2f} {figures[name] / former[name]:6.1f}" for name in figures)
        print(f"{sizes[number]:>10} idle miners{cells}")


def main() -> None:
    """Measure and print a table for each number of kinds; with --json one JSON object."""
    parser = argparse.ArgumentParser(description="Measure rounds of matching.")
    parser.add_argument("--idle", type=int, nargs="+", default=(1000, 10_000, 100_000))
    parser.add_argument("--kinds", type=int, nargs="+", default=(8, 80))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tables = {kinds: [row(size, kinds, options.seed) for size in options.idle] for kinds in options.kinds}
    if options.json:
        print(json.dumps(tables))
        return
    for kinds, rows in tables.items():
        show(kinds, options.idle, rows)


if __name__ == "__main__":
    main()
