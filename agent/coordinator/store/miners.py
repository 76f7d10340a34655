"""Miners and their sessions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from agent.coordinator.store.tables import challenges, miners


@dataclass(frozen=True, slots=True)
class MinerRecord:
    """A miner as stored. `capabilities`, `telemetry` and `activity` are JSON text as the miner sent them."""

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


_COLUMNS = tuple(miners.c[name] for name in MinerRecord.__dataclass_fields__)


def add_challenge(connection: Connection, nonce: str, now: float, expires_at: float) -> None:
    """Remember a nonce until it is used; forget those that nobody used."""
    connection.execute(delete(challenges).where(challenges.c.expires_at < now))
    connection.execute(insert(challenges), {"nonce": nonce, "expires_at": expires_at})


def use_challenge(connection: Connection, nonce: str, now: float) -> bool:
    """Use a nonce. False if it is unknown, used or too old."""
    gone = delete(challenges).where(challenges.c.nonce == nonce, challenges.c.expires_at >= now)
    return connection.execute(gone).rowcount == 1


def find(connection: Connection, miner_id: str) -> MinerRecord | None:
    """The miner, or None."""
    row = connection.execute(select(*_COLUMNS).where(miners.c.miner_id == miner_id)).one_or_none()
    return None if row is None else MinerRecord(*row)


def all_miners(connection: Connection) -> list[MinerRecord]:
    """All miners, the one seen last first."""
    return [
        MinerRecord(*row) for row in connection.execute(select(*_COLUMNS).order_by(miners.c.seen_at.desc()))
    ]


def page(connection: Connection, *, limit: int, offset: int) -> tuple[list[MinerRecord], int]:
    """Some of the miners, the newest ones first, and how many there are."""
    query = select(*_COLUMNS).order_by(miners.c.registered_at.desc(), miners.c.miner_id)
    rows = connection.execute(query.limit(limit).offset(offset))
    total = connection.execute(select(func.count()).select_from(miners)).scalar_one()
    return [MinerRecord(*row) for row in rows], int(total)


def count_active(connection: Connection, seen_after: float) -> int:
    """How many miners are there and not paused."""
    query = select(func.count()).where(miners.c.seen_at >= seen_after, miners.c.paused.is_(None))
    return int(connection.execute(query.select_from(miners)).scalar_one())


def save(connection: Connection, record: MinerRecord) -> None:
    """Store a miner, new or known."""
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
) -> None:
    """Store what a heartbeat says; None leaves the capabilities as they are."""
    values = {"seen_at": now, "telemetry": telemetry, "paused": paused, "activity": activity}
    if capabilities is not None:
        values["capabilities"] = capabilities
    connection.execute(update(miners).where(miners.c.miner_id == miner_id).values(values))
