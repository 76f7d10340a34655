"""Miners and their sessions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from agent.coordinator.store import records
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import challenges, enrolments, miners, runs


@dataclass(frozen=True, slots=True)
class MinerRecord:
    """A miner as stored. `capabilities`, `telemetry` and `activity` are JSON text as the miner sent them.

    `runners` is JSON: by service, names and versions of the runners that it has registered. `excluded_at` and `removed_at` are when
    an operator excluded or removed it, or None. `enrolment_id` is the token with which it enrolled last.
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
    removed_at: float | None = None
    enrolment_id: str | None = None


@dataclass(frozen=True, slots=True)
class LastFault:
    """A run that ended by its miner's fault. `code` and `message` are None if its lease expired."""

    job_id: str
    ended_at: float
    code: str | None
    message: str | None


_last_fault = Prepared(
    select(runs.c.job_id, runs.c.ended_at, runs.c.failure_code, runs.c.failure_message)
    .where(runs.c.miner_id == bindparam("key"), text("outcome IN ('retried', 'expired')"))
    .order_by(runs.c.ended_at.desc())
    .limit(1)
)
_COLUMNS = records.columns(miners, MinerRecord)
_IS_PRESENT = miners.c.removed_at.is_(None)
_by_id = Prepared(select(*_COLUMNS).where(miners.c.miner_id == bindparam("key")))
_touch = Prepared(update(miners).where(miners.c.miner_id == bindparam("key")))


def add_challenge(connection: Connection, nonce: str, now: float, expires_at: float) -> None:
    """Store a nonce, and delete expired ones."""
    # What another transaction is using is skipped, so that two registrations never wait for each other.
    expired = (
        select(challenges.c.nonce).where(challenges.c.expires_at < now).with_for_update(skip_locked=True)
    )
    connection.execute(delete(challenges).where(challenges.c.nonce.in_(expired)))
    connection.execute(insert(challenges), {"nonce": nonce, "expires_at": expires_at})


def use_challenge(connection: Connection, nonce: str, now: float) -> bool:
    """Use a nonce. Return False if it is unknown, used or expired."""
    spent = delete(challenges).where(challenges.c.nonce == nonce, challenges.c.expires_at >= now)
    return connection.execute(spent).rowcount == 1


def find(connection: Connection, miner_id: str) -> MinerRecord | None:
    """Return the miner, or None if it is unknown or removed."""
    record = find_former(connection, miner_id)
    return None if record is None or record.removed_at is not None else record


def find_former(connection: Connection, miner_id: str) -> MinerRecord | None:
    """Return the miner, even if it is removed, or None."""
    row = _by_id.row(connection, {"key": miner_id})
    return None if row is None else MinerRecord(*row)


def all_miners(connection: Connection) -> list[MinerRecord]:
    """Return all miners, the most recently seen first, without removed ones."""
    query = select(*_COLUMNS).where(_IS_PRESENT).order_by(miners.c.seen_at.desc())
    return records.find_all(connection, MinerRecord, query)


def names(connection: Connection) -> dict[str, str]:
    """Return the names of all miners by id, removed ones included."""
    return {row[0]: row[1] for row in connection.execute(select(miners.c.miner_id, miners.c.name))}


def page(connection: Connection, *, limit: int, offset: int) -> tuple[list[MinerRecord], int]:
    """Return a page of miners, the newest first, and their total number, without removed ones."""
    query = select(*_COLUMNS).where(_IS_PRESENT).order_by(miners.c.registered_at.desc(), miners.c.miner_id)
    rows = connection.execute(query.limit(limit).offset(offset))
    total = connection.execute(select(func.count()).select_from(miners).where(_IS_PRESENT)).scalar_one()
    return [MinerRecord(*row) for row in rows], int(total)


def fleet(connection: Connection, miner_id: str) -> list[MinerRecord]:
    """Return a miner and all others of its owner, the newest first, without removed ones."""
    query = select(*_COLUMNS).where(_IS_PRESENT, or_(miners.c.miner_id == miner_id, _of_owner_of(miner_id)))
    rows = connection.execute(query.order_by(miners.c.registered_at.desc(), miners.c.miner_id))
    return [MinerRecord(*row) for row in rows]


def owner_of(connection: Connection, miner_id: str) -> str | None:
    """Return the name of a miner's owner, None if it belongs to no fleet."""
    return connection.execute(_owner(miner_id)).scalar()


def owners(connection: Connection) -> dict[str, str]:
    """Return the names of the owners of miners that belong to a fleet, by miner."""
    joined = miners.join(enrolments, miners.c.enrolment_id == enrolments.c.enrolment_id)
    query = select(miners.c.miner_id, enrolments.c.owner).select_from(joined)
    rows = connection.execute(query.where(enrolments.c.owner.is_not(None), _IS_PRESENT))
    return {miner_id: str(owner) for miner_id, owner in rows}


def are_of_one_owner(connection: Connection, first: str, second: str) -> bool:
    """Whether two miners belong to one fleet, even if the second one is removed."""
    query = select(miners.c.miner_id).where(miners.c.miner_id == second, _of_owner_of(first))
    return connection.execute(query).first() is not None


def _owner(miner_id: str) -> Select[str | None]:
    joined = miners.join(enrolments, miners.c.enrolment_id == enrolments.c.enrolment_id)
    return select(enrolments.c.owner).select_from(joined).where(miners.c.miner_id == miner_id, _IS_PRESENT)


def _of_owner_of(miner_id: str) -> ColumnElement[bool]:
    owned = select(enrolments.c.enrolment_id).where(enrolments.c.owner == _owner(miner_id).scalar_subquery())
    return miners.c.enrolment_id.in_(owned)


def count_active(connection: Connection, seen_after: float) -> int:
    """Return how many miners are online and not paused."""
    query = select(func.count()).where(miners.c.seen_at >= seen_after, miners.c.paused.is_(None), _IS_PRESENT)
    return int(connection.execute(query.select_from(miners)).scalar_one())


def count_versions(connection: Connection) -> dict[str | None, int]:
    """Return how many miners have each version of the agent, without removed ones."""
    query = select(miners.c.agent_version, func.count()).where(_IS_PRESENT).group_by(miners.c.agent_version)
    return {version: int(number) for version, number in connection.execute(query)}


def save(connection: Connection, record: MinerRecord) -> None:
    """Store a new or an existing miner."""
    values = records.values(record)
    changed = connection.execute(update(miners).where(miners.c.miner_id == record.miner_id).values(values))
    # An update first: a miner registers at every start of its agent, and joins only once.
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
    values = {"key": miner_id, "seen_at": now, "telemetry": telemetry, "paused": paused, "activity": activity}
    if capabilities is not None and runners is not None:
        # Most heartbeats have none: rewriting them every few seconds would be most of what the database writes.
        values |= {"capabilities": capabilities, "runners": runners}
    _touch.run(connection, values)


def set_agent_version(connection: Connection, miner_id: str, agent_version: str) -> None:
    """Store the version of a known miner's agent."""
    connection.execute(
        update(miners).where(miners.c.miner_id == miner_id).values(agent_version=agent_version)
    )


def end_session(connection: Connection, miner_id: str, unusable_sha256: str) -> None:
    """Invalidate the token of the miner's session. `unusable_sha256` is the digest of a discarded secret."""
    connection.execute(
        update(miners).where(miners.c.miner_id == miner_id).values(session_sha256=unusable_sha256)
    )


def last_faults(connection: Connection, miner_ids: Iterable[str]) -> dict[str, LastFault]:
    """Return the last run of each of these miners that ended by the miner's fault."""
    faults = {}
    for miner_id in miner_ids:
        if (row := _last_fault.row(connection, {"key": miner_id})) is not None:
            faults[miner_id] = LastFault(*row)
    return faults
