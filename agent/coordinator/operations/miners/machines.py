"""Miners as their owners and the operator see them: the machine, what it does, why it does nothing, what it earned."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from agent.coordinator.operations.accounts.access import Caller, Role
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners import commands
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import commands as command_store
from agent.coordinator.store import jobs as job_store
from agent.coordinator.store import miner_stats
from agent.coordinator.store import miners as store
from agent.coordinator.store.jobs import RunningJob
from agent.coordinator.store.miner_stats import DAY_SECONDS, DayEarnings
from agent.coordinator.store.miners import MinerRecord
from agent.core.market.reputation import shown
from agent.core.values.quantities import format_money, format_time, from_units

View = dict[str, Any]


async def all_of(context: Context, caller: Caller, *, limit: int, offset: int) -> View:
    """The caller's miner; for administrators all, the newest first."""
    return await context.database.read(_all_of, context, caller, limit, offset)


def _all_of(connection: Connection, context: Context, caller: Caller, limit: int, offset: int) -> View:
    if caller.role is Role.ADMIN:
        records, total = store.page(connection, limit=limit, offset=offset)
    else:
        own = store.find(connection, caller.miner_id or "")
        everything = [] if own is None else [own]
        records, total = everything[offset : offset + limit], len(everything)
    return {"miners": _views(connection, context, records), "total": total, "limit": limit, "offset": offset}


async def one(context: Context, caller: Caller, miner_id: str) -> View:
    """A miner of the caller's. Raises `NotFound`."""
    return await context.database.read(_one, context, caller, miner_id)


def _one(connection: Connection, context: Context, caller: Caller, miner_id: str) -> View:
    return _views(connection, context, [commands.of_caller(connection, caller, miner_id)])[0]


def _views(connection: Connection, context: Context, records: list[MinerRecord]) -> list[View]:
    miner_ids = [record.miner_id for record in records]
    running: defaultdict[str, list[RunningJob]] = defaultdict(list)
    for job in job_store.running_of(connection, miner_ids):
        running[job.miner_id].append(job)
    ordered = command_store.waiting_for(connection, miner_ids)
    now, seen_after = context.clock(), offline_before(context)
    views = []
    for record in records:
        standing = miner_stats.find(connection, record.miner_id)
        view = _machine(context, record, seen_after)
        view["jobs"] = [_job(job) for job in running[record.miner_id]]
        view["commands"] = [
            {**commands.on_the_wire(command), "created_at": format_time(command.created_at)}
            for command in ordered.get(record.miner_id, ())
        ]
        view["reputation"] = shown(standing.evidence, now)
        view["total_earned"] = format_money(from_units(standing.earned))
        views.append(view)
    return views


def _machine(context: Context, record: MinerRecord, seen_after: float) -> View:
    capabilities = json.loads(record.capabilities)
    activity = json.loads(record.activity or "{}")
    return {
        "miner_id": record.miner_id,
        "name": record.name,
        "online": record.seen_at >= seen_after,
        "seen_at": format_time(record.seen_at),
        "registered_at": format_time(record.registered_at),
        "session": record.session,
        "agent_version": record.agent_version,
        "paused": record.paused,
        "slots": capabilities["slots"],
        "cpu_cores": capabilities["cpu_cores"],
        "memory": capabilities["memory"],
        "disk_free": capabilities["disk_free"],
        "sandbox": capabilities.get("sandbox"),
        "gpus": _gpus(record, capabilities),
        "services": [
            {**_service(service_id, offer), "unit": _unit(context, service_id, capabilities)}
            for service_id, offer in capabilities["services"].items()
        ],
        "unavailable": capabilities["unavailable"],
        "idle": activity.get("idle", []),
        "downloads": activity.get("downloads", []),
    }


def _gpus(record: MinerRecord, capabilities: View) -> list[View]:
    """What was registered of each card, with what was measured of it last."""
    measured = {gpu.get("uuid"): gpu for gpu in json.loads(record.telemetry)}
    fixed = ("uuid", "index", "name", "driver", "compute_capability")
    changing = ("memory_total", "memory_free", "utilization", "temperature", "power", "power_limit", "paused")
    cards = []
    for gpu in capabilities["gpus"]:
        said = measured.get(gpu["uuid"], {})
        card = {name: gpu.get(name) for name in fixed}
        for name in changing:
            value = said.get(name)
            card[name] = gpu.get(name) if value is None else value
        cards.append(card)
    return cards


def _service(service_id: str, offer: View) -> View:
    """What the miner says of a service. What it does not say, an older agent may not know of."""
    names = ("models", "loaded", "unavailable_models", "unit_price", "concurrency", "downloadable", "score")
    return {"service_id": service_id, **{name: offer.get(name) for name in names}}


def _unit(context: Context, service_id: str, capabilities: View) -> str | None:
    """What the service is metered in on this machine; None for a service that only the miner knows."""
    definition = context.services.get(service_id)
    return None if definition is None else definition.unit_on("cuda" if capabilities["gpus"] else "cpu")


def _job(job: RunningJob) -> View:
    started_at = None if job.started_at is None else format_time(job.started_at)
    return {
        "job_id": job.job_id,
        "service_id": job.service,
        "progress": int(job.progress),
        "started_at": started_at,
    }


async def earnings(context: Context, caller: Caller, miner_id: str, days: int) -> View:
    """What a miner of the caller's earned on each of the last days, today included. Raises `NotFound`."""
    return await context.database.read(_earnings, caller, miner_id, days, context.clock())


def _earnings(connection: Connection, caller: Caller, miner_id: str, days: int, now: float) -> View:
    commands.of_caller(connection, caller, miner_id)
    today = int(now // DAY_SECONDS)
    first = today - days + 1
    found = miner_stats.earnings(connection, miner_id, first)
    shown_days = [(day, found.get(day, DayEarnings())) for day in range(first, today + 1)]
    return {
        "miner_id": miner_id,
        "days": [
            {"date": _date(day), "amount": format_money(from_units(of_day.earned)), "jobs": of_day.jobs}
            for day, of_day in shown_days
        ],
        "total": format_money(from_units(sum(of_day.earned for _, of_day in shown_days))),
    }


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()
