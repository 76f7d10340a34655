"""Locks that a transaction takes before it reads what it is about to change, and holds until it ends.

On SQLite there is one writer, and they do nothing. On PostgreSQL writes run at the same time. Each takes what it needs in this order,
and several of a kind in the order of their ids, so that no two wait for each other: a miner's session, jobs, accounts, rows of
features, counted jobs, balances, a miner's statistics, storage, artifacts. If two do wait for each other, PostgreSQL ends one of them, which is run again.
Jobs have no function here: `jobs.lock` returns the row. Features lock their own rows in the same way.
`tests/contract/postgres/test_interleavings.py` lets requests overlap.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, bindparam, select, text

from agent.coordinator.store.concurrency import LANE, is_concurrent
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import accounts

LANES: Final = 16
"""Rows that every transaction changes, such as the history's newest, exist this many times. A transaction changes one of them."""

_account = Prepared(
    select(accounts.c.account_id)
    .where(accounts.c.account_id == bindparam("key"))
    .with_for_update(key_share=True)
)
_exclusive = Prepared(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"))
_free = Prepared(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"))


def account(connection: Connection, account_id: str) -> None:
    """Wait until no other transaction decides about the account's balance, limits and quotas."""
    if is_concurrent(connection):
        _account.rows(connection, {"key": account_id})


def session(connection: Connection, miner_id: str) -> None:
    """Wait until no other transaction changes the miner's session, leases or what features keep of it."""
    wait(connection, f"session {miner_id}")


def statistics(connection: Connection, miner_ids: Collection[str]) -> None:
    """Wait until no other transaction changes the statistics of these miners."""
    wait(connection, *(f"statistics {miner_id}" for miner_id in sorted(miner_ids)))


def storage(connection: Connection, owner: str) -> None:
    """Wait until no other transaction decides whether a file fits the quota of this account, job or miner."""
    wait(connection, f"storage {owner}")


def artifacts(connection: Connection, artifact_ids: Collection[str]) -> None:
    """Wait until no other transaction begins or ends to refer to these artifacts."""
    wait(connection, *(f"artifact {artifact_id}" for artifact_id in sorted(artifact_ids)))


def earnings(connection: Connection, miner_ids: Collection[str]) -> None:
    """Wait until no other transaction takes from what these miners have earned."""
    wait(connection, *(f"earnings {miner_id}" for miner_id in sorted(miner_ids)))


def issued(connection: Connection) -> None:
    """Wait until no other transaction changes how much money was issued."""
    wait(connection, "issued")


def if_free(connection: Connection, name: str) -> bool:
    """Take a lock unless another transaction has it. Return whether it was free: otherwise another one is doing the same work."""
    if not is_concurrent(connection):
        return True
    return bool(_free.scalar(connection, {"name": name}))


def lane(connection: Connection) -> int:
    """Return which of the `LANES` copies of a row this transaction changes: 0 on SQLite."""
    number: int = connection.info.get(LANE, 0)
    return number % LANES


def wait(connection: Connection, *names: str) -> None:
    """Wait until no other transaction has these locks, which it takes in this order."""
    if is_concurrent(connection):
        _exclusive.rows_each(connection, [{"name": name} for name in names])
