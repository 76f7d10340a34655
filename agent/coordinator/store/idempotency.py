"""First answers to requests with an `Idempotency-Key`, kept for a day."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from agent.coordinator.store.schema.tables import idempotency

KEPT_SECONDS = 86_400.0


def find(connection: Connection, account_id: str, key: str) -> tuple[str, str] | None:
    """The digest of the first request with this key, and its answer as JSON; None if there was none."""
    query = select(idempotency.c.request_sha256, idempotency.c.answer).where(
        idempotency.c.account_id == account_id, idempotency.c.key == key
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.request_sha256, row.answer)


def add(
    connection: Connection, account_id: str, key: str, *, request_sha256: str, answer: str, now: float
) -> None:
    """Keep the first answer, and forget those that are older than a day."""
    connection.execute(delete(idempotency).where(idempotency.c.created_at < now - KEPT_SECONDS))
    values = {
        "account_id": account_id, "key": key, "request_sha256": request_sha256, "answer": answer, "created_at": now,
    }  # fmt: skip
    connection.execute(insert(idempotency), values)
