"""Statistics of each miner's work, and the evidence for its reputation, updated with every change instead of being counted.

On PostgreSQL a change is a row of `recent_work`, and `fold` moves these into the statistics every second (`store.recent`). Readers add them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, bindparam, delete, func, insert, literal_column, select, text

from agent.coordinator.features.reputation.rules import NOTHING, Evidence, exchange, learn
from agent.coordinator.features.reputation.tables import client_evidence, miner_days, miner_stats, recent_work
from agent.coordinator.store import locks, receipts, recent
from agent.coordinator.store.concurrency import is_concurrent
from agent.coordinator.store.prepared import Prepared
from agent.coordinator.store.receipts import CompletedRun

K = TypeVar("K")
DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class MinerStatistics:
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

    `success` is whether it counts for or against the miner; None: neither. It counts as much as `weight` runs. `run` is the completed run.
    """

    miner_id: str
    account_id: str
    stats: MinerStatistics
    success: bool | None
    weight: float = 1.0
    run: CompletedRun | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of all miners' work."""

    completed: int
    seconds: float
    paid: int
    earned: int


@dataclass(frozen=True, slots=True)
class DailyEarnings:
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
_NAME: Final = "work"
_GIVEN: Final = (
    "miner_id",
    "account_id",
    *_NUMBERS,
    "success",
    "weight",
    "service",
    "model",
    "run_seconds",
    "done_at",
)
_WORK: Final = tuple(recent_work.c[name] for name in ("work_id", *_GIVEN))
_NEW: Final = text(f"part >= {recent.first(_NAME)}")
_insert_work = Prepared(
    insert(recent_work).from_select(
        ["part", *_GIVEN],
        select(
            literal_column(recent.part(_NAME)),
            *(bindparam(name, type_=recent_work.c[name].type) for name in _GIVEN),
        ),
    )
)
_take_work = Prepared(delete(recent_work).where(_NEW).returning(*_WORK))
_all_work = Prepared(select(*_WORK).where(_NEW))
_work_of = Prepared(select(*_WORK).where(recent_work.c.miner_id == bindparam("key"), _NEW))
_any_work = Prepared(select(recent_work.c.work_id).where(_NEW).limit(1))
_totals = select(
    func.coalesce(func.sum(miner_stats.c.completed), 0),
    func.coalesce(func.sum(miner_stats.c.seconds), 0.0),
    func.coalesce(func.sum(miner_stats.c.paid), 0),
    func.coalesce(func.sum(miner_stats.c.earned), 0),
)


def find(connection: Connection, miner_id: str) -> MinerStatistics:
    """Return the statistics of a miner."""
    row = _stats.row(connection, {"key": miner_id})
    return _with_recent(connection, {} if row is None else {miner_id: _from_row(row)}, miner_id).get(
        miner_id, MinerStatistics()
    )


def all_stats(connection: Connection) -> dict[str, MinerStatistics]:
    """Return the statistics of all miners that have any."""
    query = select(miner_stats.c.miner_id, *(miner_stats.c[name] for name in _NUMBERS), *_EVIDENCE)
    return _with_recent(connection, {row[0]: _from_row(tuple(row[1:])) for row in connection.execute(query)})


def _from_row(row: tuple[Any, ...]) -> MinerStatistics:
    numbers = dict(zip(_NUMBERS, row, strict=False))  # the remaining columns are the evidence
    return MinerStatistics(**numbers, evidence=Evidence(*row[len(_NUMBERS) :]))


def _with_recent(
    connection: Connection, stats: dict[str, MinerStatistics], miner_id: str | None = None
) -> dict[str, MinerStatistics]:
    """Return the statistics with recent work, of one miner or of all."""
    changes = _changes(connection, _recent(connection, miner_id))
    for changed_id, numbers in changes.numbers.items():
        lasting = stats.get(changed_id, MinerStatistics())
        sums = {name: getattr(lasting, name) + numbers[name] for name in _NUMBERS}
        stats[changed_id] = MinerStatistics(**sums, evidence=changes.of_miner[changed_id])
    return stats


def add(connection: Connection, works: Sequence[Work], now: float) -> None:
    """Add work to the statistics of its miners, to what they earned on the current UTC day, and to the typical durations.

    A transaction calls this once.
    """
    if not is_concurrent(connection):
        _apply(connection, [(work, now) for work in works])
        return
    rows = [
        {
            "miner_id": work.miner_id,
            "account_id": work.account_id,
            **{name: getattr(work.stats, name) for name in _NUMBERS},
            "success": None if work.success is None else int(work.success),
            "weight": work.weight,
            "service": work.run and work.run.service,
            "model": work.run and work.run.model,
            "run_seconds": work.run and work.run.seconds,
            "done_at": now,
        }
        for work in works
    ]
    _insert_work.run_many(connection, rows)


def anything_recent(connection: Connection) -> bool:
    """Return whether `fold` has anything to do."""
    return bool(_any_work.rows(connection))


def fold(connection: Connection) -> None:
    """Move recent work into the statistics."""
    if not is_concurrent(connection) or not locks.if_free(connection, "fold work"):
        return
    first = recent.first_open(connection)
    if works := _take_work.rows(connection):
        _apply(connection, [_work(row) for row in sorted(works)])
        recent.record(connection, _NAME, first)


def _recent(connection: Connection, miner_id: str | None = None) -> list[tuple[Work, float]]:
    """Return recent work, of one miner or of all, and when each was done."""
    if not is_concurrent(connection):
        return []
    rows = _all_work.rows(connection) if miner_id is None else _work_of.rows(connection, {"key": miner_id})
    return [_work(row) for row in sorted(rows)]


def _work(row: tuple[Any, ...]) -> tuple[Work, float]:
    """Return the work of a row with the columns of `_WORK`."""
    _, miner_id, account_id, *numbers, success, weight, service, model, run_seconds, done_at = row
    stats = MinerStatistics(*numbers)
    run = None if service is None else CompletedRun(service, model, run_seconds)
    return Work(miner_id, account_id, stats, None if success is None else bool(success), weight, run), done_at


@dataclass(frozen=True, slots=True)
class _Changes:
    """What work changes: sums by miner, the evidence by miner and by miner and client, and earnings by miner and day."""

    numbers: dict[str, dict[str, Any]]
    of_miner: dict[str, Evidence]
    of_client: dict[tuple[str, str], Evidence]
    days: dict[tuple[str, int], Counter[str]]


def _changes(connection: Connection, works: Sequence[tuple[Work, float]]) -> _Changes:
    """Return what work changes that was done at these times, in this order."""
    miner_ids = sorted({work.miner_id for work, _ in works})
    pairs = sorted({(work.miner_id, work.account_id) for work, _ in works if work.success is not None})
    of_miner = _known(connection, _total_evidence, miner_ids, [{"key": miner_id} for miner_id in miner_ids])
    of_client = _known(
        connection, _client_evidence, pairs, [{"key": key, "client": client} for key, client in pairs]
    )
    numbers = {miner_id: dict.fromkeys(_NUMBERS, 0) for miner_id in miner_ids}
    days: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for work, now in works:
        sums = numbers[work.miner_id]
        for name in _NUMBERS:
            sums[name] += getattr(work.stats, name)
        if work.success is not None:
            pair = (work.miner_id, work.account_id)
            earlier = of_client[pair]
            of_client[pair] = learn(earlier, work.success, now, work.weight)
            # The miner's evidence is the sum over its clients, so only this client's part is replaced.
            of_miner[work.miner_id] = exchange(of_miner[work.miner_id], earlier, of_client[pair])
        if work.stats.paid:
            days[work.miner_id, int(now // DAY_SECONDS)].update(jobs=1, earned=work.stats.earned)
    return _Changes(numbers, of_miner, of_client, days)


def _apply(connection: Connection, works: Sequence[tuple[Work, float]]) -> None:
    """Store what work changes."""
    # Evidence is read, changed and written back: two transactions at once would lose one of the changes.
    locks.statistics(connection, {work.miner_id for work, _ in works})
    changes = _changes(connection, works)
    evidence = [
        {"account_id": client, **_values(miner_id, evidence)}
        for (miner_id, client), evidence in changes.of_client.items()
    ]
    _save_evidence.run_many(connection, evidence)
    rows = [{**sums, **_values(key, changes.of_miner[key])} for key, sums in changes.numbers.items()]
    _add.run_many(connection, rows)
    _earn.run_many(
        connection,
        [
            {"miner_id": miner_id, "day": day, **earned}
            for (miner_id, day), earned in sorted(changes.days.items())
        ],
    )
    receipts.learn_durations(connection, [work.run for work, _ in works if work.run is not None])


def _known(
    connection: Connection, query: Prepared, keys: Sequence[K], values: Sequence[Mapping[str, str]]
) -> dict[K, Evidence]:
    """Return the stored evidence by key; `values` are the keys as the query needs them."""
    rows_by_key = query.rows_each(connection, values)
    return {key: Evidence(*rows[0]) if rows else NOTHING for key, rows in zip(keys, rows_by_key, strict=True)}


def earnings(
    connection: Connection, miner_ids: Sequence[str], first_day: int
) -> dict[str, dict[int, DailyEarnings]]:
    """Return the earnings of each of these miners by day since the epoch, from `first_day` on, without days that have none."""
    earnings: dict[str, dict[int, DailyEarnings]] = {miner_id: {} for miner_id in miner_ids}
    query = select(miner_days.c.miner_id, miner_days.c.day, miner_days.c.jobs, miner_days.c.earned)
    of_these = query.where(miner_days.c.miner_id.in_(miner_ids), miner_days.c.day >= first_day)
    for miner_id, day, jobs, earned in connection.execute(of_these):
        earnings[miner_id][day] = DailyEarnings(jobs, earned)
    for (miner_id, day), added in _changes(connection, _recent(connection)).days.items():
        if miner_id in earnings and day >= first_day:
            earlier = earnings[miner_id].get(day, DailyEarnings())
            earnings[miner_id][day] = DailyEarnings(
                earlier.jobs + added["jobs"], earlier.earned + added["earned"]
            )
    return earnings


def earned_from(connection: Connection, first_day: int, miner_id: str | None = None) -> dict[str, int]:
    """Return what miners, or this one, have earned from `first_day` on, in units of 1e-8."""
    query = select(miner_days.c.miner_id, func.sum(miner_days.c.earned)).where(miner_days.c.day >= first_day)
    if miner_id is not None:
        query = query.where(miner_days.c.miner_id == miner_id)
    rows = connection.execute(query.group_by(miner_days.c.miner_id))
    amounts: Counter[str] = Counter({earner: int(amount) for earner, amount in rows})
    for (earner, day), added in _changes(connection, _recent(connection, miner_id)).days.items():
        if day >= first_day:
            amounts[earner] += added["earned"]
    return dict(amounts)


def _values(miner_id: str, evidence: Evidence) -> dict[str, str | float]:
    return {
        "miner_id": miner_id,
        "good": evidence.good,
        "bad": evidence.bad,
        "evidence_at": evidence.at,
    }


def totals(connection: Connection) -> Totals:
    """Return the totals of all miners. The cost grows with the number of miners, not of jobs."""
    completed, seconds, paid, earned = connection.execute(_totals).one()
    recent = [work.stats for work, _ in _recent(connection)]
    return Totals(
        int(completed) + sum(stats.completed for stats in recent),
        float(seconds) + sum(stats.seconds for stats in recent),
        int(paid) + sum(stats.paid for stats in recent),
        int(earned) + sum(stats.earned for stats in recent),
    )
