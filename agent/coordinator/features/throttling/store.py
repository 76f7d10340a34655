"""Tallies of leases that miners handed back, and of failures that clients caused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, select, text

from agent.coordinator.features.throttling.rules import Tally
from agent.coordinator.features.throttling.tables import client_failures, miner_releases
from agent.coordinator.hooks import WHOLE
from agent.coordinator.store.prepared import Prepared

_releases = Prepared(
    select(miner_releases.c.count, miner_releases.c.counted_at, miner_releases.c.pause_until).where(
        miner_releases.c.miner_id == bindparam("key"), miner_releases.c.service == bindparam("of_service")
    )
)
_save_releases = Prepared(
    text(
        "INSERT INTO miner_releases (miner_id, service, count, counted_at, pause_until) "
        "VALUES (:miner_id, :service, :count, :counted_at, :pause_until) ON CONFLICT (miner_id, service) DO UPDATE SET "
        "count = excluded.count, counted_at = excluded.counted_at, pause_until = excluded.pause_until"
    )
)
_pauses = Prepared(
    select(miner_releases.c.miner_id, miner_releases.c.service, miner_releases.c.pause_until).where(
        miner_releases.c.pause_until > bindparam("moment")
    )
)
_failures = Prepared(
    select(client_failures.c.count, client_failures.c.counted_at).where(
        client_failures.c.account_id == bindparam("key")
    )
)
_save_failures = Prepared(
    text(
        "INSERT INTO client_failures (account_id, count, counted_at) VALUES (:account_id, :count, :counted_at) "
        "ON CONFLICT (account_id) DO UPDATE SET count = excluded.count, counted_at = excluded.counted_at"
    )
)
_many_failures = Prepared(
    select(client_failures.c.account_id, client_failures.c.count, client_failures.c.counted_at).where(
        client_failures.c.count > bindparam("tolerated")
    )
)


@dataclass(frozen=True, slots=True)
class Releases:
    """A miner's tally of leases handed back, and the time until which it therefore gets no jobs.

    With a service: its tally of runs of that service which it could not perform, and the same for that service.
    """

    tally: Tally
    pause_until: float


NONE: Final = Releases(Tally(), 0.0)


def releases_of(connection: Connection, miner_id: str, service: str = WHOLE) -> Releases:
    """Return the miner's tally of leases handed back, or of runs of a service that it could not perform."""
    row = _releases.row(connection, {"key": miner_id, "of_service": service})
    return NONE if row is None else Releases(Tally(row[0], row[1]), row[2])


def save_releases(connection: Connection, miner_id: str, releases: Releases, service: str = WHOLE) -> None:
    """Store the tally that `releases_of` returns."""
    values = {"count": releases.tally.count, "counted_at": releases.tally.at}
    key = {"miner_id": miner_id, "service": service}
    _save_releases.run(connection, {**key, **values, "pause_until": releases.pause_until})


def pauses(connection: Connection, now: float) -> dict[tuple[str, str], float]:
    """Return the miners and services that get no jobs now, by miner and service, and until when."""
    rows = _pauses.rows(connection, {"moment": now})
    return {(miner_id, service): until for miner_id, service, until in rows}


def failures_of(connection: Connection, account_id: str) -> Tally:
    """Return the tally of failures that the account has caused."""
    row = _failures.row(connection, {"key": account_id})
    return Tally() if row is None else Tally(*row)


def save_failures(connection: Connection, account_id: str, tally: Tally) -> None:
    """Store the tally of failures that the account has caused."""
    _save_failures.run(connection, {"account_id": account_id, "count": tally.count, "counted_at": tally.at})


def many_failures(connection: Connection, tolerated: float) -> dict[str, Tally]:
    """Return the tallies of accounts that exceeded `tolerated` when their last failure was counted."""
    rows = _many_failures.rows(connection, {"tolerated": tolerated})
    return {account_id: Tally(count, at) for account_id, count, at in rows}
