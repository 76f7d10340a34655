"""Histories of clients, miners, clocks and restarts against the real operations: random ones, and some regressions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from agent.core.jobs import JobState
from support.histories.jobs import LEASE_SECONDS, Histories

pytestmark = pytest.mark.chaos

SHARDS = 2


@pytest.mark.parametrize("shard", range(SHARDS))
def test_random_histories(shard: int) -> None:
    """After each of about 750 steps the tables are consistent, the ledger balances, and the feed has published every change.

    Every day has its own histories. Set `HISTORIES_SEED`, which a failure prints, to repeat those of one shard.
    """
    number = int(os.environ.get("HISTORIES_SEED", date.today().toordinal() * SHARDS + shard))  # noqa: DTZ011 - any day will do
    print(f"HISTORIES_SEED={number}")  # noqa: T201 - pytest shows it when the test fails
    seed(number)(Histories)
    Histories.steps = 0
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=15,
            stateful_step_count=80,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert Histories.steps > 300


# Regressions: histories that a random walk rarely produces -------------------------------------------------------------


@pytest.fixture
def history() -> Iterator[Histories]:
    """One job, and only the first of the miners."""
    history = Histories()
    history.begin([3])
    for miner in history.miners[1:]:
        miner.online = False
    yield history
    history.teardown()


def play(history: Histories, *steps: Callable[[], object]) -> None:
    for step in steps:
        step()
        history.the_tables_are_consistent()


def test_work_finished_while_the_coordinator_was_unreachable_is_not_given_again(
    history: Histories,
) -> None:
    """The lease has expired and the miner restarts with the result in its outbox. No other miner gets the job."""
    play(
        history,
        lambda: history.claim(slots=1, lost=False),
        lambda: history.finish(0),
        lambda: history.wait(LEASE_SECONDS + 1, expire=True),
        lambda: history.start_miner(0),
        lambda: history.claim(slots=3, lost=False),
        lambda: history.deliver(0, repeated=True),
    )
    life = history.job(history.job_ids[0]).life
    assert (life.state, life.fence, life.attempts) == (JobState.COMPLETED, 1, 1)


def test_a_miner_that_gets_a_job_again_cannot_deliver_its_older_run(history: Histories) -> None:
    play(
        history,
        lambda: history.claim(slots=1, lost=False),
        lambda: history.finish(0),
        lambda: history.wait(LEASE_SECONDS + 1, expire=True),
        lambda: history.claim(slots=1, lost=False),
        lambda: history.deliver(0, repeated=False),
    )
    life = history.job(history.job_ids[0]).life
    assert (life.state, life.fence, life.attempts) == (JobState.RUNNING, 2, 2)


@pytest.mark.parametrize("then", ["deliver", "heartbeat"])
def test_a_revived_run_has_the_times_of_an_uninterrupted_one(history: Histories, then: str) -> None:
    """Its lease expired, but no other miner claimed the job, so its start time is preserved."""
    play(
        history,
        lambda: history.claim(slots=1, lost=False),
        lambda: history.wait(LEASE_SECONDS + 1, expire=True),
        lambda: history.heartbeat(0) if then == "heartbeat" else history.finish(0),
        lambda: None if then == "heartbeat" else history.deliver(0, repeated=False),
    )
    record = history.job(history.job_ids[0])
    assert record.life.started_at == record.created_at
    assert record.life.failure is None
    assert record.life.avoid_miner_id is None or then == "deliver"
