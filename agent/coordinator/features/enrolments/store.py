"""Enrolment tokens without their secrets: rows and queries."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from agent.coordinator.store import records
from agent.coordinator.store.schema.tables import enrolments, miners


@dataclass(frozen=True, slots=True)
class EnrolmentRecord:
    """An enrolment token without its secret. `owner` names whose miners join with it. `created_by` is a key's id; None if the agent created it for its own miner."""

    enrolment_id: str
    created_at: float
    expires_at: float
    uses: int
    uses_left: int
    note: str = ""
    created_by: str | None = None
    used_at: float | None = None
    revoked_at: float | None = None
    owner: str | None = None


_COLUMNS = records.columns(enrolments, EnrolmentRecord)


def add(connection: Connection, record: EnrolmentRecord, sha256: str) -> None:
    """Store a new token."""
    values = {column.name: getattr(record, column.name) for column in _COLUMNS}
    connection.execute(insert(enrolments), {**values, "sha256": sha256})


def page(connection: Connection, *, limit: int, before_id: str | None) -> list[EnrolmentRecord]:
    """Return tokens in any state, newest first, before the id `before_id`."""
    query = select(*_COLUMNS)
    if before_id is not None:
        query = query.where(enrolments.c.enrolment_id < before_id)
    rows = connection.execute(query.order_by(enrolments.c.enrolment_id.desc()).limit(limit))
    return [EnrolmentRecord(*row) for row in rows]


def revoke(connection: Connection, enrolment_id: str, now: float) -> bool:
    """Revoke a token. Return False if it does not exist. Revoking it again changes nothing."""
    change = update(enrolments).where(enrolments.c.enrolment_id == enrolment_id)
    # A repeated revocation keeps the time of the first.
    first = func.coalesce(enrolments.c.revoked_at, now)
    return connection.execute(change.values(revoked_at=first)).rowcount == 1


def enrolled_with(connection: Connection, enrolment_ids: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Return ids and names of the miners that enrolled last with each of these tokens, removed ones included."""
    query = select(miners.c.enrolment_id, miners.c.miner_id, miners.c.name)
    by_token: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    # One query for the whole page.
    for enrolment_id, miner_id, name in connection.execute(
        query.where(miners.c.enrolment_id.in_(enrolment_ids)).order_by(miners.c.registered_at)
    ):
        by_token[enrolment_id].append((miner_id, name))
    return by_token
