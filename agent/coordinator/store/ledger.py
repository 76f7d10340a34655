"""Money: transactions, their postings, and the balances that result from the postings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    update,
)

from agent.coordinator.store import changed_balances, locks, records
from agent.coordinator.store.database import StaleRead
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import balances, postings, transactions
from agent.core.market.ledger import (
    FEES,
    ISSUED,
    Entry,
    JobSettlement,
    available,
)


class TransactionKind(StrEnum):
    """The purpose of a transaction."""

    CREDIT = "credit"
    DEBIT = "debit"
    PAYMENT = "payment"
    PAYOUT = "payout"
    FUNDING = "funding"
    AUDIT = "audit"
    REFUND = "refund"
    FORFEIT = "forfeit"


class Status(StrEnum):
    """The status of a transaction. A payment is pending until its job ends, a payout until it is confirmed or posted back."""

    PENDING = "pending"
    SETTLED = "settled"
    REFUNDED = "refunded"


HELD: Final = "hold"
SETTLED: Final = "settlement"


@dataclass(frozen=True, slots=True)
class Payment:
    """How the payment of a job is settled; `miner_id` is the miner that is paid, or None."""

    job_id: str
    miner_id: str | None
    settlement: JobSettlement


@dataclass(frozen=True, slots=True)
class NewPayment:
    """The payment of a new job: the entry holds `held` units of 1e-8 of its account."""

    job_id: str
    account_id: str
    held: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """A transaction. Amounts are in units of 1e-8; `paid` is the price of a job or the amount of a credit or debit."""

    tx_id: str
    kind: str
    status: str
    account_id: str
    miner_id: str | None
    job_id: str | None
    held: int
    paid: int
    fee: int
    note: str
    created_at: float
    settled_at: float | None


COLUMNS = records.columns(transactions, TransactionRecord)
_insert_transaction = Prepared(insert(transactions))
_insert_postings = Prepared(insert(postings))
_close = Prepared(
    update(transactions)
    .where(transactions.c.tx_id == bindparam("key"), transactions.c.status == Status.PENDING.value)
    .returning(transactions.c.tx_id)
)


def payment_id(job_id: str) -> str:
    """Return the id of a job's only payment."""
    return "tx_" + job_id.removeprefix("job_")


def balance(connection: Connection, ledger_account: str) -> int:
    """Return the balance of a ledger account."""
    return changed_balances.balance(connection, ledger_account)


def add_booking(
    connection: Connection,
    tx_id: str,
    kind: TransactionKind,
    account_id: str,
    amount: int,
    entry: Entry,
    *,
    note: str,
    now: float,
    miner_id: str | None = None,
    fee: int = 0,
) -> TransactionRecord:
    """Store a transaction that is no payment of a job, such as a credit."""
    record = TransactionRecord(
        tx_id, kind, Status.SETTLED, account_id, miner_id, None, 0, amount, fee, note, now, now
    )
    add(connection, [record])
    post(connection, [(tx_id, kind.value, entry)])
    return record


def add_payments(connection: Connection, payments: Sequence[NewPayment], now: float) -> None:
    """Store the pending payments of jobs and the entries that hold their maximum costs.

    Raises `StaleRead` if another transaction has spent the money since the balances were read.
    """
    pending = [
        TransactionRecord(
            payment_id(payment.job_id), TransactionKind.PAYMENT, Status.PENDING, payment.account_id, None, payment.job_id,
            payment.held, 0, 0, "", now, None,
        )
        for payment in payments
    ]  # fmt: skip
    add(connection, pending)
    spent: Counter[str] = Counter()
    for payment in payments:
        spent[available(payment.account_id)] += payment.held
    rows = [{"account": account, "amount": amount} for account, amount in sorted(spent.items()) if amount]
    # The statement itself compares the balance with the amount: of two transactions, the second one finds too little.
    if not changed_balances.spend(connection, rows):
        raise StaleRead
    entries = [(payment_id(payment.job_id), HELD, payment.entry) for payment in payments]
    # `spend` has changed these balances already.
    post(connection, entries, booked=spent)


def close_payments(connection: Connection, payments: Sequence[Payment], now: float) -> set[str]:
    """Settle the payments of jobs. Return the jobs whose payment was pending; the others are unchanged."""
    rows = [
        {
            "key": payment_id(payment.job_id),
            "status": (Status.SETTLED if payment.settlement.paid else Status.REFUNDED).value,
            "miner_id": payment.miner_id,
            "paid": payment.settlement.paid,
            "fee": payment.settlement.fee,
            "settled_at": now,
        }
        for payment in payments
    ]
    # Some jobs are older than the ledger.
    ids = close(connection, rows)
    closed = [payment for payment in payments if payment_id(payment.job_id) in ids]
    post(
        connection,
        [(payment_id(payment.job_id), SETTLED, payment.settlement.entry) for payment in closed],
    )
    return {payment.job_id for payment in closed}


def close(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Set what is known of pending transactions at their end, each by its `key`. Return the ids of those that were pending."""
    return {tx_id for (tx_id,) in _close.rows_many(connection, rows)}


def add(connection: Connection, new_transactions: Sequence[TransactionRecord]) -> None:
    """Store transactions without their entries."""
    rows = [records.values(transaction) for transaction in new_transactions]
    _insert_transaction.run_many(connection, rows)


def post(
    connection: Connection, entries: Sequence[tuple[str, str, Entry]], booked: Collection[str] = ()
) -> None:
    """Store entries, each with its transaction and its name, and change the balances, in the order of their accounts.

    The balances of `booked` are changed already.
    """
    rows = [
        {"tx_id": tx_id, "entry": name, "ledger_account": posting.account, "amount": posting.amount}
        for tx_id, name, entry in entries
        for posting in entry
    ]
    _insert_postings.run_many(connection, rows)
    changes: Counter[str] = Counter()
    for _, _, entry in entries:
        for posting in entry:
            changes[posting.account] += posting.amount
    # The account of the fees changes with every job. In several parts, transactions seldom wait for each other's.
    lane = locks.lane(connection)
    changed_balances.add(
        connection,
        [
            {"account": account, "part": lane if account == FEES else 0, "amount": amount}
            for account, amount in sorted(changes.items())
            if account not in booked
        ],
    )


def balances_of(connection: Connection, ledger_accounts: Sequence[str]) -> dict[str, int]:
    """Return the balances of ledger accounts, without those that have no postings."""
    query = (
        select(balances.c.ledger_account, func.sum(balances.c.amount))
        .where(balances.c.ledger_account.in_(ledger_accounts))
        .group_by(balances.c.ledger_account)
    )
    return {account: int(amount) for account, amount in connection.execute(query)}


def find(connection: Connection, tx_id: str) -> TransactionRecord | None:
    """Return the transaction, or None."""
    return records.find(connection, TransactionRecord, select(*COLUMNS).where(transactions.c.tx_id == tx_id))


def has_credit(connection: Connection, account_id: str) -> bool:
    """Return whether the account was ever credited."""
    query = select(transactions.c.tx_id).where(
        transactions.c.account_id == account_id, transactions.c.kind == TransactionKind.CREDIT.value
    )
    return connection.execute(query.limit(1)).first() is not None


def page(
    connection: Connection,
    *,
    account_id: str | None = None,
    miner_id: str | None = None,
    limit: int,
    before_id: str | None,
) -> list[TransactionRecord]:
    """Return transactions of an account or a miner (of all without either), newest first, before the id `before_id`."""
    conditions: list[ColumnElement[bool]] = []
    if account_id is not None:
        conditions.append(transactions.c.account_id == account_id)
    if miner_id is not None:
        conditions.append(transactions.c.miner_id == miner_id)
    if before_id is not None:
        conditions.append(transactions.c.tx_id < before_id)
    query = select(*COLUMNS).where(*conditions).order_by(transactions.c.tx_id.desc()).limit(limit)
    return records.find_all(connection, TransactionRecord, query)


def problems(connection: Connection) -> list[str]:
    """Return the ledger's inconsistencies: entries that do not sum to zero, balances that differ from the sums of their postings.

    Reads everything; for `fsck` and tests.
    """
    total = func.sum(postings.c.amount)
    uneven = select(postings.c.tx_id, postings.c.entry).group_by(postings.c.tx_id, postings.c.entry)
    faults = [
        f"the entry {entry} of {tx_id} does not sum to zero"
        for tx_id, entry in connection.execute(uneven.having(total != 0))
    ]
    posted = _sums(connection, postings.c.ledger_account, postings.c.amount)
    stored = _sums(connection, balances.c.ledger_account, balances.c.amount)
    faults += [
        f"the balance of {account} is {stored.get(account, 0)}, but its postings add up to {posted.get(account, 0)}"
        for account in sorted(posted.keys() | stored.keys())
        if stored.get(account, 0) != posted.get(account, 0)
    ]
    overdrawn = set(
        connection.scalars(
            select(postings.c.ledger_account).where(
                postings.c.entry.in_((TransactionKind.DEBIT.value, TransactionKind.FORFEIT.value))
            )
        )
    )
    faults += [
        f"the balance of {account} is negative"
        for account, amount in sorted(stored.items())
        if amount < 0 and account != ISSUED and account not in overdrawn
    ]
    doubled = (
        select(postings.c.tx_id)
        .where(postings.c.entry == literal_column("'settlement'"))
        .join(transactions, transactions.c.tx_id == postings.c.tx_id)
        .where(transactions.c.status == literal_column("'pending'"))
        .distinct()
    )
    return faults + [f"{tx_id} is pending, but it was settled" for tx_id in connection.scalars(doubled)]


def _sums(connection: Connection, account: ColumnElement[str], amount: ColumnElement[int]) -> dict[str, int]:
    query = select(account, func.sum(amount)).group_by(account)
    return {name: int(total) for name, total in connection.execute(query)}
