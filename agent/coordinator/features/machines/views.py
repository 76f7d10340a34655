"""Miners for their owners and the operator: the machine, its work, and the reasons for idle time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from agent import __version__
from agent.coordinator import hooks
from agent.coordinator.features.machines import commands, store
from agent.coordinator.features.machines.store import CommandRecord
from agent.coordinator.hooks import UNKNOWN, TrackRecord
from agent.coordinator.operations.answers import sale_units
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.miners.ownership import of_caller
from agent.coordinator.operations.supply import offline_before
from agent.coordinator.store import counts, miners, running
from agent.coordinator.store.miners import LastFault, MinerRecord
from agent.coordinator.store.running import RunningJob
from agent.core.jobs import JobState
from agent.core.values.quantities import format_optional_time, format_time, format_units
from agent.core.versions import standing, version_advice, version_problem
from aitbc.answers.accounts import Role
from aitbc.answers.miners import (
    DatabaseNumbers,
    FleetVersion,
    MinerCommand,
    MinerDetails,
    MinerEnergy,
    MinerFault,
    MinerGpu,
    MinerJob,
    MinerList,
    MinerSelftest,
    MinerService,
    MinerSummary,
    Overview,
    Replica,
)

Json = dict[str, Any]


def all_of(connection: Connection, context: Context, caller: Caller, limit: int, offset: int) -> MinerList:
    """Return the miners of the caller's fleet, or all miners for administrators, newest first."""
    if caller.role is Role.ADMIN:
        records, total = miners.page(connection, limit=limit, offset=offset)
    else:
        # A fleet is small, so its page is cut out in memory.
        owned = miners.fleet(connection, caller.miner_id or "")
        records, total = owned[offset : offset + limit], len(owned)
    return MinerList(miners=_views(connection, context, records), total=total, limit=limit, offset=offset)


def one(connection: Connection, context: Context, caller: Caller, miner_id: str) -> MinerDetails:
    """Return one of the caller's miners. Raises `NotFound`."""
    return _views(connection, context, [of_caller(connection, caller, miner_id)])[0]


def _views(connection: Connection, context: Context, records: list[MinerRecord]) -> list[MinerDetails]:
    miner_ids = [record.miner_id for record in records]
    running_jobs: defaultdict[str, list[RunningJob]] = defaultdict(list)
    for job in running.of_miners(connection, miner_ids):
        running_jobs[job.miner_id].append(job)
    waiting = store.waiting_for(connection, miner_ids)
    seen_after = offline_before(context)
    return [
        _details(
            connection,
            context,
            record,
            seen_after,
            running_jobs[record.miner_id],
            waiting.get(record.miner_id, ()),
        )
        for record in records
    ]


def _details(
    connection: Connection,
    context: Context,
    record: MinerRecord,
    seen_after: float,
    running_jobs: Sequence[RunningJob],
    waiting: Sequence[CommandRecord],
) -> MinerDetails:
    capabilities = json.loads(record.capabilities)
    activity = json.loads(record.activity or "{}")
    now = context.clock()
    track_record = hooks.track_records(connection, now, [record.miner_id]).get(record.miner_id, UNKNOWN)
    return MinerDetails(
        **_registered(record, seen_after),
        slots=capabilities["slots"],
        cpu_cores=capabilities["cpu_cores"],
        memory=capabilities["memory"],
        disk_free=capabilities["disk_free"],
        sandbox=capabilities.get("sandbox"),
        gpus=_gpus(record, capabilities),
        services=[
            _service(context, service_id, offer, "cuda" if capabilities["gpus"] else "cpu")
            for service_id, offer in capabilities["services"].items()
        ],
        unavailable=capabilities["unavailable"],
        idle=activity.get("idle", []),
        downloads=activity.get("downloads", []),
        jobs=[_job(job) for job in running_jobs],
        commands=[_waiting(command) for command in waiting],
        reputation=track_record.reputation,
        total_earned=format_units(track_record.earned),
        throttled_until=_throttled_until(connection, context, record.miner_id, now),
        energy=_energy(activity.get("energy")),
        selftest=_selftest(capabilities.get("selftest")),
    )


def _registered(record: MinerRecord, seen_after: float) -> Json:
    """Return the fields of `RegisteredMiner` that a miner's row has. It is online if it was seen at `seen_after` or later."""
    return {
        "miner_id": record.miner_id,
        "name": record.name,
        "online": record.seen_at >= seen_after,
        "seen_at": format_time(record.seen_at),
        "registered_at": format_time(record.registered_at),
        "session": record.session,
        "agent_version": record.agent_version,
        "version_problem": version_problem(record.agent_version, __version__),
        "version_advice": version_advice(record.agent_version, __version__),
        "paused": record.paused,
    }


def _energy(reported: Json | None) -> MinerEnergy | None:
    return None if reported is None else MinerEnergy.model_validate(reported)


def _selftest(reported: Json | None) -> MinerSelftest | None:
    if reported is None:
        return None
    return MinerSelftest.model_validate({**reported, "began_at": format_time(reported["began_at"])})


def _throttled_until(connection: Connection, context: Context, miner_id: str, now: float) -> str | None:
    pauses = hooks.restraints(connection, context.settings, now).pauses
    return format_optional_time(pauses.get((miner_id, hooks.WHOLE)))


def _waiting(command: CommandRecord) -> MinerCommand:
    command_fields = commands.on_the_wire(command).model_dump(exclude={"settings"})
    return MinerCommand(**command_fields, created_at=format_time(command.created_at))


def _gpus(record: MinerRecord, capabilities: Json) -> list[MinerGpu]:
    """Return each GPU as registered, with its latest telemetry."""
    # Telemetry may name GPUs that are no longer registered, and lack others.
    measured = {gpu.get("uuid"): gpu for gpu in json.loads(record.telemetry)}
    cards = []
    for gpu in capabilities["gpus"]:
        # A GPU that reports no value now keeps the registered one.
        latest = {name: value for name, value in measured.get(gpu["uuid"], {}).items() if value is not None}
        values = {**gpu, **latest}
        cards.append(MinerGpu(**{name: values.get(name) for name in MinerGpu.model_fields}))
    return cards


def _service(context: Context, service_id: str, offer: Json, device_kind: str) -> MinerService:
    """Return a service as the miner describes it. Older agents do not send all fields, and the coordinator may not know the service."""
    definition = context.catalogue.services.get(service_id)
    reported = {name: offer.get(name) for name in MinerService.model_fields}
    described = {
        "service_id": service_id,
        "unit": None if definition is None else definition.unit_on(device_kind),
        "sale_units": sale_units(definition, device_kind),
    }
    return MinerService(**{**reported, **described})


def _job(job: RunningJob) -> MinerJob:
    return MinerJob(
        job_id=job.job_id,
        service_id=job.service,
        progress=int(job.progress),
        started_at=format_optional_time(job.started_at),
    )


def overview(connection: Connection, context: Context) -> Overview:
    """Return all miners, the jobs by state, and the database's commits and writes since the start, for operators."""
    database = context.database
    records = miners.all_miners(connection)
    return Overview(
        jobs={JobState(state): count for state, count in counts.by_state(connection).items()},
        miners=_summaries(connection, context, records),
        database=DatabaseNumbers(commits=database.commits, writes=database.writes),
        replicas=[
            Replica(
                slot=member.slot,
                host=member.host,
                version=member.version,
                joined_at=format_time(member.joined_at),
                leads=member.leads,
            )
            for member in sorted(context.features.cluster.members)
        ],
        versions=_versions(records, offline_before(context)),
    )


def _versions(records: Sequence[MinerRecord], seen_after: float) -> list[FleetVersion]:
    """Return the versions of all miners, those that need an update first."""
    by_version: defaultdict[str | None, list[MinerRecord]] = defaultdict(list)
    for record in records:
        by_version[record.agent_version].append(record)
    versions = [
        FleetVersion(
            version=version,
            miners=len(of_version),
            online=sum(record.seen_at >= seen_after for record in of_version),
            state=standing(version, __version__),
            advice=version_problem(version, __version__) or version_advice(version, __version__),
        )
        for version, of_version in by_version.items()
    ]
    urgency = ("refused", "ending", "behind", "current", "newer")
    return sorted(versions, key=lambda item: (urgency.index(item.state), item.version or ""))


def _summaries(
    connection: Connection, context: Context, records: Sequence[MinerRecord]
) -> list[MinerSummary]:
    seen_after, now = offline_before(context), context.clock()
    track_records = hooks.track_records(connection, now, None)
    faults = miners.last_faults(connection, [record.miner_id for record in records])
    pauses = hooks.restraints(connection, context.settings, now).pauses
    return [
        _summary(
            record,
            seen_after,
            track_records.get(record.miner_id, UNKNOWN),
            faults.get(record.miner_id),
            pauses.get((record.miner_id, hooks.WHOLE)),
        )
        for record in records
    ]


def _summary(
    record: MinerRecord,
    seen_after: float,
    track_record: TrackRecord,
    fault: LastFault | None,
    throttled_until: float | None,
) -> MinerSummary:
    capabilities = json.loads(record.capabilities)
    return MinerSummary(
        **_registered(record, seen_after),
        excluded_at=format_optional_time(record.excluded_at),
        excluded_reason=record.excluded_reason,
        throttled_until=format_optional_time(throttled_until),
        services=sorted(capabilities["services"]),
        unavailable=capabilities["unavailable"],
        gpus=[gpu["name"] for gpu in capabilities["gpus"]],
        slots=capabilities["slots"],
        reputation=track_record.reputation,
        completed_runs=track_record.completed,
        failed_runs=track_record.failed,
        refused_results=track_record.refused,
        last_fault=None
        if fault is None
        else MinerFault(
            job_id=fault.job_id, time=format_time(fault.ended_at), code=fault.code, message=fault.message
        ),
        total_earned=format_units(track_record.earned),
    )
