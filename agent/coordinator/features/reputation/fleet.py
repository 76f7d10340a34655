"""All machines of one owner as one: what they can do together, what each does, and what they have earned."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.features.reputation.store.miner_stats import DAY_SECONDS
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import miners, running
from agent.coordinator.store.miners import MinerRecord
from agent.core.values.quantities import format_units
from aitbc.answers.accounts import Role
from aitbc.answers.miners import DayEarnings, FleetMiner, MinerFleet

Days = Mapping[int, miner_stats.DailyEarnings]


def of_caller(connection: Connection, context: Context, caller: Caller, days: int) -> MinerFleet:
    """Return the caller's fleet, or for administrators all miners, with the earnings of the last days, including today."""
    if caller.role is Role.ADMIN:
        owner, records = None, miners.all_miners(connection)
    else:
        miner_id = caller.miner_id or ""
        owner, records = miners.owner_of(connection, miner_id), miners.fleet(connection, miner_id)
    # All miners in few queries: an owner may have hundreds.
    ids = [record.miner_id for record in records]
    today = int(context.clock() // DAY_SECONDS)
    earned = miner_stats.earnings(connection, ids, today - days + 1)
    running_jobs = Counter(job.miner_id for job in running.of_miners(connection, ids))
    seen_after = offline_before(context)
    stats = {miner_id: miner_stats.find(connection, miner_id) for miner_id in ids}
    fleet_miners = [
        _miner(
            record,
            seen_after,
            running_jobs[record.miner_id],
            earned[record.miner_id].get(today),
            stats[record.miner_id],
        )
        for record in records
    ]
    return MinerFleet(
        owner=owner,
        online=sum(miner.online for miner in fleet_miners),
        gpus=sum(len(miner.gpus) for miner in fleet_miners),
        slots=sum(miner.slots for miner in fleet_miners),
        running=sum(miner.running for miner in fleet_miners),
        days=[_sum(list(earned.values()), day) for day in range(today - days + 1, today + 1)],
        earned_today=_money(of_day.earned for by_day in earned.values() if (of_day := by_day.get(today))),
        total_earned=_money(of_miner.earned for of_miner in stats.values()),
        miners=fleet_miners,
    )


def _miner(
    record: MinerRecord,
    seen_after: float,
    running_jobs: int,
    today: miner_stats.DailyEarnings | None,
    stats: miner_stats.MinerStatistics,
) -> FleetMiner:
    capabilities = json.loads(record.capabilities)
    return FleetMiner(
        miner_id=record.miner_id,
        name=record.name,
        online=record.seen_at >= seen_after,
        paused=record.paused,
        gpus=[gpu["name"] for gpu in capabilities["gpus"]],
        slots=capabilities["slots"],
        running=running_jobs,
        earned_today=_money([0 if today is None else today.earned]),
        total_earned=_money([stats.earned]),
    )


def _sum(earned: Sequence[Days], day: int) -> DayEarnings:
    of_day = [by_day[day] for by_day in earned if day in by_day]
    return DayEarnings(
        date=datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat(),
        amount=_money(day_sum.earned for day_sum in of_day),
        jobs=sum(day_sum.jobs for day_sum in of_day),
    )


def _money(units: Iterable[int]) -> str:
    return format_units(sum(units))
