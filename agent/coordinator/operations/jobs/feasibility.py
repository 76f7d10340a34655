"""Whether the known miners can run a job: the refusal of jobs that none can ever run, and the ground for estimates."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from decimal import Decimal

from agent.coordinator import hooks
from agent.coordinator.hooks import NewJob, Refusal
from agent.coordinator.operations.caches import Fleet
from agent.coordinator.operations.context import Connection, Context
from agent.coordinator.operations.supply import fleet
from agent.coordinator.store import queue
from agent.coordinator.store.jobs import JobRecord
from agent.core import feasibility
from agent.core.errors import ApiError, CannotRun
from agent.core.feasibility import KnownMiner, ModelDemand, Situation
from agent.core.matching import Waiting


def situation(
    context: Context,
    service: str,
    model: str | None,
    miners: tuple[KnownMiner, ...] = (),
    units: Decimal | None = None,
) -> Situation:
    """Return the situation of jobs of a service and model, whose requests determine `units`."""
    definition = context.catalogue.services.get(service)
    entry = None if model is None else context.catalogue.models.get(model)
    return Situation(
        miners,
        context.clock(),
        unit="unit" if definition is None else definition.unit,
        units=units,
        model=None if entry is None else ModelDemand(entry.vram_min, entry.memory, entry.fetchable),
    )


async def require_feasible(context: Context, job: NewJob, units: Decimal | None) -> None:
    """Raise `CannotRun` if no known miner can ever run a new job, unless a feature accepts it all the same.

    The known miners are a few seconds old; before a job is refused, they are read again.
    """
    for now in (False, True):
        known_fleet = await fleet(context, now=now)
        if _feasible(context, known_fleet, job.record, units):
            return
    error = await context.database.read(_refusal, context, known_fleet, job, units)
    if error is not None:
        raise error


def _refusal(
    connection: Connection, context: Context, known_fleet: Fleet, job: NewJob, units: Decimal | None
) -> ApiError | None:
    """Return the error for a job that no known miner can ever run, None if it is accepted all the same."""
    circumstances = situation(context, job.record.service, job.record.model, known_fleet.miners, units)
    refusal = Refusal(job, circumstances, CannotRun("No known miner can run this job."))
    hooks.job_refused(connection, context, refusal)
    return refusal.error


def _feasible(context: Context, known_fleet: Fleet, record: JobRecord, units: Decimal | None) -> bool:
    return known_fleet.answer(
        ("feasible", _kind(record), units),
        lambda: feasibility.feasible(
            _new(record), situation(context, record.service, record.model, known_fleet.miners, units)
        ),
    )


def runnable(context: Context, known_fleet: Fleet, record: JobRecord) -> bool:
    """Return whether one of the known miners can run the waiting job at present, once it has free capacity."""
    if not known_fleet.miners:
        return True
    circumstances = situation(context, record.service, record.model, known_fleet.miners)
    return known_fleet.answer(
        ("runnable", _kind(record)), lambda: feasibility.runnable(_new(record), circumstances)
    )


def answered(known_fleet: Fleet, record: JobRecord) -> bool:
    """Return whether `runnable` was asked about such a job since the miners were read."""
    return ("runnable", _kind(record)) in known_fleet.answers


def _new(record: JobRecord) -> Waiting:
    """Return the job as if it had never run: whom it avoids differs between jobs of a kind, and soon ends."""
    return replace(queue.waiting_job(record), avoid_miner_id=None, failed_on=frozenset())


def _kind(record: JobRecord) -> tuple[Hashable, ...]:
    """Return everything about a job that decides which miners can run it."""
    price = record.max_cost if record.agreed_price is None else None
    resources = (record.cpu_millis, record.memory, record.gpus)
    return (
        record.service,
        record.model,
        *resources,
        price,
        record.requested_miner_id,
        record.needs,
        record.restrictions,
    )
