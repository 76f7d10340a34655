"""Outcomes of payments that administrators report, for adapters whose payments somebody makes by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from agent.coordinator.features.payouts import batches
from agent.coordinator.features.payouts.store.batches import (
    BatchRecord,
    Ending,
    PayoutRecord,
    announce,
    end,
    of_batch,
)
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.core.errors import Conflict, invalid_request
from aitbc.answers import payouts
from aitbc.answers.payouts import PaymentState

__all__ = ["Ending", "Outcomes", "report"]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What an administrator reports. With `force`, also for an adapter that reports the outcomes itself."""

    endings: Sequence[Ending]
    force: bool = False


async def report(
    context: Context, caller: Caller, batch_id: str, outcomes: Outcomes
) -> payouts.PayoutBatchDetails:
    """End payments that were sent. A repeated report changes nothing.

    Raises `NotFound`, `ValidationFailed` for a payment of another batch, and `Conflict` for one that was not sent or has ended
    otherwise, or if the adapter reports the outcomes itself; `force` permits the latter. If the adapter cannot be used, payments that
    were prepared can be reported with `force` too.
    """
    ended = await context.database.write(_report, context, batch_id, outcomes)
    for payment in ended:
        log.info(
            "payout_reported",
            payout_id=payment.payout_id,
            state=payment.state,
            forced=outcomes.force,
            key_id=caller.key_id,
        )
    return await batches.show(context, batch_id)


def _report(
    connection: Connection, context: Context, batch_id: str, outcomes: Outcomes
) -> list[PayoutRecord]:
    batch = batches.required(connection, batch_id)
    adapter = context.part(PayoutWorker).adapters.usable.get(batch.adapter)
    # An adapter that asks the receiver knows better than a person, so its report counts.
    if not (outcomes.force or (adapter is not None and adapter.by_hand)):
        raise Conflict(
            f"The adapter {batch.adapter} reports the outcomes itself. If it cannot, and you know the outcome for certain, report it "
            "with `force`: a payment that is reported as failed and then arrives is paid twice."
        )
    payments = {payment.payout_id: payment for payment in of_batch(connection, batch_id)}
    # Nothing more is sent for an adapter that cannot be used. What was prepared may have been sent before.
    reportable = {PaymentState.SENT} if adapter is not None else {PaymentState.SENT, PaymentState.PREPARED}
    open_ones = [ending for ending in outcomes.endings if _is_open(batch, payments, ending, reportable)]
    now = context.clock()
    # All outcomes of a report are stored or none, so a corrected report can simply be sent again.
    ended = end(connection, batch_id, open_ones, now)
    announce(connection, ended, now)
    return ended


def _is_open(
    batch: BatchRecord,
    payments: dict[str, PayoutRecord],
    ending: Ending,
    reportable: Collection[PaymentState],
) -> bool:
    """Return whether the payment has no outcome yet. Raises `ValidationFailed`, `Conflict`."""
    payment = payments.get(ending.payout_id)
    if payment is None:
        raise invalid_request(
            {"outcomes": f"{ending.payout_id} is not a payment of {batch.batch_id}"},
        )
    state = PaymentState(payment.state)
    # The same outcome a second time is a repetition, and changes nothing.
    if state is (PaymentState.CONFIRMED if ending.confirmed else PaymentState.FAILED):
        return False
    if state not in reportable:
        raise Conflict(
            f"{payment.payout_id} is {state}; only a payment that was sent can be reported. Nothing of this report was stored.",
            {"payout_id": payment.payout_id, "status": state.value},
        )
    return True
