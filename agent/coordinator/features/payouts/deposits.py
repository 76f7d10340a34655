"""Deposits: an operator's service, or an administrator, reports money that arrived outside, and the account is credited once."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Final

from standardwebhooks import Webhook

from agent.coordinator.features.payouts.store import deposits
from agent.coordinator.features.payouts.store.deposits import DepositRecord
from agent.coordinator.features.payouts.worker import PayoutWorker
from agent.coordinator.operations.accounts.bookings import credit_inside
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import locks
from agent.core.errors import Conflict, Unauthorized, invalid_request
from agent.core.values.quantities import MONEY_DECIMALS, format_time, format_units
from aitbc.answers.payouts import Deposit, DepositList

SIGNATURE: Final = "webhook-signature"
DIGITS: Final = 60
"""Digits with which an amount is divided by its rate: more than both have together, so that only the result is rounded."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A payment that arrived outside: its id at its `source`, and its amount, which is `rate` times the money to be credited."""

    source: str
    external_id: str
    account_id: str
    amount: Decimal
    currency: str
    rate: Decimal
    note: str


def check_signature(context: Context, headers: Mapping[str, str], body: bytes) -> None:
    """Raise `Unauthorized` unless the operator's service has signed this body within the permitted time (Standard Webhooks 1.0.0)."""
    settings = context.part(PayoutWorker).settings.http
    # Without a secret, a signature proves nothing.
    if settings.deposit_secret is None:
        raise Unauthorized("Signed deposits need the setting `payouts.http.deposit_secret`.")
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):  # noqa: PLR2004 - seconds
        raise Unauthorized(
            "A signed deposit needs the headers webhook-id, webhook-timestamp and webhook-signature."
        )
    # A recorded request would otherwise be accepted forever.
    if abs(context.clock() - int(timestamp)) > settings.deposit_window_seconds:
        raise Unauthorized(
            "The deposit's webhook-timestamp is too far from the coordinator's clock. Check both clocks."
        )
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    try:
        expected = Webhook(settings.deposit_secret).sign(message_id, moment, body.decode())
    except UnicodeDecodeError:
        raise Unauthorized("The deposit is not UTF-8.") from None
    signatures = headers.get(SIGNATURE, "").split()
    # The header may have several signatures while the secret is changed. The comparison takes the same time for each, so it shows
    # nothing about the right one.
    if not any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures):
        raise Unauthorized(
            "The deposit's webhook-signature is wrong. Sign the exact body with `payouts.http.deposit_secret`."
        )


async def deposit(context: Context, incoming: Incoming) -> Deposit:
    """Credit an account for an incoming payment, once. A repetition returns the first deposit.

    Raises `NotFound` for an unknown account, `Conflict` if the same payment was reported with other contents, and `ValidationFailed`
    for an amount out of range.
    """
    units = _credited(incoming)
    # Made outside the transaction, so that a transaction that is repeated uses the same id.
    tx_id = context.new_id("tx")
    return await context.database.write(_deposit, context, incoming, units, tx_id)


async def page(context: Context, *, account_id: str | None, limit: int, before_id: str | None) -> DepositList:
    """Return deposits, newest first."""
    records = await context.database.read(
        deposits.page, account_id=account_id, limit=limit + 1, before_id=before_id
    )
    records_of_page = records[:limit]
    return DepositList(
        deposits=[_view(record) for record in records_of_page],
        next=records_of_page[-1].tx_id if len(records) > limit else None,
    )


def _credited(incoming: Incoming) -> int:
    """Return the credited amount in units of 1e-8, rounded down. Raises `ValidationFailed`."""
    if incoming.rate <= 0:
        raise invalid_request({"rate": "must be more than 0"})
    # Without a currency, the amount is in the ledger's money, so another rate than 1 is a mistake.
    if not incoming.currency and incoming.rate != 1:
        raise invalid_request(
            {"currency": "is missing: a rate is what one unit of money is worth in it"},
        )
    # Python's 28 digits would round the quotient of long numbers before it is rounded down.
    with localcontext(prec=DIGITS):
        units = int((incoming.amount / incoming.rate).scaleb(MONEY_DECIMALS).to_integral_value(ROUND_DOWN))
    if units <= 0:
        raise invalid_request({"amount": "must be more than 0"})
    return units


def _deposit(connection: Connection, context: Context, incoming: Incoming, units: int, tx_id: str) -> Deposit:
    # A service repeats a report that it got no answer to, perhaps while the first one is being stored.
    locks.wait(connection, f"deposit {incoming.source} {incoming.external_id}")
    now = context.clock()
    record = DepositRecord(
        incoming.source,
        incoming.external_id,
        incoming.account_id,
        tx_id,
        units,
        incoming.currency,
        f"{incoming.amount:f}",
        f"{incoming.rate:f}",
        incoming.note,
        now,
    )
    first = deposits.find(connection, incoming.source, incoming.external_id)
    if first is not None:
        # The same id with another amount is a mistake, which must not pass as a repetition.
        if _contents(first) != _contents(record):
            raise Conflict(
                f"The payment {incoming.external_id} was already deposited with other contents, as {first.tx_id}. Debit the account to "
                "correct it."
            )
        return _view(first)
    note = incoming.note or f"deposit {incoming.external_id}"
    credit_inside(connection, tx_id, incoming.account_id, units, note[:200], now)
    deposits.add(connection, record)
    return _view(record)


def _contents(record: DepositRecord) -> tuple[object, ...]:
    return (
        record.account_id,
        record.amount,
        record.currency,
        record.external_amount,
        record.rate,
        record.note,
    )


def _view(record: DepositRecord) -> Deposit:
    return Deposit(
        source=record.source,
        external_id=record.external_id,
        account_id=record.account_id,
        amount=format_units(record.amount),
        external_amount=record.external_amount,
        currency=record.currency or None,
        rate=record.rate,
        note=record.note or None,
        transaction_id=record.tx_id,
        created_at=format_time(record.created_at),
    )
