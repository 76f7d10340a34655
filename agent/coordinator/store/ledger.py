"""Money: transactions, their postings, and the balances that result from the postings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import balances, log_leaves, log_queue, postings, transactions
from agent.core.market.ledger import ISSUED, Entry, Settlement


class Kind(StrEnum):
    """The purpose of a transaction."""

    CREDIT = "credit"
    DEBIT = "debit"
    PAYMENT = "payment"


class Status(StrEnum):
    """The status of a transaction. A payment is pending until its job ends."""

    PENDING = "pending"
    SETTLED = "settled"
    REFUNDED = "refunded"


HELD: Final = "hold"
SETTLED: Final = "settlement"


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


_COLUMNS = tuple(transactions.c[name] for name in TransactionRecord.__dataclass_fields__)
_insert_transaction = Prepared(insert(transactions))
_insert_postings = Prepared(insert(postings))
_add_to_balances = Prepared(
    text(
        "INSERT INTO balances (ledger_account, amount) VALUES (:account, :amount) "
        "ON CONFLICT (ledger_account) DO UPDATE SET amount = balances.amount + excluded.amount"
    )
)
_balance = Prepared(select(balances.c.amount).where(balances.c.ledger_account == bindparam("account")))
_close = Prepared(
    update(transactions)
    .where(transactions.c.tx_id == bindparam("key"), transactions.c.status == Status.PENDING.value)
    .values(
        status=bindparam("new_status"),
        miner_id=bindparam("new_miner_id"),
        paid=bindparam("new_paid"),
        fee=bindparam("new_fee"),
        settled_at=bindparam("new_settled_at"),
    )
)


def payment_id(job_id: str) -> str:
    """Return the id of a job's only payment."""
    return "tx_" + job_id.removeprefix("job_")


def balance(connection: Connection, ledger_account: str) -> int:
    """Return the balance of a ledger account."""
    return _balance.scalar(connection, {"account": ledger_account}) or 0


def add_booking(
    connection: Connection,
    tx_id: str,
    kind: Kind,
    account_id: str,
    amount: int,
    entry: Entry,
    *,
    note: str,
    now: float,
) -> TransactionRecord:
    """Store a credit or a debit."""
    record = TransactionRecord(
        tx_id, kind, Status.SETTLED, account_id, None, None, 0, amount, 0, note, now, now
    )
    _add(connection, record)
    _post(connection, tx_id, kind.value, entry)
    return record


def add_payment(
    connection: Connection, job_id: str, account_id: str, held: int, entry: Entry, now: float
) -> None:
    """Store the pending payment of a job and the entry that holds its maximum cost."""
    tx_id = payment_id(job_id)
    _add(
        connection,
        TransactionRecord(
            tx_id, Kind.PAYMENT, Status.PENDING, account_id, None, job_id, held, 0, 0, "", now, None
        ),
    )
    _post(connection, tx_id, HELD, entry)


def close_payment(
    connection: Connection, job_id: str, miner_id: str | None, settlement: Settlement, now: float
) -> bool:
    """Settle the payment of a job. Return False, changing nothing, if it is not pending."""
    tx_id = payment_id(job_id)
    values = {
        "key": tx_id,
        "new_status": (Status.SETTLED if settlement.paid else Status.REFUNDED).value,
        "new_miner_id": miner_id,
        "new_paid": settlement.paid,
        "new_fee": settlement.fee,
        "new_settled_at": now,
    }
    if _close.run(connection, values) != 1:
        return False
    _post(connection, tx_id, SETTLED, settlement.entry)
    return True


def _add(connection: Connection, record: TransactionRecord) -> None:
    values = {name: getattr(record, name) for name in TransactionRecord.__dataclass_fields__}
    _insert_transaction.run(connection, values)


def _post(connection: Connection, tx_id: str, entry_name: str, entry: Entry) -> None:
    rows = [
        {"tx_id": tx_id, "entry": entry_name, "ledger_account": posting.account, "amount": posting.amount}
        for posting in entry
    ]
    _insert_postings.run_many(connection, rows)
    changes = [{"account": posting.account, "amount": posting.amount} for posting in entry]
    _add_to_balances.run_many(connection, changes)


def balances_of(connection: Connection, ledger_accounts: Sequence[str]) -> dict[str, int]:
    """Return the balances of ledger accounts, without those that have no postings."""
    query = select(balances.c.ledger_account, balances.c.amount).where(
        balances.c.ledger_account.in_(ledger_accounts)
    )
    return dict(connection.execute(query).all())


def find(connection: Connection, tx_id: str) -> TransactionRecord | None:
    """Return the transaction, or None."""
    row = connection.execute(select(*_COLUMNS).where(transactions.c.tx_id == tx_id)).one_or_none()
    return None if row is None else TransactionRecord(*row)


def has_credit(connection: Connection, account_id: str) -> bool:
    """Return whether the account was ever credited."""
    query = select(transactions.c.tx_id).where(
        transactions.c.account_id == account_id, transactions.c.kind == Kind.CREDIT.value
    )
    return connection.execute(query.limit(1)).first() is not None


def page(
    connection: Connection,
    *,
    account_id: str | None = None,
    miner_id: str | None = None,
    limit: int,
    before: str | None,
) -> list[TransactionRecord]:
    """Return transactions of an account or a miner (of all without either), newest first, before the id `before`."""
    conditions: list[ColumnElement[bool]] = []
    if account_id is not None:
        conditions.append(transactions.c.account_id == account_id)
    if miner_id is not None:
        conditions.append(transactions.c.miner_id == miner_id)
    if before is not None:
        conditions.append(transactions.c.tx_id < before)
    query = select(*_COLUMNS).where(*conditions).order_by(transactions.c.tx_id.desc()).limit(limit)
    return [TransactionRecord(*row) for row in connection.execute(query)]


def closed_payments(connection: Connection) -> Iterator[tuple[TransactionRecord, str | None]]:
    """Iterate over the settled and refunded payments, each with its numbered or queued leaf of the log, or None."""
    leaf = func.coalesce(log_leaves.c.content, log_queue.c.content)
    query = (
        select(*_COLUMNS, leaf)
        .outerjoin(log_leaves, log_leaves.c.reference == transactions.c.tx_id)
        .outerjoin(log_queue, log_queue.c.reference == transactions.c.tx_id)
        .where(transactions.c.kind == Kind.PAYMENT.value, transactions.c.status != Status.PENDING.value)
    )
    for row in connection.execute(query.execution_options(yield_per=1000)):
        yield TransactionRecord(*row[:-1]), row[-1]


def problems(connection: Connection) -> list[str]:
    """Return the ledger's inconsistencies: entries that do not sum to zero, balances that differ from the sums of their postings.

    Reads everything; for `fsck` and tests.
    """
    total = func.sum(postings.c.amount)
    uneven = select(postings.c.tx_id, postings.c.entry).group_by(postings.c.tx_id, postings.c.entry)
    found = [
        f"the entry {entry} of {tx_id} does not sum to zero"
        for tx_id, entry in connection.execute(uneven.having(total != 0))
    ]
    posted = dict(
        connection.execute(select(postings.c.ledger_account, total).group_by(postings.c.ledger_account)).all()
    )
    stored = dict(connection.execute(select(balances.c.ledger_account, balances.c.amount)).all())
    found += [
        f"the balance of {account} is {stored.get(account, 0)}, but its postings add up to {posted.get(account, 0)}"
        for account in sorted(posted.keys() | stored.keys())
        if stored.get(account, 0) != posted.get(account, 0)
    ]
    overdrawn = set(
        connection.scalars(select(postings.c.ledger_account).where(postings.c.entry == Kind.DEBIT.value))
    )
    found += [
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
    return found + [f"{tx_id} is pending, but it was settled" for tx_id in connection.scalars(doubled)]
