"""Wallets: balances and escrow of accounts, earnings of miners, and all transactions."""

from __future__ import annotations

from collections.abc import Mapping

from agent.coordinator import hooks
from agent.coordinator.hooks import AccountLimit
from agent.coordinator.operations.accounts.miner_money import where_money_is
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.store import access, job_lists, ledger
from agent.coordinator.store.ledger import TransactionRecord
from agent.core.market.ledger import FEES, ISSUED, available, earned, escrow
from agent.core.values.quantities import format_optional_time, format_time, format_units
from aitbc.answers.accounts import Account, AccountList, Role, Transaction, TransactionList, Wallet


async def wallet(context: Context, caller: Caller) -> Wallet:
    """Return a client's balance and escrow, a miner's earnings, or for administrators the operator's fees and all credits."""
    if caller.role is Role.MINER and caller.miner_id is not None:
        return await context.database.read(_of_miner, context, caller.miner_id)
    return await context.database.peek(_wallet, context, caller)


def _wallet(connection: Connection, context: Context, caller: Caller) -> Wallet:
    def amount(ledger_account: str) -> str:
        return format_units(ledger.balance(connection, ledger_account))

    if caller.role is Role.CLIENT and caller.account_id is not None:
        return Wallet(
            account_id=caller.account_id,
            balance=amount(available(caller.account_id)),
            held=amount(escrow(caller.account_id)),
            slowed_until=_slowed_until(_limits(connection, context).get(caller.account_id)),
        )
    return Wallet(balance=amount(FEES), held="0", issued=format_units(-ledger.balance(connection, ISSUED)))


def _of_miner(connection: Connection, context: Context, miner_id: str) -> Wallet:
    return Wallet(
        miner_id=miner_id,
        balance=format_units(ledger.balance(connection, earned(miner_id))),
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
    is_held = is_payment or record.held > 0
    refunded = 0 if record.status == ledger.Status.PENDING else record.held - record.paid
    return Transaction(
        transaction_id=record.tx_id,
        type=record.kind,
        status=record.status,
        amount=format_units(record.paid),
        created_at=format_time(record.created_at),
        job_id=record.job_id if is_payment else None,
        job_name=job_name if is_payment else None,
        miner_id=record.miner_id,
        held=format_units(record.held) if is_held else None,
        fee=format_units(record.fee) if is_payment else None,
        refunded=format_units(refunded) if is_held else None,
        settled_at=format_optional_time(record.settled_at),
        note=record.note or None,
    )


def _limits(connection: Connection, context: Context) -> Mapping[str, AccountLimit]:
    return hooks.restraints(connection, context.settings, context.clock()).accounts


def _slowed_until(limit: AccountLimit | None) -> str | None:
    return None if limit is None else format_time(limit.until)


def accounts(connection: Connection, context: Context, limit: int, after_id: str | None) -> AccountList:
    """Return all accounts with their balances, oldest first."""
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
                balance=format_units(amounts.get(available(record.account_id), 0)),
                held=format_units(amounts.get(escrow(record.account_id), 0)),
                created_at=format_time(record.created_at),
                slowed_until=_slowed_until(limits.get(record.account_id)),
            )
            for record in page_records
        ],
        next=page_records[-1].account_id if len(records) > limit else None,
    )
