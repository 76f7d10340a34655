"""The only module that changes jobs.

An event of a job changes, in one transaction, everything that depends on the job's state: its row, the run that has ended, the
money that is held for it, the event for the feed, and what features keep about jobs (`hooks`). Callers pass the event and other
columns of the row that change; this module does the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from agent.coordinator import consequences, hooks
from agent.coordinator.consequences import Change
from agent.coordinator.hooks import NewJob
from agent.coordinator.store import artifacts, counts, events, jobs, ledger
from agent.coordinator.store.database import Connection
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.ledger import NewPayment, Payment
from agent.core.jobs import (
    Claim,
    Event,
    Job,
    RunEnded,
    Transition,
)
from agent.core.market.ledger import Entry, InsufficientFunds, JobSettlement, available, hold, settle


class Holds:
    """Entries that hold the maximum costs of new jobs, as far as the balances of their accounts suffice. The caller has locked these."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._balances: dict[str, int] = {}

    def hold(self, record: JobRecord) -> Entry:
        """Return the entry for a job. Raises `InsufficientBalance`."""
        account = available(record.account_id)
        if account not in self._balances:
            self._balances[account] = ledger.balance(self._connection, account)
        try:
            entry = hold(record.account_id, record.held, self._balances[account])
        except InsufficientFunds as error:
            raise consequences.too_costly(error) from None
        # The transaction has not written anything yet: the next job of this account must count on less.
        self._balances[account] -= record.held
        return entry


def create(connection: Connection, record: JobRecord) -> None:
    """Store a new job and hold its `max_cost`. The caller has locked the account. Raises `InsufficientBalance`, storing nothing."""
    create_all(connection, [(NewJob(record), Holds(connection).hold(record))])


def create_all(connection: Connection, new_jobs: Sequence[tuple[NewJob, Entry]]) -> None:
    """Store new jobs, each with the entry that holds its `max_cost`. A transaction calls this once."""
    if not new_jobs:
        return
    records = [job.record for job, _ in new_jobs]
    now = max(record.created_at for record in records)
    jobs.add(connection, records)
    _count_bytes(connection, records, 1)
    counts.move(
        connection,
        [(None, (record.account_id, record.service, record.life.state.value)) for record in records],
    )
    payments = [
        NewPayment(record.job_id, record.account_id, record.held, entry)
        for record, (_, entry) in zip(records, new_jobs, strict=True)
    ]
    ledger.add_payments(connection, payments, now)
    updates = [consequences.job_update(record, record.life, None, 0, record.created_at) for record in records]
    events.add(connection, updates, now)
    hooks.jobs_submitted(connection, [job for job, _ in new_jobs], now)


def change(connection: Connection, record: JobRecord, event: Event, now: float, **values: Any) -> Transition:
    """Apply one event to one job, with all consequences. Raises `IllegalEvent`, changing nothing."""
    item = Change.by(record, event, **values)
    save(connection, [item], now)
    return item.life, item.effects


def claim(connection: Connection, claims: Sequence[tuple[JobRecord, Claim, int]], now: float) -> list[Job]:
    """Claim jobs for miners, each at a price per unit in units of 1e-8. Return the jobs with their leases."""
    changes = []
    for record, event, unit_price in claims:
        changes.append(Change.by(record, event, unit_price=unit_price, progress=0.0, units="0"))
    save(connection, changes, now)
    return [item.life for item in changes]


def save(connection: Connection, changes: Sequence[Change], now: float) -> None:
    """Store changes of jobs, with all consequences. The caller has locked the jobs.

    A transaction calls this once, with all of its changes: then it takes other locks in the same order as all others.
    Raises `StaleRead` if another transaction has changed one of them nevertheless.
    """
    if not changes:
        return
    costs = {item.life.job_id: consequences.price(item) for item in changes if item.finished}
    _save_jobs(connection, changes, costs, now)
    counts.move(connection, [_move(item) for item in changes if item.moved])
    settlements = _settle(connection, changes, costs, now)
    updates: list[NewEvent] = []
    for item in changes:
        job_id = item.life.job_id
        if item.moved:
            updates.append(consequences.moved(item, costs.get(job_id), now))
        if (settlement := settlements.get(job_id)) is not None:
            updates.append(consequences.settled(item, settlement, now))
    events.add(connection, updates, now)
    hooks.jobs_changed(connection, changes, settlements, now)


def _save_jobs(
    connection: Connection, changes: Sequence[Change], costs: Mapping[str, int], now: float
) -> None:
    """Store the rows of jobs and of ended runs."""
    by_columns: defaultdict[tuple[str, ...], list[tuple[Job, Job, dict[str, Any]]]] = defaultdict(list)
    for item in changes:
        values = {**item.values, "miner_id": item.miner_id}
        if item.life.job_id in costs:
            values["cost"] = costs[item.life.job_id]
        # Changes with the same columns share one prepared statement.
        by_columns[tuple(values)].append((item.before.life, item.life, values))
        # The run was stored as expired, and now continues under the same fence: it must not appear twice.
        if consequences.revives(item):
            jobs.drop_run(connection, item.life.job_id, item.life.fence)
    for rows in by_columns.values():
        jobs.save_lives(connection, rows)
    ended = [
        (item.life.job_id, effect)
        for item in changes
        for effect in item.effects
        if isinstance(effect, RunEnded)
    ]
    jobs.add_runs(connection, ended, now)


def delete_data(connection: Connection, records: Sequence[JobRecord], now: float) -> None:
    """Delete the data of ended jobs. Their receipts, payments and share of the network's statistics remain."""
    job_ids = [record.job_id for record in records]
    jobs.forget_data(connection, job_ids, now)
    hooks.data_deleted(connection, job_ids)
    _count_bytes(connection, records, -1)
    groups = [(record.account_id, record.service, record.life.state.value) for record in records]
    moves = [
        ((account, service, state), (account, service, f"{counts.DELETED}{state}"))
        for account, service, state in groups
    ]
    counts.move(connection, moves)


def _count_bytes(connection: Connection, records: Sequence[JobRecord], sign: int) -> None:
    for record in records:
        if record.quota_bytes:
            artifacts.count_bytes(connection, record.account_id, sign * record.quota_bytes)


def bind(connection: Connection, record: JobRecord, miner_id: str | None, price: int | None) -> None:
    """Leave a waiting job to this miner at an agreed price per unit, or with None to any miner within its `max_cost`."""
    jobs.bind(connection, record.job_id, miner_id=miner_id, price=price)


def _settle(
    connection: Connection, changes: Sequence[Change], costs: Mapping[str, int], now: float
) -> dict[str, JobSettlement]:
    """Pay the miners of ended jobs and refund the rest. Return the settlements by job. Jobs older than the ledger have none."""
    payments = {}
    for item in changes:
        record = item.before
        if (cost := costs.get(record.job_id)) is not None:
            settlement = settle(record.account_id, item.miner_id, record.held, cost, record.fee_ppm)
            payments[record.job_id] = Payment(record.job_id, consequences.payee(item, settlement), settlement)
    closed = ledger.close_payments(connection, list(payments.values()), now)
    return {job_id: payment.settlement for job_id, payment in payments.items() if job_id in closed}


def _move(item: Change) -> tuple[counts.Group, counts.Group]:
    account, service = item.before.account_id, item.before.service
    return (account, service, item.before.life.state.value), (account, service, item.life.state.value)
