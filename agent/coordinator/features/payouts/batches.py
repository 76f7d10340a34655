"""Batches of payouts: dry run, creation, approval with the manifest in the log, and cancellation."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NoReturn

import structlog

from agent.coordinator.features.log.store import NewLeaf, queue
from agent.coordinator.features.payouts import views
from agent.coordinator.features.payouts.manifests import manifest_of
from agent.coordinator.features.payouts.miners import HOUR, held_since
from agent.coordinator.features.payouts.rules import BatchState, Selection, Terms, choose
from agent.coordinator.features.payouts.store import batches, bookings, transfers
from agent.coordinator.features.payouts.store.batches import BatchRecord, PayoutRecord, announce
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.randomness import random_bytes
from agent.coordinator.store import miners
from agent.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    invalid_request,
)
from agent.core.values.quantities import format_units, from_units, make_id, to_units
from aitbc.answers import payouts
from aitbc.answers.payouts import PaymentState
from aitbc.leaves.payouts import MAX_DECIMALS, converted
from aitbc.statement import decimal_text

DRAFT: Final = "draft"
SALT_BYTES: Final = 16
RATE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?")
"""A rate that keeps the sum of a batch within the digits that a manifest may have."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What an administrator asks for. Without a value, the adapter's first currency, now, and the settings apply, also for the rate."""

    adapter: str
    rate: str | None = None
    currency: str | None = None
    cut_off: float | None = None
    minimum: Decimal | None = None
    max_payments: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class _BatchPlan:
    """A request, checked and completed."""

    adapter: str
    currency: str
    decimals: int
    rate: Decimal
    cut_off: float
    now: float
    terms: Terms
    note: str


async def preview(context: Context, request: NewBatch) -> payouts.PayoutBatchDetails:
    """Return the batch that `create` would make now, with the miners that it omits. Raises as `create`, but not for an empty batch."""
    return await context.database.read(_preview, context, _plan(context, request))


async def create(context: Context, caller: Caller, request: NewBatch) -> payouts.PayoutBatchDetails:
    """Create a batch, and reserve its money.

    Raises `ValidationFailed`, `ServiceUnavailable` for an adapter that cannot be used, and `Conflict` if there is nobody to pay.
    """
    batch = await context.database.write(_create, context, caller, _plan(context, request))
    log.info("payout_batch_created", batch_id=batch.batch_id, count=batch.count, amount=batch.amount)
    return batch


def _plan(context: Context, request: NewBatch) -> _BatchPlan:
    settings, adapters = context.part(PayoutWorker).settings, context.part(PayoutWorker).adapters
    # Nobody should approve a batch that cannot be sent.
    if request.adapter in adapters.faults:
        raise ServiceUnavailable(adapters.faults[request.adapter])
    adapter = adapters.usable.get(request.adapter)
    if adapter is None:
        choices = ", ".join(adapters.usable) or "none"
        _refuse("adapter", f"this coordinator has no such adapter (payouts.adapters); it has {choices}")
    # The adapter's first currency is its default.
    currency = request.currency or next(iter(adapter.currencies))
    if currency not in adapter.currencies:
        _refuse("currency", f"the adapter pays in {', '.join(adapter.currencies)}")
    named = settings.rates.get(currency) if request.rate is None else request.rate
    if named is None:
        _refuse("rate", f"is required: what one credit is worth in {currency}; payouts.rates can hold it")
    rate = Decimal(named) if RATE.fullmatch(named) else Decimal()
    if not rate:
        _refuse(
            "rate",
            f'must be a positive number below 10^9 with at most {MAX_DECIMALS} decimals, such as "0.9137"',
        )
    now = context.clock()
    cut_off = now if request.cut_off is None else request.cut_off
    if not 0 <= cut_off <= now:
        _refuse("cut_off", "must be a time since 1970 that is not in the future")
    decimals = adapter.currencies[currency]
    terms = Terms(
        minimum=to_units(settings.minimum if request.minimum is None else request.minimum),
        # New miners wait, since audits have not checked enough of their work yet.
        known_before=now - settings.new_miner_hours * HOUR,
        # A request may ask for fewer payments than the settings allow, never for more.
        max_payments=min(request.max_payments or settings.max_payments, settings.max_payments),
        convert=lambda units: converted(from_units(units), rate, decimals),
    )
    return _BatchPlan(request.adapter, currency, decimals, rate, cut_off, now, terms, request.note)


def _refuse(field: str, problem: str) -> NoReturn:
    raise invalid_request({field: problem})


def _select(connection: Connection, context: Context, plan: _BatchPlan) -> Selection:
    # Recent earnings stay, so that an audit can still take them back.
    first_held_day = held_since(context.part(PayoutWorker).settings, plan.cut_off, plan.now)
    candidates = batches.candidates(connection, plan.adapter, plan.currency, first_held_day, plan.now)
    return choose(candidates, plan.terms)


def _preview(connection: Connection, context: Context, plan: _BatchPlan) -> payouts.PayoutBatchDetails:
    selection = _select(connection, context, plan)
    batch, payments = _records(plan, selection, batch_id="", created_by="")
    names = miners.names(connection)
    omitted = [
        payouts.OmittedMiner(
            miner_id=miner_id, miner_name=names.get(miner_id), amount=format_units(amount), reason=reason
        )
        for miner_id, amount, reason in selection.omitted
    ]
    return views.details(replace(batch, state=DRAFT), payments, names, omitted=omitted)


def _create(
    connection: Connection, context: Context, caller: Caller, plan: _BatchPlan
) -> payouts.PayoutBatchDetails:
    # Two batches that are created at the same time would otherwise both choose the same balances.
    bookings.lock(connection)
    selection = _select(connection, context, plan)
    # An empty batch would need an approval and an entry in the log for nothing.
    if not selection.payments:
        reasons = sorted({reason.value for _, _, reason in selection.omitted})
        raise Conflict(
            "There is nobody to pay: no miner with an address for this adapter and currency has earned the minimum. "
            "A dry run lists the miners that have earned something, and why each is not paid.",
            {"reasons": reasons},
        )
    batch, payments = _records(plan, selection, batch_id=context.new_id("batch"), created_by=caller.key_id)
    batches.add_batch(connection, batch, payments)
    announce(connection, payments, batch.created_at)
    return views.details(batch, payments, miners.names(connection))


def _records(
    plan: _BatchPlan, selection: Selection, *, batch_id: str, created_by: str
) -> tuple[BatchRecord, list[PayoutRecord]]:
    now = plan.now
    payments = []
    for position, chosen in enumerate(selection.payments):
        # The payment and its transaction share a suffix, so that one is found from the other.
        suffix = make_id("payout", now, random_bytes(10)).removeprefix("payout_")
        payments.append(
            PayoutRecord(
                payout_id=f"payout_{suffix}",
                batch_id=batch_id,
                position=position,
                miner_id=chosen.miner_id,
                tx_id=f"tx_{suffix}",
                address=chosen.address,
                amount=chosen.amount,
                sent_amount=f"{chosen.sent_amount:f}",
                # A miner's proof has hashes of other payments. Without a salt, their amounts could be guessed from them.
                salt=(random_bytes(10) + random_bytes(10))[:SALT_BYTES].hex(),
                state=PaymentState.CREATED.value,
                created_at=now,
            )
        )
    batch = BatchRecord(
        batch_id=batch_id,
        adapter=plan.adapter,
        currency=plan.currency,
        decimals=plan.decimals,
        rate=decimal_text(plan.rate),
        state=BatchState.CREATED.value,
        cut_off=plan.cut_off,
        minimum=plan.terms.minimum,
        count=len(payments),
        amount=sum(payment.amount for payment in payments),
        note=plan.note,
        manifest=None,
        created_at=now,
        created_by=created_by,
    )
    return batch, payments


def page(
    connection: Connection, context: Context, limit: int, before_id: str | None, status: str | None
) -> payouts.PayoutBatchList:
    """Return batches, newest first."""
    # One more than the page shows whether there is a next page, without counting.
    records = batches.batches(connection, limit=limit + 1, before_id=before_id, state=status)
    records_of_page = records[:limit]
    counts = batches.counts(connection, [batch.batch_id for batch in records_of_page])
    return payouts.PayoutBatchList(
        batches=[
            payouts.PayoutBatch.model_validate(views.batch_fields(batch, counts[batch.batch_id]))
            for batch in records_of_page
        ],
        adapters=views.adapters(context),
        next=records_of_page[-1].batch_id if len(records) > limit else None,
    )


async def show(context: Context, batch_id: str) -> payouts.PayoutBatchDetails:
    """Return a batch with its payments and transfers. Raises `NotFound`."""
    return await context.database.read(_show, batch_id)


def _show(connection: Connection, batch_id: str) -> payouts.PayoutBatchDetails:
    batch = required(connection, batch_id)
    transfers_of_batch = transfers.of_batch(connection, batch_id)
    return views.details(
        batch, batches.of_batch(connection, batch_id), miners.names(connection), transfers_of_batch
    )


def required(connection: Connection, batch_id: str) -> BatchRecord:
    """Return a batch. Raises `NotFound`."""
    batch = batches.find_batch(connection, batch_id)
    if batch is None:
        raise NotFound(f"There is no batch {batch_id}.", {"batch_id": batch_id})
    return batch


async def approve(context: Context, caller: Caller, batch_id: str) -> payouts.PayoutBatchDetails:
    """Approve a batch: sign its manifest by putting it into the log, and have it sent. A repetition changes nothing.

    Raises `NotFound`, `Conflict` for a batch that was cancelled, and `Forbidden` if another administrator must approve it.
    """
    approved = await context.database.write(_approve, context, caller, batch_id)
    context.part(PayoutWorker).wake()
    log.info("payout_batch_approved", batch_id=batch_id, key_id=caller.key_id)
    return approved


def _approve(
    connection: Connection, context: Context, caller: Caller, batch_id: str
) -> payouts.PayoutBatchDetails:
    bookings.lock(connection, batch_id)
    batch = required(connection, batch_id)
    # Approved before: the log already has this manifest, and a second leaf would contradict it.
    if batch.approved_at is not None and batch.state != BatchState.CANCELLED:
        return _show(connection, batch_id)
    # One stolen key should not be enough to create a batch and have it paid.
    if context.part(PayoutWorker).settings.four_eyes and caller.key_id == batch.created_by:
        raise Forbidden(
            "This coordinator requires two administrators (payouts.four_eyes): approve the batch with a different key "
            "from the one that created it.",
            {"created_by": batch.created_by},
        )
    now = context.clock()
    payments = batches.of_batch(connection, batch_id)
    # The manifest names the time of the approval, so it can only be made now.
    leaf = manifest_of(replace(batch, approved_at=now), payments, context.signer.origin).to_leaf()
    if not batches.approve(connection, batch_id, leaf.decode(), caller.key_id, now):
        raise _too_late(batch, "approved")
    # In the same transaction: no batch is sent whose manifest is not in the log, and no manifest is logged for another batch.
    queue(connection, [NewLeaf(batch_id, leaf)])
    announce(connection, batches.of_batch(connection, batch_id), now)
    return _show(connection, batch_id)


async def cancel(context: Context, caller: Caller, batch_id: str) -> payouts.PayoutBatchDetails:
    """Cancel a batch of which nothing was sent, and move its money back. A repetition changes nothing.

    Raises `NotFound`, and `Conflict` once its adapter has begun.
    """
    cancelled = await context.database.write(_cancel, context, caller, batch_id)
    log.info("payout_batch_cancelled", batch_id=batch_id, key_id=caller.key_id)
    return cancelled


def _cancel(
    connection: Connection, context: Context, caller: Caller, batch_id: str
) -> payouts.PayoutBatchDetails:
    bookings.lock(connection, batch_id)
    batch = required(connection, batch_id)
    if batch.state != BatchState.CANCELLED:
        now = context.clock()
        if not batches.cancel(connection, batch_id, caller.key_id, now):
            raise _too_late(batch, "cancelled")
        announce(connection, batches.of_batch(connection, batch_id), now)
    return _show(connection, batch_id)


def _too_late(batch: BatchRecord, change: str) -> Conflict:
    return Conflict(
        f"The batch {batch.batch_id} is {batch.state}, so it can no longer be {change}.",
        {"batch_id": batch.batch_id, "status": batch.state},
    )
