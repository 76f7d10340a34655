"""Credits and debits of accounts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from agent.coordinator import hooks
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access, events, idempotency, ledger, locks
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.ledger import TransactionKind, TransactionRecord
from agent.core.errors import Conflict, InsufficientBalance, NotFound, invalid_request
from agent.core.market.ledger import (
    ISSUED,
    OVERDRAWN,
    Entry,
    InsufficientFunds,
    TooMuchMoney,
    available,
    credit,
    debit,
)
from agent.core.values.quantities import format_time, format_units, to_units
from aitbc.answers.accounts import Booked
from aitbc.canonical import canonical_json, sha256_hex
from aitbc.figures.amounts import with_currency


async def add_credit(
    context: Context, account_id: str, amount: Decimal, note: str = "", key: str | None = None
) -> Booked:
    """Credit an account. With an idempotency `key`, a repeated request gets the first answer.

    Raises `NotFound`, and `ValidationFailed` for an amount that is not positive or exceeds the ledger's range.
    """
    booking = _booking(context, TransactionKind.CREDIT, account_id, amount, note, key)
    return await context.database.write(_book, booking)


async def add_debit(
    context: Context, account_id: str, amount: Decimal, note: str = "", *, force: bool, key: str | None = None
) -> Booked:
    """Take money back from an account. With an idempotency `key`, a repeated request gets the first answer.

    Raises `NotFound`, `ValidationFailed`, and `InsufficientBalance` for more than the balance. With `force`, the balance becomes
    negative instead.
    """
    booking = _booking(context, TransactionKind.DEBIT, account_id, amount, note, key)
    return await context.database.write(_book, replace(booking, force=force))


async def credit_once(context: Context, account_id: str, amount: Decimal, note: str) -> None:
    """Credit an account unless it has been credited before."""
    if amount > 0:
        booking = _booking(context, TransactionKind.CREDIT, account_id, amount, note, None)
        await context.database.write(_credit_once, booking)


def credit_inside(
    connection: Connection, tx_id: str, account_id: str, units: int, note: str, now: float
) -> None:
    """Credit an account inside a transaction of another use case. Raises `NotFound`, and `ValidationFailed` for too much."""
    _book(connection, _Booking(tx_id, TransactionKind.CREDIT, account_id, units, note, now, None))


@dataclass(frozen=True, slots=True)
class _Booking:
    """A credit or a debit, in units of 1e-8."""

    tx_id: str
    kind: TransactionKind
    account_id: str
    amount: int
    note: str
    now: float
    key: str | None
    force: bool = False

    @property
    def request_sha256(self) -> str:
        """The digest of what was requested."""
        return sha256_hex(canonical_json([self.kind.value, str(self.amount), self.note, self.force]))


def _booking(
    context: Context, kind: TransactionKind, account_id: str, amount: Decimal, note: str, key: str | None
) -> _Booking:
    if amount <= 0:
        raise invalid_request({"amount": "must be more than 0"})
    # No header can contain a line break, so that no client's key equals this one.
    stored_key = None if key is None else f"{kind.value}\n{sha256_hex(key.encode())}"
    return _Booking(
        context.new_id("tx"), kind, account_id, to_units(amount), note, context.clock(), stored_key
    )


def _credit_once(connection: Connection, booking: _Booking) -> None:
    locks.account(connection, booking.account_id)
    if not ledger.has_credit(connection, booking.account_id):
        _book(connection, booking)


def _book(connection: Connection, booking: _Booking) -> Booked:
    """Book a credit or a debit: the entry, the event, and the answer to a repetition, in one transaction."""
    account_id, now = booking.account_id, booking.now
    if not access.account_exists(connection, account_id):
        raise NotFound(f"There is no account {account_id}.", {"account_id": account_id})
    locks.account(connection, account_id)
    locks.issued(connection)
    if booking.key is not None and (first := idempotency.find(connection, account_id, booking.key)):
        request_sha256, answer = first
        if request_sha256 != booking.request_sha256:
            raise Conflict("This Idempotency-Key was used for another request; use a new one.")
        return Booked.model_validate_json(answer)
    record = ledger.add_booking(
        connection,
        booking.tx_id,
        booking.kind,
        account_id,
        booking.amount,
        _entry(connection, booking),
        note=booking.note,
        now=now,
    )
    hooks.money_booked(connection, booking.kind, booking.amount, now)
    events.add(connection, [_booked(record)], now)
    booked = Booked(
        transaction_id=booking.tx_id,
        account_id=account_id,
        amount=format_units(booking.amount),
        balance=format_units(ledger.balance(connection, available(account_id))),
        created_at=format_time(now),
    )
    if booking.key is not None:
        idempotency.add(
            connection,
            account_id,
            booking.key,
            request_sha256=booking.request_sha256,
            answer=booked.model_dump_json(),
            now=now,
        )
    return booked


def _entry(connection: Connection, booking: _Booking) -> Entry:
    """Return the entry of a credit or a debit. Raises `ValidationFailed`, `InsufficientBalance`."""
    account_id, amount = booking.account_id, booking.amount
    balance = ledger.balance(connection, available(account_id))
    try:
        if booking.kind is TransactionKind.CREDIT:
            return credit(account_id, amount, ledger.balance(connection, ISSUED))
        overdrawn = ledger.balance(connection, OVERDRAWN)
        return debit(account_id, amount, balance, overdrawn, force=booking.force)
    except TooMuchMoney as error:
        advice = f"at most {_words(error.limit)} more can be {booking.kind.value}ed by this coordinator"
        raise invalid_request({"amount": advice}) from None
    except InsufficientFunds as error:
        raise InsufficientBalance(
            f"The account has {_words(error.balance)}, less than {_words(error.needed)}. Debit at most its balance, or set "
            "`force` to make the balance negative.",
            {"needed": format_units(error.needed), "balance": format_units(error.balance)},
        ) from None


def _booked(record: TransactionRecord) -> NewEvent:
    data = {
        "kind": "transaction",
        "transaction_id": record.tx_id,
        "status": record.status,
        "amount": format_units(record.paid),
        "timestamp": format_time(record.created_at),
    }
    return NewEvent("marketplace_update", data, record.account_id)


def _words(units: int) -> str:
    return with_currency(format_units(units))
