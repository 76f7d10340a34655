"""What a miner has earned on each of the last days."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.coordinator.features.reputation.store import miner_stats
from agent.coordinator.features.reputation.store.miner_stats import DAY_SECONDS
from agent.coordinator.operations.accounts.miner_money import where_money_is
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.core.values.quantities import format_money, from_units
from aitbc.answers.miners import DayEarnings, MinerEarnings


def by_day(
    connection: Connection, context: Context, caller: Caller, miner_id: str, days: int
) -> MinerEarnings:
    """Return what one of the caller's miners earned on each of the last days, including today. Raises `NotFound`."""
    of_caller(connection, caller, miner_id, removed=True)
    today = int(context.clock() // DAY_SECONDS)
    first = today - days + 1
    earned = miner_stats.earnings(connection, [miner_id], first)[miner_id]
    # Days without earnings are part of the series too.
    shown_days = [(day, earned.get(day, miner_stats.DailyEarnings())) for day in range(first, today + 1)]
    return MinerEarnings(
        miner_id=miner_id,
        days=[
            DayEarnings(date=_date(day), amount=format_money(from_units(of_day.earned)), jobs=of_day.jobs)
            for day, of_day in shown_days
        ],
        total=format_money(from_units(sum(of_day.earned for _, of_day in shown_days))),
        **where_money_is(connection, context, miner_id),
    )


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()
