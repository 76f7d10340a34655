"""Deposits: credits for payments that arrived outside, each of which is credited once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from agent.coordinator.features.payouts.tables import deposits
from agent.coordinator.store import records


@dataclass(frozen=True, slots=True)
class DepositRecord:
    """A deposit. `amount` was credited, in units of 1e-8; `external_amount` and `rate` are decimal strings."""

    source: str
    external_id: str
    account_id: str
    tx_id: str
    amount: int
    currency: str
    external_amount: str
    rate: str
    note: str
    created_at: float


_COLUMNS = records.columns(deposits, DepositRecord)


def add(connection: Connection, record: DepositRecord) -> None:
    """Store a deposit."""
    connection.execute(insert(deposits), records.values(record))


def find(connection: Connection, source: str, external_id: str) -> DepositRecord | None:
    """Return the deposit of an incoming payment, or None."""
    query = select(*_COLUMNS).where(deposits.c.source == source, deposits.c.external_id == external_id)
    return records.find(connection, DepositRecord, query)


def page(
    connection: Connection, *, account_id: str | None, limit: int, before_id: str | None
) -> list[DepositRecord]:
    """Return deposits, newest first, those before the transaction `before_id`; of one account, if one is given."""
    query = select(*_COLUMNS).order_by(deposits.c.tx_id.desc()).limit(limit)
    if account_id is not None:
        query = query.where(deposits.c.account_id == account_id)
    if before_id is not None:
        query = query.where(deposits.c.tx_id < before_id)
    return records.find_all(connection, DepositRecord, query)
