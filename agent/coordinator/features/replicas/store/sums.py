"""Numbers of rows and sums of the ledger, by which two databases are compared."""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select

from agent.coordinator.store.schema.tables import balances, metadata, postings


def row_counts(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
    }


def ledger_sums(connection: Connection) -> dict[str, tuple[int, int]]:
    """Return, for each ledger account, the sum of its postings and its balance."""
    posted = _sums(connection, postings)
    stored = _sums(connection, balances)
    return {
        account: (posted.get(account, 0), stored.get(account, 0)) for account in posted.keys() | stored.keys()
    }


def _sums(connection: Connection, table: Table) -> dict[str, int]:
    query = select(table.c.ledger_account, func.sum(table.c.amount)).group_by(table.c.ledger_account)
    return {account: int(total) for account, total in connection.execute(query)}
