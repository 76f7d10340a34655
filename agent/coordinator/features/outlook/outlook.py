"""What a machine like one of the caller's earns here."""

from __future__ import annotations

import json
from typing import Final

from agent.coordinator.features.outlook import store
from agent.coordinator.features.outlook.estimate import Basis, HourlyRange, estimate, hardware_of
from agent.coordinator.features.outlook.settings import OutlookSettings
from agent.coordinator.operations import supply
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.coordinator.store import miners
from agent.core.values.quantities import format_units
from agent.sections import section_of
from aitbc.answers.miners import EarningRange, MinerOutlook, ServiceOutlook

SAMPLE_SECONDS: Final = 60.0
"""Pause between two looks at who is online."""
HOURS_A_DAY: Final = 24


def of_machine(connection: Connection, context: Context, caller: Caller, miner_id: str) -> MinerOutlook:
    """Return what machines with the hardware of one of the caller's earn. Raises `NotFound`."""
    settings = section_of(context.settings, OutlookSettings)
    hardware = hardware_of(json.loads(of_caller(connection, caller, miner_id).capabilities))
    like = [
        record.miner_id
        for record in miners.all_miners(connection)
        if hardware_of(json.loads(record.capabilities)) == hardware
    ][: settings.outlook_machines]
    first = int(context.clock() // store.DAY_SECONDS) - settings.outlook_days
    basis = estimate(store.online(connection, like, first), store.paid_work(connection, like, first))
    missing = _missing(basis, settings)
    per_hour = None if missing else basis.range
    return MinerOutlook(
        miner_id=miner_id,
        hardware=hardware,
        days=settings.outlook_days,
        machines=basis.machines,
        online_hours=round(basis.hours, 2),
        jobs=basis.jobs,
        missing=missing,
        per_hour=None if per_hour is None else _range(per_hour, 1),
        per_day=None if per_hour is None else _range(per_hour, HOURS_A_DAY),
        services=[
            ServiceOutlook(
                service_id=service,
                jobs=jobs,
                per_hour=format_units(int(earned / basis.hours) if basis.hours else 0),
            )
            for service, (jobs, earned) in sorted(basis.by_service.items(), key=lambda item: -item[1][1])
        ],
    )


def _missing(basis: Basis, settings: OutlookSettings) -> str | None:
    """Return what is missing for an estimate, None if there is one."""
    if basis.jobs < settings.outlook_jobs or basis.range is None or basis.hours < settings.outlook_hours:
        return (
            f"Not enough jobs yet to say. In the last {settings.outlook_days} days, like machines completed {basis.jobs} paid jobs in "
            f"{basis.hours:.0f} hours online; it takes at least {settings.outlook_jobs} jobs and {settings.outlook_hours:g} hours."
        )
    return None


def _range(per_hour: HourlyRange, hours: int) -> EarningRange:
    return EarningRange(
        low=format_units(per_hour.low * hours),
        typical=format_units(per_hour.typical * hours),
        high=format_units(per_hour.high * hours),
    )


async def sample(context: Context) -> None:
    """Count the time since the last sample for the machines that are online and accept jobs."""
    await context.database.write(
        store.add_online, context.clock(), SAMPLE_SECONDS, supply.offline_before(context)
    )
