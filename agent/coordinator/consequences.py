"""What a change of a job means for others: its cost, and its events. Nothing here uses the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from agent.coordinator.store import ledger
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.core.errors import InsufficientBalance
from agent.core.jobs import Effect, Event, Finished, Job, JobState, Outcome, RunEnded, apply
from agent.core.market.ledger import InsufficientFunds, JobSettlement
from agent.core.values.quantities import format_time, format_units, from_units, to_units
from aitbc.figures.amounts import with_currency
from aitbc.statement import job_price


@dataclass(frozen=True, slots=True)
class Change:
    """A job before and after an event."""

    before: JobRecord
    life: Job
    effects: tuple[Effect, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    """Other columns of its row that change: progress, units, unit_price."""
    waits_for: tuple[str, ...] = ()
    """The codes of the reasons why the job waits, if its client is notified of them; nothing else changes then."""

    @classmethod
    def by(cls, record: JobRecord, event: Event, **values: Any) -> Change:
        """Return the change that an event makes to a job. Raises `IllegalEvent`."""
        life, effects = apply(record.life, event)
        return cls(record, life, effects, values)

    @property
    def moved(self) -> bool:
        """Whether the job's state has changed."""
        return self.before.life.state is not self.life.state

    @property
    def finished(self) -> bool:
        """Whether the job has ended with this change."""
        return Finished in map(type, self.effects)

    @property
    def miner_id(self) -> str | None:
        """The miner that runs the job, or ran it last if it has ended, or None while it waits."""
        if self.life.state is JobState.SUBMITTED:
            return None
        if self.life.state is JobState.CANCELLED:
            return self.before.miner_id
        lease = self.life.lease or self.before.life.lease
        return lease.miner_id if lease else self.before.miner_id


def revives(item: Change) -> bool:
    """Return whether a run that was recorded as expired continues, or has delivered its outcome late."""
    life = item.before.life
    if life.state is not JobState.SUBMITTED or life.fence != item.life.fence:
        return False
    return item.life.state is JobState.RUNNING or any(isinstance(effect, RunEnded) for effect in item.effects)


def moved(item: Change, cost: int | None, now: float) -> NewEvent:
    """Return the event about a job whose state has changed; `cost` is what it has cost in units of 1e-8, once it has ended."""
    progress = int(item.values.get("progress", item.before.progress))
    return job_update(item.before, item.life, item.miner_id, progress, now, cost)


def job_update(
    record: JobRecord, life: Job, miner_id: str | None, progress: int, now: float, cost: int | None = None
) -> NewEvent:
    """Return the event about a job; the arguments are what has changed since `record` was read."""
    data: dict[str, Any] = {
        "job_id": life.job_id,
        "status": life.state.value,
        "timestamp": format_time(now),
        "type": record.type,
        "progress": progress,
        "attempts": life.attempts,
    }
    if life.started_at is not None:
        data["started_at"] = format_time(life.started_at)
    if miner_id is not None:
        data["miner_id"] = miner_id
    if cost is not None:
        data["cost"] = format_units(cost)
    if life.failure is not None and life.state in (JobState.FAILED, JobState.SUBMITTED):
        field_name = "error" if life.state is JobState.FAILED else "last_failure"
        data[field_name] = {"code": life.failure.code, "message": life.failure.message}
    # The owner of a miner that has just lost a job sees this event too.
    return NewEvent("job_update", data, record.account_id, miner_id or record.miner_id, life.job_id)


def payee(item: Change, settlement: JobSettlement) -> str | None:
    """Return the miner that is paid, or None."""
    return item.miner_id if settlement.paid else None


def settled(item: Change, settlement: JobSettlement, now: float) -> NewEvent:
    """Return the event about the settlement of a job's payment."""
    record = item.before
    data = {
        "kind": "transaction",
        "transaction_id": ledger.payment_id(record.job_id),
        "job_id": record.job_id,
        "status": (ledger.Status.SETTLED if settlement.paid else ledger.Status.REFUNDED).value,
        "amount": format_units(settlement.paid),
        "timestamp": format_time(now),
    }
    return NewEvent("marketplace_update", data, record.account_id, payee(item, settlement), record.job_id)


def price(item: Change) -> int:
    """Return the cost of the job: the price of a result, or of the metered units of a run that the client ended or made fail.

    A run that failed because of the machine costs nothing.
    """
    record = item.before
    # A client that cancels, or whose input fails, has used the machine up to then.
    paid_for = (Outcome.COMPLETED, Outcome.CANCELLED, Outcome.FAILED)
    worked = any(isinstance(effect, RunEnded) and effect.outcome in paid_for for effect in item.effects)
    if not worked or record.unit_price is None:
        return 0
    # The last reported units, if the event itself brings none.
    units = Decimal(item.values.get("units", record.units))
    return to_units(job_price(units, from_units(record.unit_price), from_units(record.max_cost)))


def too_costly(error: InsufficientFunds) -> InsufficientBalance:
    """Return the error for a job that its account cannot pay."""
    needed, balance = format_units(error.needed), format_units(error.balance)
    return InsufficientBalance(
        f"The job may cost up to {with_currency(needed)}, but your wallet has {with_currency(balance)}. "
        "Lower pricing.max_cost, or have your account credited.",
        {"needed": needed, "balance": balance},
    )
