"""Changes that subscribers may see, stored in commit order so that a subscriber can catch up after a disconnection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, text, true

from agent.coordinator.store.database import Content, contains
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import events

PRUNED_AT_ONCE: Final = 1000
NOBODY: Final = ""
"""The account of rows that no subscriber sees."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A change to be stored, or a live message, which is never stored.

    `account_id` is the client that may see it (None: every caller), `miner_id` the miner whose owner may see it too.
    """

    type: str
    data: Mapping[str, Any]
    account_id: str | None = None
    miner_id: str | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent(NewEvent):
    """A stored change and its position among all changes: `seq` only rises."""

    seq: int = 0


_COLUMNS = (
    events.c.seq,
    events.c.type,
    events.c.data,
    events.c.account_id,
    events.c.miner_id,
    events.c.job_id,
)
_insert = Prepared(insert(events))
_newest = Prepared(select(func.max(events.c.seq)))


def add(connection: Connection, changes: Sequence[NewEvent], now: float) -> None:
    """Store changes in this order."""
    rows = [
        {
            "type": change.type,
            "account_id": change.account_id,
            "miner_id": change.miner_id,
            "job_id": change.job_id,
            "data": orjson.dumps(change.data).decode(),
            "created_at": now,
        }
        for change in changes
    ]
    _insert.run_many(connection, rows)
    if rows:
        # The feed reads only after commits that announce changes, so that other writes do not wake it.
        contains(connection, Content.CHANGES)


def newest(connection: Connection) -> int:
    """Return the number of the newest change, 0 if there is none."""
    return _newest.scalar(connection, {}) or 0


def writers(connection: Connection) -> frozenset[str]:
    """Return the transactions that may be adding changes now, on PostgreSQL.

    `INSERT` locks the table before it takes numbers, and the lock is released when the changes are visible.
    """
    locked = text(
        "SELECT virtualtransaction FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'RowExclusiveLock' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return frozenset(connection.execute(locked).scalars())


def oldest(connection: Connection) -> int:
    """Return the number of the oldest stored change, 0 if there is none."""
    return connection.execute(select(func.min(events.c.seq))).scalar_one() or 0


def newest_of_job(connection: Connection, job_id: str, kind: str) -> int:
    """Return the number of a job's newest stored change of one type, 0 if there is none."""
    query = select(func.max(events.c.seq)).where(events.c.job_id == job_id, events.c.type == kind)
    return connection.execute(query).scalar_one() or 0


def mark(connection: Connection, now: float) -> None:
    """Use up a number, so that all later ones exceed those of live messages since the newest change."""
    add(connection, [NewEvent("mark", {}, NOBODY)], now)


def after(
    connection: Connection,
    seq: int,
    *,
    up_to: int | None = None,
    account_id: str | None = None,
    miner_id: str | None = None,
    job_id: str | None = None,
    types: Collection[str] | None = None,
    job_ids: Collection[str] | None = None,
    limit: int = 1000,
) -> list[StoredEvent]:
    """Return changes after `seq`, oldest first: all, or those of one job, or those that an account or a miner's owner may see.

    `up_to` is the highest number; `types` and `job_ids` filter the changes.
    """
    conditions = [events.c.seq > seq]
    if up_to is not None:
        conditions.append(events.c.seq <= up_to)
    if types is not None:
        conditions.append(events.c.type.in_(types))
    if job_ids is not None:
        conditions.append(events.c.job_id.in_(job_ids))
    if job_id is not None:
        conditions.append(events.c.job_id == job_id)
    everybody = events.c.account_id.is_(None)
    sources: list[ColumnElement[bool]] = [true()]
    if account_id is not None:
        sources = [everybody, events.c.account_id == account_id]
    elif miner_id is not None:
        sources = [everybody, and_(events.c.miner_id == miner_id, events.c.account_id.is_not(None))]
    changes: list[StoredEvent] = []
    # One query for each, in the order of its index. A single query would sort all changes for every page.
    for source in sources:
        rows = connection.execute(
            select(*_COLUMNS).where(source, *conditions).order_by(events.c.seq).limit(limit)
        )
        changes += [_event(row) for row in rows]
    return sorted(changes, key=lambda change: change.seq)[:limit]


def _event(row: Row[*tuple[Any, ...]]) -> StoredEvent:
    return StoredEvent(
        seq=row.seq,
        type=row.type,
        data=orjson.loads(row.data),
        account_id=row.account_id,
        miner_id=row.miner_id,
        job_id=row.job_id,
    )


def any_before(connection: Connection, created_before: float, *, after_seq: int = 0) -> bool:
    """Return whether `prune` would delete anything."""
    first = connection.execute(
        select(events.c.created_at).where(events.c.seq > after_seq).order_by(events.c.seq).limit(1)
    ).scalar_one_or_none()
    return first is not None and first < created_before


def prune(connection: Connection, created_before: float, *, after_seq: int = 0) -> int:
    """Delete the oldest changes behind the number `after_seq`, at most `PRUNED_AT_ONCE`. Return the number of the last one."""
    oldest = (
        select(events.c.seq, events.c.created_at)
        .where(events.c.seq > after_seq)
        .order_by(events.c.seq)
        .limit(PRUNED_AT_ONCE)
        .subquery()
    )
    # A range of numbers, not the rows found: the delete then reads the index once, and times need no index.
    newest_old = select(func.max(oldest.c.seq)).where(oldest.c.created_at < created_before)
    last: int = connection.execute(newest_old).scalar_one() or after_seq
    connection.execute(delete(events).where(events.c.seq > after_seq, events.c.seq <= last))
    return last
