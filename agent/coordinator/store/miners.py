"""Miners and their sessions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from agent.coordinator.store.schema.tables import challenges, miners


@dataclass(frozen=True, slots=True)
class MinerRecord:
    """A miner as stored. `capabilities`, `telemetry` and `activity` are JSON text as the miner sent them.

    `runners` is JSON: by service, names and versions of the runners that it has registered. `excluded_at` is when an operator
    excluded it, or None if it is not excluded.
    """

    miner_id: str
    public_key: bytes
    name: str
    session: int
    session_sha256: str
    capabilities: str
    telemetry: str
    paused: str | None
    registered_at: float
    seen_at: float
    agent_version: str | None = None
    activity: str | None = None
    runners: str = "{}"
    excluded_at: float | None = None
    excluded_reason: str | None = None


_COLUMNS = tuple(miners.c[name] for name in MinerRecord.__dataclass_fields__)


def add_challenge(connection: Connection, nonce: str, now: float, expires_at: float) -> None:
    """Store a nonce, and delete expired ones."""
    connection.execute(delete(challenges).where(challenges.c.expires_at < now))
    connection.execute(insert(challenges), {"nonce": nonce, "expires_at": expires_at})


def use_challenge(connection: Connection, nonce: str, now: float) -> bool:
    """Use a nonce. Return False if it is unknown, used or expired."""
    used = delete(challenges).where(challenges.c.nonce == nonce, challenges.c.expires_at >= now)
    return connection.execute(used).rowcount == 1


def find(connection: Connection, miner_id: str) -> MinerRecord | None:
    """Return the miner, or None."""
    row = connection.execute(select(*_COLUMNS).where(miners.c.miner_id == miner_id)).one_or_none()
    return None if row is None else MinerRecord(*row)


def all_miners(connection: Connection) -> list[MinerRecord]:
    """Return all miners, the most recently seen first."""
    return [
        MinerRecord(*row) for row in connection.execute(select(*_COLUMNS).order_by(miners.c.seen_at.desc()))
    ]


def page(connection: Connection, *, limit: int, offset: int) -> tuple[list[MinerRecord], int]:
    """Return a page of miners, the newest first, and their total number."""
    query = select(*_COLUMNS).order_by(miners.c.registered_at.desc(), miners.c.miner_id)
    rows = connection.execute(query.limit(limit).offset(offset))
    total = connection.execute(select(func.count()).select_from(miners)).scalar_one()
    return [MinerRecord(*row) for row in rows], int(total)


def count_active(connection: Connection, seen_after: float) -> int:
    """Return how many miners are online and not paused."""
    query = select(func.count()).where(miners.c.seen_at >= seen_after, miners.c.paused.is_(None))
    return int(connection.execute(query.select_from(miners)).scalar_one())


def save(connection: Connection, record: MinerRecord) -> None:
    """Store a new or an existing miner."""
    values = {name: getattr(record, name) for name in MinerRecord.__dataclass_fields__}
    changed = connection.execute(update(miners).where(miners.c.miner_id == record.miner_id).values(values))
    if changed.rowcount == 0:
        connection.execute(insert(miners), values)


def touch(
    connection: Connection,
    miner_id: str,
    now: float,
    *,
    telemetry: str,
    capabilities: str | None,
    paused: str | None,
    activity: str | None,
    runners: str | None,
) -> None:
    """Store the content of a heartbeat. With None, capabilities and runners are unchanged."""
    values = {"seen_at": now, "telemetry": telemetry, "paused": paused, "activity": activity}
    if capabilities is not None and runners is not None:
        values |= {"capabilities": capabilities, "runners": runners}
    connection.execute(update(miners).where(miners.c.miner_id == miner_id).values(values))


def set_exclusion(connection: Connection, miner_id: str, at: float | None, reason: str | None) -> None:
    """Exclude a miner, or readmit it with None."""
    connection.execute(
        update(miners).where(miners.c.miner_id == miner_id).values(excluded_at=at, excluded_reason=reason)
    )


def end_session(connection: Connection, miner_id: str, unusable_sha256: str) -> None:
    """Invalidate the token of the miner's session. `unusable_sha256` is the digest of a discarded secret."""
    connection.execute(
        update(miners).where(miners.c.miner_id == miner_id).values(session_sha256=unusable_sha256)
    )
