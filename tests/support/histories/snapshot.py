"""What the tables of a coordinator must fulfil after each step of a history."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from agent.coordinator.store import counts
from agent.coordinator.store import events as event_store
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import ledger as ledger_store
from agent.coordinator.store.database import Connection
from agent.coordinator.store.schema import tables
from agent.core.jobs import FINAL, JobState, Outcome
from agent.core.market.ledger import available, escrow
from agent.core.values.quantities import to_units

PAID = (Outcome.COMPLETED, Outcome.CANCELLED, Outcome.FAILED)
"""Outcomes for which a run's miner is paid: a result, and failures or cancellations by the client."""


@dataclass
class Snapshot:
    """The contents of all tables at one moment."""

    jobs: list[job_store.JobRecord]
    runs: list[dict[str, Any]]
    receipts: list[str]
    results: list[str]
    payments: dict[str | None, ledger_store.TransactionRecord]
    balances: dict[str, int]
    ledger_problems: list[str]
    changes: list[event_store.StoredEvent]
    counts: dict[str, int]

    def check(self, owners: Mapping[tuple[str, int], str], account_id: str, credit: Decimal) -> None:
        """Check the consistency of all tables. `owners` are the miners that claimed jobs, by job and fence."""
        for record in self.jobs:
            self._check_job(record, owners)
        self._check_money(account_id, credit)
        self._check_feed()
        for state in JobState:
            assert self.counts.get(state, 0) == sum(record.life.state is state for record in self.jobs)

    def _outcomes(self, record: job_store.JobRecord) -> dict[int, str]:
        return {run["fence"]: run["outcome"] for run in self.runs if run["job_id"] == record.job_id}

    def _check_job(self, record: job_store.JobRecord, owners: Mapping[tuple[str, int], str]) -> None:
        life = record.life
        ended = self._outcomes(record)
        done = life.state is JobState.COMPLETED
        assert self.receipts.count(record.job_id) == self.results.count(record.job_id) == done
        assert list(ended.values()).count(Outcome.COMPLETED) == done
        if done:
            assert ended[life.fence] == Outcome.COMPLETED
            assert record.miner_id == owners[record.job_id, life.fence]
        live = life.state is JobState.RUNNING
        assert (life.lease is not None) or not live
        assert not (live and life.fence in ended)
        assert not (life.state in FINAL and life.lease)
        # The fence counts the claims; the attempts do not include leases that were handed back.
        assert life.fence == sum(job_id == record.job_id for job_id, _ in owners)
        spent = sum(outcome != Outcome.RELEASED for outcome in ended.values())
        assert life.attempts == spent + live <= life.max_attempts
        assert (life.started_at is not None) or not (live or done)
        assert (life.finished_at is not None) == (life.state in FINAL)
        assert (life.state is JobState.FAILED) <= (life.failure is not None)

    def _check_money(self, account_id: str, credit: Decimal) -> None:
        """Check that the maximum cost of unfinished jobs is held, completed ones are paid once, and no other money has moved."""
        assert self.ledger_problems == []
        paid = 0
        for record in self.jobs:
            payment = self.payments[record.job_id]
            assert (payment.status == ledger_store.Status.PENDING) == (record.life.state not in FINAL)
            assert (record.life.state is JobState.COMPLETED) <= (payment.miner_id == record.miner_id)
            assert 0 <= payment.paid <= payment.held == record.max_cost
            assert record.cost == (payment.paid if record.life.state in FINAL else None)
            if payment.paid:
                assert self._outcomes(record)[record.life.fence] in PAID
            paid += payment.paid
        held = sum(record.max_cost for record in self.jobs if record.life.state not in FINAL)
        assert self.balances.get(escrow(account_id), 0) == held
        assert self.balances[available(account_id)] == to_units(credit) - held - paid

    def _check_feed(self) -> None:
        """Check that every state change is published once, in order, and that the last one is the current state."""
        published: dict[str, list[str]] = {}
        for change in self.changes:
            if change.type == "job_update" and change.job_id is not None:
                published.setdefault(change.job_id, []).append(change.data["status"])
        for record in self.jobs:
            states = published[record.job_id]
            assert (states[0], states[-1]) == (JobState.SUBMITTED, record.life.state)
            assert all(before != after for before, after in itertools.pairwise(states))


def read_snapshot(connection: Connection) -> Snapshot:
    """Return the contents of all tables."""
    job_ids = list(connection.execute(select(tables.jobs.c.job_id)).scalars())
    transactions = ledger_store.page(connection, limit=10_000, before_id=None)
    return Snapshot(
        jobs=list(job_store.find_many(connection, job_ids).values()),
        runs=[dict(row) for row in connection.execute(select(tables.runs)).mappings()],
        receipts=list(connection.execute(select(tables.receipts.c.job_id)).scalars()),
        results=list(connection.execute(select(tables.results.c.job_id)).scalars()),
        payments={record.job_id: record for record in transactions},
        balances=dict(
            connection.execute(select(tables.balances.c.ledger_account, tables.balances.c.amount)).all()
        ),
        ledger_problems=ledger_store.problems(connection),
        changes=event_store.after(connection, 0, limit=100_000),
        counts=counts.by_state(connection),
    )
