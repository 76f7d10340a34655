"""What miners hand in for their payments, such as invoices. Only their identity keys can: an API key does not decide where money goes."""

from __future__ import annotations

import json
from typing import Any

import structlog

from agent.coordinator.features.payouts import batches, views
from agent.coordinator.features.payouts.adapter import AddressRefused
from agent.coordinator.features.payouts.addresses import require_recent
from agent.coordinator.features.payouts.signed_hand_in import PayoutHandIn, open_hand_in
from agent.coordinator.features.payouts.store import transfers
from agent.coordinator.features.payouts.store.batches import PayoutRecord, find
from agent.coordinator.features.payouts.worker import PayoutWorker, payment_of
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import miners
from agent.core.errors import Conflict, Forbidden, NotFound, ServiceUnavailable, ValidationFailed
from aitbc.answers import payouts
from aitbc.errors import FormatError, VerificationError

log = structlog.get_logger()


async def hand_in(context: Context, payout_id: str, envelope: dict[str, Any]) -> payouts.Payout:
    """Store what a miner hands in for a payment. A later one replaces it until the payment is prepared.

    Raises `NotFound`, `Forbidden` for a signature that is not the miner's, `ValidationFailed` for what the adapter cannot use,
    `Conflict` once the payment is prepared, and `ServiceUnavailable` for an adapter that cannot be used.
    """
    payment, public_key = await context.database.read(_payment, payout_id)
    # The signature is checked before anything is said about the payment's batch or adapter.
    statement = _opened(envelope, public_key)
    _check(context, payment, statement)
    batch = await context.database.read(batches.required, payment.batch_id)
    adapter = context.part(PayoutWorker).adapters.usable.get(batch.adapter)
    if adapter is None:
        raise ServiceUnavailable(f"The adapter {batch.adapter} cannot be used at present. Try again later.")
    try:
        accepted = dict(adapter.accept(payment_of(payment), statement.text))
    except AddressRefused as error:
        raise ValidationFailed("What was handed in cannot be used.", {"text": str(error)}) from None
    answer = await context.database.write(_store, payment, accepted)
    context.part(PayoutWorker).wake()
    log.info("payout_handed_in", payout_id=payout_id, miner_id=payment.miner_id)
    return answer


def _payment(connection: Connection, payout_id: str) -> tuple[PayoutRecord, bytes]:
    payment = find(connection, payout_id)
    # A former miner may still be owed a payment, so its key still counts.
    miner = None if payment is None else miners.find_former(connection, payment.miner_id)
    if payment is None or miner is None:
        raise NotFound(f"There is no payout {payout_id}.", {"payout_id": payout_id})
    return payment, miner.public_key


def _opened(envelope: dict[str, Any], public_key: bytes) -> PayoutHandIn:
    try:
        return open_hand_in(envelope, public_key)
    except FormatError as error:
        raise ValidationFailed("The request is not signed.", {"envelope": str(error)}) from None
    except VerificationError as error:
        raise Forbidden(
            f"{error} Only the miner's identity key can hand in: run `aitbc-agent payouts invoice` on its machine."
        ) from None


def _check(context: Context, payment: PayoutRecord, statement: PayoutHandIn) -> None:
    # A signed statement for one payment must not be used for another one.
    if (statement.payout_id, statement.origin) != (payment.payout_id, context.signer.origin):
        raise Forbidden("The statement is for another payment or another coordinator.")
    require_recent(context, statement.created_at)


def _store(connection: Connection, payment: PayoutRecord, accepted: dict[str, Any]) -> payouts.Payout:
    # Only the database knows whether the worker has prepared the payment in the meantime.
    if not transfers.hand_in(connection, payment, json.dumps(accepted)):
        raise Conflict("This payment needs nothing more: it is being sent, or has ended.")
    updated = find(connection, payment.payout_id)
    batch = batches.required(connection, payment.batch_id)
    return views.payout(updated or payment, batch)
