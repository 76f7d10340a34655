"""The coordinator's responses about payouts, as records (see `aitbc.models`). `aitbc.leaves.payouts` verifies them."""

from __future__ import annotations

from typing import Any

from aitbc.models import Record


class Payout(Record):
    """A payment of a batch. `amount` is in the ledger's money, `sent_amount` in the `currency`; both are decimal strings.

    `status` is created, approved, prepared, sent, confirmed, failed (`reason`) or cancelled. `waiting_for` is what the miner still has
    to hand in, `reference` what identifies the payment outside.
    """

    payout_id: str
    batch_id: str
    miner_id: str
    amount: str
    sent_amount: str
    currency: str
    status: str
    miner_name: str | None = None
    adapter: str | None = None
    address: str | None = None
    created_at: str | None = None
    finished_at: str | None = None
    reference: str | None = None
    reason: str | None = None
    waiting_for: str | None = None


class PayoutBatch(Record):
    """A batch: created, approved, sending, confirmed, failed or cancelled; draft in a dry run, which has no `batch_id`.

    In lists it is without `payouts`, `transfers`, `manifest` and `omitted` (the miners that a dry run leaves out, each with a `reason`).
    """

    batch_id: str | None = None
    status: str
    adapter: str
    currency: str
    rate: str
    count: int
    amount: str
    counts: dict[str, int] | None = None
    cut_off: str | None = None
    created_at: str | None = None
    approved_at: str | None = None
    finished_at: str | None = None
    note: str | None = None
    error: str | None = None
    sent_amount: str | None = None
    manifest: str | None = None
    payouts: list[Payout] | None = None
    transfers: list[dict[str, Any]] | None = None
    omitted: list[dict[str, Any]] | None = None


class PayoutBatchList(Record):
    """Batches, newest first, and the adapters that batches can use. `next` is None on the last page."""

    batches: list[PayoutBatch]
    adapters: list[dict[str, Any]]
    next: str | None = None


class MinerPayouts(Record):
    """A miner's payments, newest first, and what it has earned: available, on hold, in batches that have not ended, and paid out."""

    miner_id: str
    available: str
    on_hold: str
    pending: str
    paid_out: str
    payouts: list[Payout]
    next: str | None = None


class PayoutDestination(Record):
    """An address of a miner, and the time from which it is used."""

    adapter: str
    currency: str
    address: str
    sequence: int
    created_at: str | None = None
    effective_at: str | None = None


class PayoutAddresses(Record):
    """A miner's address in force, its change that is pending, and what a statement about an address must name."""

    miner_id: str
    address: PayoutDestination | None = None
    pending: PayoutDestination | None = None
    origin: str | None = None
    delay_hours: float | None = None
    adapters: list[dict[str, Any]] | None = None
