"""Payouts of one miner, for its owner: its payments, where its earnings are, and proofs."""

from __future__ import annotations

from typing import Final

from agent.coordinator.features.log import public
from agent.coordinator.features.payouts import views
from agent.coordinator.features.payouts.manifests import payment_of, tree_of
from agent.coordinator.features.payouts.rules import first_held_day, payable
from agent.coordinator.features.payouts.settings import PayoutSettings
from agent.coordinator.features.payouts.store import batches
from agent.coordinator.features.payouts.store.batches import BatchRecord
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.accounts.miner_money import where_money_is
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.core.errors import Conflict, NotFound
from aitbc.answers import payouts
from aitbc.leaves.payouts import PayoutProof

HOUR: Final = 3600.0


def payments(
    connection: Connection, context: Context, caller: Caller, miner_id: str, limit: int, before_id: str | None
) -> payouts.MinerPayouts:
    """Return a miner's payments, newest first, and where its money is. Raises `NotFound`, also for another owner's miner."""
    of_caller(connection, caller, miner_id, removed=True)
    records = batches.of_miner(connection, miner_id, limit=limit + 1, before_id=before_id)
    records_of_page = records[:limit]
    return payouts.MinerPayouts(
        miner_id=miner_id,
        **where_money_is(connection, context, miner_id),
        payouts=[views.payout(payment, batch) for payment, batch in records_of_page],
        next=records_of_page[-1][0].payout_id if len(records) > limit else None,
    )


async def proof(context: Context, caller: Caller, payout_id: str) -> payouts.PayoutProof:
    """Return the proof that a payment is part of its batch's manifest, and the manifest of the log.

    Raises `NotFound`, also for the payment of another owner's miner, and `Conflict` before the batch is approved.
    """
    # The proof needs two steps: from the payment to the manifest, and from the manifest to the log's checkpoint.
    batch, position = await context.database.read(_in_manifest, caller, payout_id)
    logged = await public.proof(context, batch.batch_id)
    return payouts.PayoutProof.model_validate(
        PayoutProof(
            position.payment, position.index, position.hashes, (batch.manifest or "").encode(), logged
        ).to_json()
    )


def _in_manifest(connection: Connection, caller: Caller, payout_id: str) -> tuple[BatchRecord, PayoutProof]:
    payment = batches.find(connection, payout_id)
    if payment is None:
        raise NotFound(f"There is no payout {payout_id}.", {"payout_id": payout_id})
    try:
        of_caller(connection, caller, payment.miner_id, removed=True)
    # The answer names the payment and not the miner, so that nobody learns whom a foreign payment belongs to.
    except NotFound:
        raise NotFound(f"There is no payout {payout_id}.", {"payout_id": payout_id}) from None
    batch = batches.find_batch(connection, payment.batch_id)
    if batch is None or batch.manifest is None:
        raise Conflict(
            f"The batch of {payout_id} is not approved, so it has no manifest yet.",
            {"batch_id": payment.batch_id},
        )
    path = tree_of(batch, batches.of_batch(connection, batch.batch_id)).proof(payment.position)
    return batch, PayoutProof(payment_of(batch, payment), payment.position, path, b"", "")


def held_since(settings: PayoutSettings, cut_off: float, now: float) -> int | None:
    """Return the first UTC day whose earnings are on hold, or None."""
    return first_held_day(cut_off, settings.hold_hours * HOUR, now)


def miner_money(connection: Connection, context: Context, miner_id: str, balance: int) -> dict[str, int]:
    """Return where what a miner has earned is, in units of 1e-8. `balance` is what was not paid out."""
    now = context.clock()
    since = held_since(context.part(PayoutWorker).settings, now, now)
    available = payable(balance, batches.held(connection, miner_id, since))
    paid_out, pending = batches.totals_of_miner(connection, miner_id)
    # A balance may be negative after a forfeit; then nothing is on hold.
    on_hold = max(0, balance - available)
    return {"available": available, "on_hold": on_hold, "pending": pending, "paid_out": paid_out}
