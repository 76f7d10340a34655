"""Statistics of each miner's work, and the evidence for its reputation, updated with every change instead of being counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, bindparam, func, select, text

from agent.coordinator.store import locks
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.schema.tables import client_evidence, miner_days, miner_stats
from agent.core.market.reputation import NOTHING, Evidence, exchange, learn

K = TypeVar("K")
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class MinerStats:
    """Statistics of a miner's work so far.

    `failed` counts runs that failed by the miner's fault, `client_failed` those that failed by the client's fault as the miner
    reported, and `refused` invalid statements. `seconds` is the total time of completed runs. `paid` is what clients paid and `earned`
    what the miner received, in units of 1e-8.
    """

    completed: int = 0
    failed: int = 0
    client_failed: int = 0
    refused: int = 0
    seconds: float = 0.0
    paid: int = 0
    earned: int = 0
    evidence: Evidence = NOTHING


@dataclass(frozen=True, slots=True)
class Work:
    """What a run for an account adds to a miner's statistics.

    `success` is whether it counts for or against the miner; None: neither. It counts as much as `weight` runs.
    """

    miner_id: str
    account_id: str
    more: MinerStats
    success: bool | None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of all miners' work."""

    completed: int
    seconds: float
    paid: int


@dataclass(frozen=True, slots=True)
class DayEarnings:
    """A miner's earnings on one day, in units of 1e-8, and the number of jobs."""

    jobs: int = 0
    earned: int = 0


_NUMBERS = ("completed", "failed", "client_failed", "refused", "seconds", "paid", "earned")
_EVIDENCE = (miner_stats.c.good, miner_stats.c.bad, miner_stats.c.evidence_at)
_add = Prepared(
    text(
        "INSERT INTO miner_stats (miner_id, completed, failed, client_failed, refused, seconds, paid, earned, good, bad, evidence_at) "
        "VALUES (:miner_id, :completed, :failed, :client_failed, :refused, :seconds, :paid, :earned, :good, :bad, :evidence_at) "
        "ON CONFLICT (miner_id) DO UPDATE SET completed = miner_stats.completed + excluded.completed, "
        "failed = miner_stats.failed + excluded.failed, "
        "client_failed = miner_stats.client_failed + excluded.client_failed, refused = miner_stats.refused + excluded.refused, "
        "seconds = miner_stats.seconds + excluded.seconds, paid = miner_stats.paid + excluded.paid, "
        "earned = miner_stats.earned + excluded.earned, good = excluded.good, bad = excluded.bad, "
        "evidence_at = excluded.evidence_at"
    )
)
_save_evidence = Prepared(
    text(
        "INSERT INTO client_evidence (miner_id, account_id, good, bad, evidence_at) "
        "VALUES (:miner_id, :account_id, :good, :bad, :evidence_at) ON CONFLICT (miner_id, account_id) "
        "DO UPDATE SET good = excluded.good, bad = excluded.bad, evidence_at = excluded.evidence_at"
    )
)
_stats = Prepared(
    select(*(miner_stats.c[name] for name in _NUMBERS), *_EVIDENCE).where(
        miner_stats.c.miner_id == bindparam("key")
    )
)
_total_evidence = Prepared(select(*_EVIDENCE).where(miner_stats.c.miner_id == bindparam("key")))
_client_evidence = Prepared(
    select(client_evidence.c.good, client_evidence.c.bad, client_evidence.c.evidence_at).where(
        client_evidence.c.miner_id == bindparam("key"), client_evidence.c.account_id == bindparam("client")
    )
)
_earn = Prepared(
    text(
        "INSERT INTO miner_days (miner_id, day, jobs, earned) VALUES (:miner_id, :day, :jobs, :earned) "
        "ON CONFLICT (miner_id, day) DO UPDATE SET jobs = miner_days.jobs + excluded.jobs, earned = miner_days.earned + excluded.earned"
    )
)
_totals = select(
    func.coalesce(func.sum(miner_stats.c.completed), 0),
    func.coalesce(func.sum(miner_stats.c.seconds), 0.0),
    func.coalesce(func.sum(miner_stats.c.paid), 0),
)


def find(connection: Connection, miner_id: str) -> MinerStats:
    """Return the statistics of a miner."""
    row = _stats.row(connection, {"key": miner_id})
    return MinerStats() if row is None else _from_row(row)


def all_stats(connection: Connection) -> dict[str, MinerStats]:
    """Return the statistics of all miners that have any."""
    query = select(miner_stats.c.miner_id, *(miner_stats.c[name] for name in _NUMBERS), *_EVIDENCE)
    return {row[0]: _from_row(tuple(row[1:])) for row in connection.execute(query)}


def _from_row(row: tuple[Any, ...]) -> MinerStats:
    numbers = dict(zip(_NUMBERS, row, strict=False))  # the remaining columns are the evidence
    return MinerStats(**numbers, evidence=Evidence(*row[len(_NUMBERS) :]))


def add(connection: Connection, works: Sequence[Work], now: float) -> None:
    """Add work to the statistics of its miners, and what it earned to their current UTC day. A transaction calls this once."""
    miner_ids = sorted({work.miner_id for work in works})
    pairs = sorted({(work.miner_id, work.account_id) for work in works if work.success is not None})
    locks.statistics(connection, miner_ids)
    of_miner = evidence_of(connection, miner_ids)
    of_client = _known(
        connection, _client_evidence, pairs, [{"key": key, "client": client} for key, client in pairs]
    )
    numbers = {miner_id: dict.fromkeys(_NUMBERS, 0) for miner_id in miner_ids}
    days: dict[str, Counter[str]] = {}
    for work in works:
        sums = numbers[work.miner_id]
        for name in _NUMBERS:
            sums[name] += getattr(work.more, name)
        if work.success is not None:
            pair = (work.miner_id, work.account_id)
            before = of_client[pair]
            of_client[pair] = learn(before, work.success, now, work.weight)
            of_miner[work.miner_id] = exchange(of_miner[work.miner_id], before, of_client[pair])
        if work.more.paid:
            days.setdefault(work.miner_id, Counter()).update(jobs=1, earned=work.more.earned)
    evidence = [{"account_id": pair[1], **_values(pair[0], of_client[pair])} for pair in pairs]
    _save_evidence.run_many(connection, evidence)
    _add.run_many(connection, [{**sums, **_values(key, of_miner[key])} for key, sums in numbers.items()])
    day = int(now // DAY_SECONDS)
    _earn.run_many(
        connection,
        [{"miner_id": miner_id, "day": day, **earned} for miner_id, earned in sorted(days.items())],
    )


def evidence_of(connection: Connection, miner_ids: Sequence[str]) -> dict[str, Evidence]:
    """Return the evidence of each of these miners."""
    return _known(connection, _total_evidence, miner_ids, [{"key": miner_id} for miner_id in miner_ids])


def _known(
    connection: Connection, query: Prepared, keys: Sequence[K], values: Sequence[Mapping[str, str]]
) -> dict[K, Evidence]:
    """Return the stored evidence by key; `values` are the keys as the query needs them."""
    found = query.rows_each(connection, values)
    return {key: Evidence(*rows[0]) if rows else NOTHING for key, rows in zip(keys, found, strict=True)}


def earnings(connection: Connection, miner_id: str, first_day: int) -> dict[int, DayEarnings]:
    """Return a miner's earnings by day since the epoch, from `first_day` on, without days that have none."""
    query = select(miner_days.c.day, miner_days.c.jobs, miner_days.c.earned).where(
        miner_days.c.miner_id == miner_id, miner_days.c.day >= first_day
    )
    return {day: DayEarnings(jobs, earned) for day, jobs, earned in connection.execute(query)}


def earnings_of_all(
    connection: Connection, miner_ids: Sequence[str], first_day: int
) -> dict[str, dict[int, DayEarnings]]:
    """Return what `earnings` returns, for each of these miners."""
    found: dict[str, dict[int, DayEarnings]] = {miner_id: {} for miner_id in miner_ids}
    query = select(miner_days.c.miner_id, miner_days.c.day, miner_days.c.jobs, miner_days.c.earned)
    of_these = query.where(miner_days.c.miner_id.in_(miner_ids), miner_days.c.day >= first_day)
    for miner_id, day, jobs, earned in connection.execute(of_these):
        found[miner_id][day] = DayEarnings(jobs, earned)
    return found


def _values(miner_id: str, evidence: Evidence) -> dict[str, str | float]:
    return {
        "miner_id": miner_id,
        "good": evidence.good,
        "bad": evidence.bad,
        "evidence_at": evidence.at,
    }


def totals(connection: Connection) -> Totals:
    """Return the totals of all miners. The cost grows with the number of miners, not of jobs."""
    completed, seconds, paid = connection.execute(_totals).one()
    return Totals(int(completed), float(seconds), int(paid))
