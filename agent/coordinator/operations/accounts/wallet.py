"""Wallets: balances and escrow of accounts, earnings of miners, and all transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from agent.coordinator import hooks
from agent.coordinator.hooks import AccountLimit
from agent.coordinator.operations.accounts.miner_money import where_money_is
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access, events, idempotency, job_lists, ledger, locks
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.ledger import TransactionKind, TransactionRecord
from agent.core.errors import Conflict, InsufficientBalance, NotFound, ValidationFailed
from agent.core.market.ledger import (
    FEES,
    ISSUED,
    OVERDRAWN,
    Entry,
    InsufficientFunds,
    TooMuchMoney,
    available,
    credit,
    debit,
    earned,
    escrow,
)
from agent.core.values.quantities import format_money, format_optional_time, format_time, from_units, to_units
from aitbc.answers.accounts import Account, AccountList, Booked, Role, Transaction, TransactionList, Wallet
from aitbc.canonical import canonical_json, sha256_hex


async def wallet(context: Context, caller: Caller) -> Wallet:
    """Return a client's balance and escrow, a miner's earnings, or for administrators the operator's fees and all credits."""
    if caller.role is Role.MINER and caller.miner_id is not None:
        return await context.database.read(_of_miner, context, caller.miner_id)
    return await context.database.peek(_wallet, context, caller)


def _wallet(connection: Connection, context: Context, caller: Caller) -> Wallet:
    def amount(ledger_account: str) -> str:
        return _money(ledger.balance(connection, ledger_account))

    if caller.role is Role.CLIENT and caller.account_id is not None:
        return Wallet(
            account_id=caller.account_id,
            balance=amount(available(caller.account_id)),
            held=amount(escrow(caller.account_id)),
            slowed_until=_slowed_until(_limits(connection, context).get(caller.account_id)),
        )
    return Wallet(balance=amount(FEES), held="0", issued=_money(-ledger.balance(connection, ISSUED)))


def _of_miner(connection: Connection, context: Context, miner_id: str) -> Wallet:
    return Wallet(
        miner_id=miner_id,
        balance=_money(ledger.balance(connection, earned(miner_id))),
        held="0",
        **where_money_is(connection, context, miner_id),
    )


async def transactions(
    context: Context, caller: Caller, *, limit: int, before_id: str | None
) -> TransactionList:
    """Return the caller's transactions, or all transactions for administrators, newest first."""
    mine = {
        Role.CLIENT: {"account_id": caller.account_id},
        Role.MINER: {"miner_id": caller.miner_id},
        Role.ADMIN: {},
    }[caller.role]
    # One more than is shown shows whether there is a next page, without counting all.
    records = await context.database.read(ledger.page, **mine, limit=limit + 1, before_id=before_id)
    page_records = records[:limit]
    # The name of a job may contain its prompt, which is not for its miner's owner.
    jobs = [] if caller.role is Role.MINER else [record.job_id for record in page_records if record.job_id]
    names = await context.database.read(job_lists.names, jobs) if jobs else {}
    return TransactionList(
        transactions=[_transaction(record, names.get(record.job_id or "")) for record in page_records],
        next=page_records[-1].tx_id if len(records) > limit else None,
    )


def _transaction(record: TransactionRecord, job_name: str | None = None) -> Transaction:
    is_payment = record.kind == ledger.TransactionKind.PAYMENT
    is_held = record.kind in {ledger.TransactionKind.PAYMENT, ledger.TransactionKind.PAYOUT}
    refunded = 0 if record.status == ledger.Status.PENDING else record.held - record.paid
    return Transaction(
        transaction_id=record.tx_id,
        type=record.kind,
        status=record.status,
        amount=_money(record.paid),
        created_at=format_time(record.created_at),
        job_id=record.job_id if is_payment else None,
        job_name=job_name if is_payment else None,
        miner_id=record.miner_id,
        held=_money(record.held) if is_held else None,
        fee=_money(record.fee) if is_payment else None,
        refunded=_money(refunded) if is_held else None,
        settled_at=format_optional_time(record.settled_at),
        note=record.note or None,
    )


async def accounts(context: Context, *, limit: int, after_id: str | None) -> AccountList:
    """Return all accounts with their balances, oldest first."""
    return await context.database.read(_accounts, context, limit, after_id)


def _limits(connection: Connection, context: Context) -> Mapping[str, AccountLimit]:
    return hooks.account_limits(connection, context.settings, context.clock())


def _slowed_until(limit: AccountLimit | None) -> str | None:
    return None if limit is None else format_time(limit.until)


def _accounts(connection: Connection, context: Context, limit: int, after_id: str | None) -> AccountList:
    limits = _limits(connection, context)
    records = access.accounts_page(connection, limit=limit + 1, after_id=after_id)
    page_records = records[:limit]
    ledger_accounts = [kind(record.account_id) for record in page_records for kind in (available, escrow)]
    amounts = ledger.balances_of(connection, ledger_accounts)
    return AccountList(
        accounts=[
            Account(
                account_id=record.account_id,
                name=record.name,
                balance=_money(amounts.get(available(record.account_id), 0)),
                held=_money(amounts.get(escrow(record.account_id), 0)),
                created_at=format_time(record.created_at),
                slowed_until=_slowed_until(limits.get(record.account_id)),
            )
            for record in page_records
        ],
        next=page_records[-1].account_id if len(records) > limit else None,
    )


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
        raise ValidationFailed("The request is not valid.", {"amount": "must be more than 0"})
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
        amount=_money(booking.amount),
        balance=_money(ledger.balance(connection, available(account_id))),
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
        advice = f"at most {_money(error.limit)} more can be {booking.kind.value}ed by this coordinator"
        raise ValidationFailed("The request is not valid.", {"amount": advice}) from None
    except InsufficientFunds as error:
        raise InsufficientBalance(
            f"The account has {_money(error.balance)}, less than {_money(error.needed)}. Debit at most its balance, or set "
            "`force` to make the balance negative.",
            {"needed": _money(error.needed), "balance": _money(error.balance)},
        ) from None


def _booked(record: TransactionRecord) -> NewEvent:
    data = {
        "kind": "transaction",
        "transaction_id": record.tx_id,
        "status": record.status,
        "amount": _money(record.paid),
        "timestamp": format_time(record.created_at),
    }
    return NewEvent("marketplace_update", data, record.account_id)


def _money(units: int) -> str:
    return format_money(from_units(units))
