"""Changes that somebody may watch: kept in the order in which they happened, so that who was away hears of them later."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, true

from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import events

PRUNED_AT_ONCE: Final = 1000
NOBODY: Final = ""
"""The account of rows that are told to nobody."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A change that is about to be stored.

    `account_id` is the client that may see it (None: everybody), `miner_id` the miner whose owner may see it too. What is
    never stored has the same form.
    """

    type: str
    data: Mapping[str, Any]
    account_id: str | None = None
    miner_id: str | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent(NewEvent):
    """A change with its place among all changes: `seq` only rises."""

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
    """Store changes in their order."""
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


def newest(connection: Connection) -> int:
    """The number of the newest change, 0 if there is none."""
    return _newest.scalar(connection, {}) or 0


def oldest(connection: Connection) -> int:
    """The number of the oldest change that is kept, 0 if there is none."""
    return connection.execute(select(func.min(events.c.seq))).scalar_one() or 0


def newest_of_job(connection: Connection, job_id: str, kind: str) -> int:
    """The number of the newest change of one type that is kept of a job, 0 if there is none."""
    found = select(func.max(events.c.seq)).where(events.c.job_id == job_id, events.c.type == kind)
    return connection.execute(found).scalar_one() or 0


def mark(connection: Connection, now: float) -> None:
    """Take the next number for nothing, so that all later ones are higher than whatever was counted after the newest change."""
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
    """Changes after `seq`, oldest first: all, or those that an account, a miner's owner, or who watches one job may see.

    `up_to` is the highest number; `types` and `job_ids` choose among the changes.
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
    found: list[StoredEvent] = []
    # One query for each, in the order of its index: both in one would sort all that there is, for every page.
    for source in sources:
        rows = connection.execute(
            select(*_COLUMNS).where(source, *conditions).order_by(events.c.seq).limit(limit)
        )
        found += [_event(row) for row in rows]
    return sorted(found, key=lambda change: change.seq)[:limit]


def _event(row: Row[*tuple[Any, ...]]) -> StoredEvent:
    return StoredEvent(
        seq=row.seq,
        type=row.type,
        data=orjson.loads(row.data),
        account_id=row.account_id,
        miner_id=row.miner_id,
        job_id=row.job_id,
    )


def any_before(connection: Connection, created_before: float) -> bool:
    """Whether `prune` would find anything."""
    first = connection.execute(
        select(events.c.created_at).order_by(events.c.seq).limit(1)
    ).scalar_one_or_none()
    return first is not None and first < created_before


def prune(connection: Connection, created_before: float) -> int:
    """Forget the oldest changes, a thousand at a time. Returns how many."""
    last = (
        select(events.c.seq)
        .where(events.c.seq <= select(func.min(events.c.seq) + PRUNED_AT_ONCE - 1).scalar_subquery())
        .where(events.c.created_at < created_before)
        .order_by(events.c.seq.desc())
        .limit(1)
    )
    return connection.execute(delete(events).where(events.c.seq <= last.scalar_subquery())).rowcount
