"""Wallets: balances and escrow of accounts, earnings of miners, and all transactions."""

from __future__ import annotations

from decimal import Decimal

from agent.coordinator.operations.answers.accounts import (
    Account,
    AccountPage,
    Credited,
    Transaction,
    TransactionPage,
    Wallet,
)
from agent.coordinator.operations.callers import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access as access_store
from agent.coordinator.store import events as event_store
from agent.coordinator.store import ledger as store
from agent.coordinator.store.events import NewEvent
from agent.coordinator.store.ledger import TransactionRecord
from agent.core.errors import NotFound, ValidationFailed
from agent.core.market.ledger import FEES, ISSUED, TooMuchMoney, available, credit, earned, escrow
from agent.core.values.quantities import format_money, format_time, from_units, to_units


async def wallet(context: Context, caller: Caller) -> Wallet:
    """Return a client's balance and escrow, a miner's earnings, or for administrators the operator's fees and all credits."""
    return await context.database.peek(_wallet, caller)


def _wallet(connection: Connection, caller: Caller) -> Wallet:
    def amount(ledger_account: str) -> str:
        return _money(store.balance(connection, ledger_account))

    if caller.role is Role.CLIENT and caller.account_id is not None:
        return Wallet(
            account_id=caller.account_id,
            balance=amount(available(caller.account_id)),
            held=amount(escrow(caller.account_id)),
        )
    if caller.role is Role.MINER and caller.miner_id is not None:
        return Wallet(miner_id=caller.miner_id, balance=amount(earned(caller.miner_id)), held="0")
    return Wallet(balance=amount(FEES), held="0", issued=_money(-store.balance(connection, ISSUED)))


async def transactions(
    context: Context, caller: Caller, *, limit: int, before: str | None
) -> TransactionPage:
    """Return the caller's transactions, or all transactions for administrators, newest first."""
    mine = {
        Role.CLIENT: {"account_id": caller.account_id},
        Role.MINER: {"miner_id": caller.miner_id},
        Role.ADMIN: {},
    }[caller.role]
    records = await context.database.read(store.page, **mine, limit=limit + 1, before=before)
    shown = records[:limit]
    return TransactionPage(
        transactions=[_transaction(record) for record in shown],
        next=shown[-1].tx_id if len(records) > limit else None,
    )


def _transaction(record: TransactionRecord) -> Transaction:
    is_payment = record.kind == store.Kind.PAYMENT
    refunded = 0 if record.status == store.Status.PENDING else record.held - record.paid
    return Transaction(
        transaction_id=record.tx_id,
        type=record.kind,
        status=record.status,
        amount=_money(record.paid),
        created_at=format_time(record.created_at),
        job_id=record.job_id if is_payment else None,
        miner_id=record.miner_id,
        held=_money(record.held) if is_payment else None,
        fee=_money(record.fee) if is_payment else None,
        refunded=_money(refunded) if is_payment else None,
        settled_at=None if record.settled_at is None else format_time(record.settled_at),
        note=record.note or None,
    )


async def accounts(context: Context, *, limit: int, after: str | None) -> AccountPage:
    """Return all accounts with their balances, oldest first."""
    return await context.database.read(_accounts, limit, after)


def _accounts(connection: Connection, limit: int, after: str | None) -> AccountPage:
    records = access_store.accounts_page(connection, limit=limit + 1, after=after)
    shown = records[:limit]
    ledger_accounts = [kind(record.account_id) for record in shown for kind in (available, escrow)]
    amounts = store.balances_of(connection, ledger_accounts)
    return AccountPage(
        accounts=[
            Account(
                account_id=record.account_id,
                name=record.name,
                balance=_money(amounts.get(available(record.account_id), 0)),
                held=_money(amounts.get(escrow(record.account_id), 0)),
                created_at=format_time(record.created_at),
            )
            for record in shown
        ],
        next=shown[-1].account_id if len(records) > limit else None,
    )


async def add_credit(context: Context, account_id: str, amount: Decimal, note: str = "") -> Credited:
    """Credit an account. Raises `NotFound`, and `ValidationFailed` for an amount that is not positive or exceeds the ledger's range."""
    if amount <= 0:
        raise ValidationFailed("The request is not valid.", {"amount": "must be more than 0"})
    tx_id = context.new_id("tx")
    return await context.database.write(
        _add_credit, tx_id, account_id, to_units(amount), note, context.clock(), once=False
    )


async def credit_once(context: Context, account_id: str, amount: Decimal, note: str) -> None:
    """Credit an account unless it has been credited before."""
    if amount > 0:
        await context.database.write(
            _add_credit, context.new_id("tx"), account_id, to_units(amount), note, context.clock(), once=True
        )


def _add_credit(
    connection: Connection, tx_id: str, account_id: str, amount: int, note: str, now: float, *, once: bool
) -> Credited:
    if not access_store.account_exists(connection, account_id):
        raise NotFound(f"There is no account {account_id}.", {"account_id": account_id})
    if not (once and store.has_credit(connection, account_id)):
        try:
            entry = credit(account_id, amount, store.balance(connection, ISSUED))
        except TooMuchMoney as error:
            most = f"at most {_money(error.most)} more can be issued by this coordinator"
            raise ValidationFailed("The request is not valid.", {"amount": most}) from None
        record = store.add_credit(connection, tx_id, account_id, amount, entry, note, now)
        event_store.add(connection, [_credited(record)], now)
    return Credited(
        transaction_id=tx_id,
        account_id=account_id,
        amount=_money(amount),
        balance=_money(store.balance(connection, available(account_id))),
        created_at=format_time(now),
    )


def _credited(record: TransactionRecord) -> NewEvent:
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
