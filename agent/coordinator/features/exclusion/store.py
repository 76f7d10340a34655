"""The columns of miners that say whether they are excluded or removed."""

from __future__ import annotations

from sqlalchemy import Connection, update

from agent.coordinator.store.schema.tables import miners


def set_exclusion(connection: Connection, miner_id: str, at: float | None, reason: str | None) -> None:
    """Exclude a miner, or readmit it with None."""
    connection.execute(
        update(miners).where(miners.c.miner_id == miner_id).values(excluded_at=at, excluded_reason=reason)
    )


def remove(connection: Connection, miner_id: str, now: float, unusable_sha256: str) -> None:
    """Mark a miner as removed, and invalidate the token of its session."""
    connection.execute(
        update(miners)
        .where(miners.c.miner_id == miner_id)
        .values(removed_at=now, paused=None, session_sha256=unusable_sha256)
    )
