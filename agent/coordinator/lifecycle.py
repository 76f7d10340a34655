"""The only module that changes jobs.

An event of a job changes, in one transaction, everything that depends on the job's state: its row, the run that has ended, the
money that is held for it, the statistics, the event for the feed, and the message to its webhook. Callers pass the event and other
columns of the row that change; this module does the rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from agent.coordinator.store import counts, events, history, ledger, miner_stats, offers, queue, webhooks
from agent.coordinator.store import jobs as store
from agent.coordinator.store import log as log_store
from agent.coordinator.store.database import Connection
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.jobs import JobRecord
from agent.coordinator.store.miner_stats import MinerStats
from agent.coordinator.store.webhooks import Delivery
from agent.core.errors import InsufficientBalance
from agent.core.jobs import (
    Claim,
    Effect,
    Event,
    Finished,
    Job,
    JobState,
    Outcome,
    RunEnded,
    Transition,
    apply,
)
from agent.core.market.ledger import InsufficientFunds, Settlement, available, hold, settle
from agent.core.market.offers import EXHAUSTED, Offer
from agent.core.market.reputation import judge
from agent.core.values.quantities import format_money, format_time, from_units, to_units
from agent.core.webhooks import (
    WAITING,
    event_type,
    lane,
    message,
    waiting_id,
    waiting_message,
    webhook_id,
)
from aitbc.receipts import receipt_id
from aitbc.settlement import Settlement as LoggedSettlement
from aitbc.statement import job_price


@dataclass(frozen=True, slots=True)
class Change:
    """A job before and after an event. `values` are other columns of its row that change (progress, units, unit_price)."""

    before: JobRecord
    life: Job
    effects: tuple[Effect, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def moved(self) -> bool:
        """Whether the job's state has changed."""
        return self.before.life.state is not self.life.state

    @property
    def finished(self) -> bool:
        """Whether the job has ended with this change."""
        return any(isinstance(effect, Finished) for effect in self.effects)

    @property
    def miner_id(self) -> str | None:
        """The miner that runs the job, or ran it last if it has ended, or None while it waits."""
        if self.life.state is JobState.SUBMITTED:
            return None
        if self.life.state is JobState.CANCELLED:
            return self.before.miner_id
        lease = self.life.lease or self.before.life.lease
        return lease.miner_id if lease else self.before.miner_id


def create(connection: Connection, record: JobRecord) -> None:
    """Store a new job and hold its `max_cost`. Raises `InsufficientBalance`, storing nothing."""
    balance = ledger.balance(connection, available(record.account_id))
    try:
        held = hold(record.account_id, record.max_cost, balance)
    except InsufficientFunds as error:
        raise InsufficientBalance(
            f"The job may cost up to {_money(error.needed)}, but your wallet has {_money(error.balance)}. "
            "Lower its maximum cost, or have your account credited.",
            {"needed": _money(error.needed), "balance": _money(error.balance)},
        ) from None
    now = record.created_at
    store.add(connection, record)
    ledger.add_payment(connection, record.job_id, record.account_id, record.max_cost, held, now)
    counts.move(connection, [(None, (record.account_id, record.service, record.life.state.value))])
    history.add(connection, now, submitted=1)
    events.add(connection, [_job_update(record, record.life, None, 0, now)], now)


def change(connection: Connection, record: JobRecord, event: Event, now: float, **values: Any) -> Transition:
    """Apply one event to one job, with all consequences. Raises `IllegalEvent`, changing nothing."""
    life, effects = apply(record.life, event)
    save(connection, [Change(record, life, effects, values)], now)
    return life, effects


def claim(connection: Connection, claims: Sequence[tuple[JobRecord, Claim, int]], now: float) -> list[Job]:
    """Claim jobs for miners, each at a price per unit in units of 1e-8. Return the jobs with their leases."""
    changes = []
    for record, event, unit_price in claims:
        life, effects = apply(record.life, event)
        begun = {"unit_price": unit_price, "progress": 0.0, "units": "0"}
        changes.append(Change(record, life, effects, begun))
    save(connection, changes, now)
    return [item.life for item in changes]


def save(connection: Connection, changes: Sequence[Change], now: float) -> None:
    """Store changes of jobs, with all consequences."""
    by_columns: defaultdict[tuple[str, ...], list[tuple[Job, dict[str, Any]]]] = defaultdict(list)
    costs = {item.life.job_id: _price(item) for item in changes if item.finished}
    for item in changes:
        values = {**item.values, "miner_id": item.miner_id}
        if item.life.job_id in costs:
            values["cost"] = costs[item.life.job_id]
        by_columns[tuple(values)].append((item.life, values))
        if _revived(item):
            store.drop_run(connection, item.life.job_id, item.life.fence)
    for rows in by_columns.values():
        store.save_lives(connection, rows)
    ended = [
        (item.life.job_id, effect)
        for item in changes
        for effect in item.effects
        if isinstance(effect, RunEnded)
    ]
    store.add_runs(connection, ended, now)
    moved = [item for item in changes if item.moved]
    counts.move(connection, [_move(item) for item in moved])
    updates: list[NewEvent] = []
    ending: Counter[str] = Counter()
    for item in changes:
        settlement, cost = None, costs.get(item.life.job_id)
        if item.moved:
            progress = int(item.values.get("progress", item.before.progress))
            updates.append(_job_update(item.before, item.life, item.miner_id, progress, now, cost))
        if cost is not None:
            settlement, settled = _settle(connection, item, cost, now)
            updates += settled + _return_to_offer(connection, item, now)
            ending[item.life.state.value] += 1
            if settlement is not None:
                ending.update(paid=settlement.paid, fees=settlement.fee)
        if cost is not None and item.before.webhook_url is not None:
            webhooks.enqueue(connection, _message(item, item.before.webhook_url, now), item.before.created_at)
        _update_stats(connection, item, settlement, now)
    history.add(connection, now, **ending)
    events.add(connection, updates, now)


def notify_waiting(connection: Connection, record: JobRecord, notice: Mapping[str, Any], now: float) -> None:
    """Notify the client of a job why it waits: with an event, and a message to its webhook. `notice` is the event's `waiting`."""
    queue.mark_notified(connection, record.job_id, now)
    update = _job_update(record, record.life, None, 0, now)
    events.add(connection, [replace(update, data={**update.data, "waiting": dict(notice)})], now)
    if record.webhook_url is not None:
        codes = [reason["code"] for reason in notice["reasons"]]
        delivery = Delivery(
            webhook_id=waiting_id(record.job_id),
            job_id=record.job_id,
            account_id=record.account_id,
            url=record.webhook_url,
            lane=lane(record.account_id, record.webhook_url),
            type=WAITING,
            body=waiting_message(record.job_id, record.service, codes, now),
            created_at=now,
        )
        webhooks.enqueue(connection, delivery, record.created_at)


def delete_data(connection: Connection, record: JobRecord, now: float) -> None:
    """Delete the data of an ended job. Its receipt, its payment and its share of the network's statistics remain."""
    account, service, state = record.account_id, record.service, record.life.state.value
    store.forget_data(connection, record.job_id, now)
    counts.move(connection, [((account, service, state), (account, service, f"{counts.DELETED}{state}"))])


def bind(connection: Connection, record: JobRecord, offer: Offer, now: float) -> bool:
    """Bind a waiting job to an offer at its price. Return False, changing nothing, if the offer accepts no more jobs."""
    if not offers.reserve(connection, offer.offer_id):
        return False
    store.bind(connection, record.job_id, miner_id=offer.miner_id, offer_id=offer.offer_id, price=offer.price)
    updates = [_pending(record, offer, now, bound=True)]
    if offer.jobs_left == 1:
        updates += _offer_update(connection, offer.offer_id, now)
    events.add(connection, updates, now)
    return True


def unbind(connection: Connection, record: JobRecord, offer: Offer, now: float) -> None:
    """Release a waiting job from an offer that can no longer serve it, to any miner within its `max_cost`."""
    store.bind(connection, record.job_id, miner_id=None, offer_id=None, price=None)
    offers.give_back(connection, offer.offer_id)
    updates = [_pending(record, offer, now, bound=False)]
    if offer.status(now) == EXHAUSTED:
        updates += _offer_update(connection, offer.offer_id, now)
    events.add(connection, updates, now)


def _pending(record: JobRecord, offer: Offer, now: float, *, bound: bool) -> NewEvent:
    data = {
        "kind": "transaction",
        "transaction_id": ledger.payment_id(record.job_id),
        "job_id": record.job_id,
        "offer_id": offer.offer_id,
        "bound": bound,
        "status": ledger.Status.PENDING.value,
        "timestamp": format_time(now),
    }
    return NewEvent("marketplace_update", data, record.account_id, offer.miner_id, record.job_id)


def _offer_update(connection: Connection, offer_id: str, now: float) -> list[NewEvent]:
    offer = offers.find(connection, offer_id)
    return [] if offer is None else [offers.event_of(offer, now)]


def _return_to_offer(connection: Connection, item: Change, now: float) -> list[NewEvent]:
    """Return a job that ended without a result to its offer's capacity. Return the events about the offer."""
    offer_id = item.before.offer_id
    if offer_id is None or item.life.state is JobState.COMPLETED:
        return []
    offer = offers.find(connection, offer_id)
    offers.give_back(connection, offer_id)
    return _offer_update(connection, offer_id, now) if offer and offer.status(now) == EXHAUSTED else []


def _update_stats(connection: Connection, item: Change, settlement: Settlement | None, now: float) -> None:
    """Update the statistics of the miner that the change counts for or against, or pays."""
    verdict = judge(item.before.life, item.life, item.effects)
    paid = settlement.paid if settlement else 0
    miner_id = verdict.miner_id if verdict else item.miner_id
    caused = any(isinstance(effect, RunEnded) and effect.outcome is Outcome.FAILED for effect in item.effects)
    if miner_id is None or (verdict is None and not paid and not caused):
        return
    completed = item.life.state is JobState.COMPLETED
    started, finished = item.life.started_at, item.life.finished_at
    more = MinerStats(
        completed=int(completed),
        failed=int(verdict is not None and not verdict.success),
        client_failed=int(caused),
        seconds=finished - started if completed and started is not None and finished is not None else 0.0,
        paid=paid,
        earned=paid - settlement.fee if settlement else 0,
    )
    success = verdict.success if verdict else None
    miner_stats.add(connection, miner_id, item.before.account_id, more, success=success, now=now)
    if paid:
        miner_stats.earn(connection, miner_id, more.earned, now)


def _revived(item: Change) -> bool:
    """Return whether a run that was recorded as expired continues, or has delivered its outcome late."""
    before = item.before.life
    if before.state is not JobState.SUBMITTED or before.fence != item.life.fence:
        return False
    return item.life.state is JobState.RUNNING or any(isinstance(effect, RunEnded) for effect in item.effects)


def _move(item: Change) -> tuple[counts.Group, counts.Group]:
    account, service = item.before.account_id, item.before.service
    return (account, service, item.before.life.state.value), (account, service, item.life.state.value)


def _job_update(
    record: JobRecord, life: Job, miner_id: str | None, progress: int, now: float, cost: int | None = None
) -> NewEvent:
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
        data["cost"] = _money(cost)
    if life.state is JobState.FAILED and life.failure is not None:
        data["error"] = {"code": life.failure.code, "message": life.failure.message}
    # The owner of a miner that has just lost a job sees this event too.
    return NewEvent("job_update", data, record.account_id, miner_id or record.miner_id, life.job_id)


def _message(item: Change, url: str, now: float) -> Delivery:
    record, life = item.before, item.life
    return Delivery(
        webhook_id=webhook_id(life.job_id),
        job_id=life.job_id,
        account_id=record.account_id,
        url=url,
        lane=lane(record.account_id, url),
        type=event_type(life.state),
        body=message(life, record.service, now),
        created_at=now,
    )


def _settle(
    connection: Connection, item: Change, price: int, now: float
) -> tuple[Settlement | None, list[NewEvent]]:
    """Pay the miner and refund the rest. Jobs that are older than the ledger have nothing to settle."""
    record = item.before
    settlement = settle(record.account_id, item.miner_id, record.max_cost, price, record.fee_ppm)
    payee = item.miner_id if settlement.paid else None
    if not ledger.close_payment(connection, record.job_id, payee, settlement, now):
        return None, []
    log_store.queue_settlement(connection, _logged(item, payee, settlement, now))
    data = {
        "kind": "transaction",
        "transaction_id": ledger.payment_id(record.job_id),
        "job_id": record.job_id,
        "status": (ledger.Status.SETTLED if settlement.paid else ledger.Status.REFUNDED).value,
        "amount": _money(settlement.paid),
        "timestamp": format_time(now),
    }
    return settlement, [NewEvent("marketplace_update", data, record.account_id, payee, record.job_id)]


def _logged(item: Change, payee: str | None, settlement: Settlement, now: float) -> LoggedSettlement:
    """Return the settlement as it is logged."""
    job_id, state = item.before.job_id, item.life.state
    return LoggedSettlement(
        job_id=job_id,
        receipt_id=receipt_id(job_id) if state is JobState.COMPLETED else None,
        miner_id=payee,
        outcome=state.value,
        held=from_units(settlement.held),
        paid=from_units(settlement.paid),
        fee=from_units(settlement.fee),
        refunded=from_units(settlement.refunded),
        settled_at=format_time(now),
    )


def _price(item: Change) -> int:
    """Return the cost of the job: the price of a result, or of the metered units of a run that the client ended or made fail.

    A run that failed because of the machine costs nothing.
    """
    record = item.before
    paid_for = (Outcome.COMPLETED, Outcome.CANCELLED, Outcome.FAILED)
    worked = any(isinstance(effect, RunEnded) and effect.outcome in paid_for for effect in item.effects)
    if not worked or record.unit_price is None:
        return 0
    units = Decimal(item.values.get("units", record.units))
    return to_units(job_price(units, from_units(record.unit_price), from_units(record.max_cost)))


def _money(units: int) -> str:
    return format_money(from_units(units))
