"""First answers to requests with an `Idempotency-Key`, retained for a day."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select, tuple_

from agent.coordinator.store.schema.tables import idempotency

RETENTION_SECONDS = 86_400.0
DELETED_AT_ONCE = 1000


def find(connection: Connection, account_id: str, key: str) -> tuple[str, str] | None:
    """Return the digest of the first request with this key and its answer as JSON, or None if there was none."""
    query = select(idempotency.c.request_sha256, idempotency.c.answer).where(
        idempotency.c.account_id == account_id, idempotency.c.key == key
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.request_sha256, row.answer)


def add(
    connection: Connection, account_id: str, key: str, *, request_sha256: str, answer: str, now: float
) -> None:
    """Store the first answer, and delete some of those that are older than `RETENTION_SECONDS`."""
    key_columns = (idempotency.c.account_id, idempotency.c.key)
    expired = (
        select(*key_columns)
        .where(idempotency.c.created_at < now - RETENTION_SECONDS)
        .limit(DELETED_AT_ONCE)
        .with_for_update(skip_locked=True)  # another transaction deletes those
    )
    connection.execute(delete(idempotency).where(tuple_(*key_columns).in_(expired)))
    values = {
        "account_id": account_id, "key": key, "request_sha256": request_sha256, "answer": answer, "created_at": now,
    }  # fmt: skip
    connection.execute(insert(idempotency), values)
