"""The coordinator's background tasks, from the start of the application to its end. Of several replicas, the leader runs most of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from agent.coordinator.feature import Feature, Worker
from agent.coordinator.operations import folding, health
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.files import removal
from agent.coordinator.operations.miners import leases
from agent.coordinator.store import recent
from agent.core.errors import ServiceUnavailable
from runners.awake import ClockJumps

UPKEEP_SECONDS: Final = 1.0
UPKEEP_SILENCE_SECONDS: Final = 120.0
"""Time after which a round of the upkeep counts as hung. Thousands of expired leases take seconds."""
UPLOADS_SECONDS: Final = 60.0
ORPHANS_SECONDS: Final = 3600.0

log = structlog.get_logger()


@asynccontextmanager
async def background_tasks(context: Context, features: Sequence[Feature]) -> AsyncIterator[None]:
    """Run the dispatcher, the upkeep and the other tasks, with those of the features. At the end, cancel them and close the database."""
    # First of all: a replica must be a member of the cluster before it may write or lead.
    tasks = [_watched(context, "cluster", _take_part(context))]
    leading: list[asyncio.Task[None]] = []
    try:
        await context.features.cluster.joined()
        await context.feed.begin(context.clock())
        if context.features.cluster.leadership.leads:
            await _begin_leading(context, features, leading)
        tasks += [
            _watched(context, "feed", context.feed.run()),
            _watched(context, "database", health.pulse(context)),
            _watched(context, "leadership", _follow_leadership(context, features, leading)),
            _watched(context, "counts", _repeated(context, recent.SECONDS / 2, folding.fold_changes)),
            _watched(context, "numbers", _repeated(context, UPKEEP_SECONDS, _keep_numbers)),
            *_feature_tasks(context, features, everywhere=True),
        ]
        yield
    finally:
        await _end(tasks)
        await _end(leading)
        # Parts may still use the blobs and the database while they close.
        for part in context.features.parts.values():
            await part.close()
        await context.files.blobs.close()
        context.database.close()


async def _take_part(context: Context) -> None:
    def report() -> None:
        context.monitoring.liveness.report(
            "cluster", asyncio.get_running_loop().time(), UPKEEP_SILENCE_SECONDS
        )

    await context.features.cluster.run(report)


async def _keep_numbers(context: Context) -> None:
    await context.feed.keep_numbers(context.clock())


def _feature_tasks(
    context: Context, features: Sequence[Feature], *, everywhere: bool
) -> list[asyncio.Task[None]]:
    """Start the tasks of features that each replica runs, or those of the leader."""
    return [
        _watched(
            context,
            task.name,
            _repeated(context, task.seconds(context) if callable(task.seconds) else task.seconds, task.step),
        )
        for feature in features
        for task in feature.tasks
        if task.everywhere is everywhere
    ]


async def _follow_leadership(
    context: Context, features: Sequence[Feature], leading: list[asyncio.Task[None]]
) -> None:
    """Run the leader's tasks, which are in `leading`, while this replica leads."""
    leadership = context.features.cluster.leadership
    while True:
        await leadership.until(leads=True)
        try:
            if not leading:
                await _begin_leading(context, features, leading)
        except ServiceUnavailable as error:
            log.warning("leading_not_begun", error=str(error))
            await asyncio.sleep(UPKEEP_SECONDS)
            continue
        await leadership.until(leads=False)
        log.warning("leadership_lost")
        await _end(leading)
        leading.clear()


async def _begin_leading(
    context: Context, features: Sequence[Feature], leading: list[asyncio.Task[None]]
) -> None:
    """Start what only one replica does. Miners of the last leader, or of none, could not renew their leases meanwhile."""
    # Before the upkeep runs, which would end every lease that could not be renewed meanwhile.
    await leases.start_over(context)
    for feature in features:
        if feature.begin is not None:
            await feature.begin(context)
    context.dispatcher.job_waiting()
    leading += [
        _watched(context, "dispatcher", context.dispatcher.run()),
        _watched(context, "upkeep", _upkeep(context)),
        _watched(context, "outputs", _repeated(context, UPLOADS_SECONDS, removal.settle_run_outputs)),
        _watched(context, "orphans", _repeated(context, ORPHANS_SECONDS, removal.remove_orphans)),
        *(
            _watched(context, feature.name, part.run())
            for feature in features
            if feature.part is not None and isinstance(part := context.part(feature.part), Worker)
        ),
        *_feature_tasks(context, features, everywhere=False),
    ]


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _watched(context: Context, name: str, work: Any) -> asyncio.Task[None]:
    """Return a named task. If it fails, that is logged, health reports it, and the watchdog restarts the agent."""
    task: asyncio.Task[None] = asyncio.create_task(work, name=name)

    def ended(ended_task: asyncio.Task[None]) -> None:
        context.monitoring.liveness.leave(name)
        if not ended_task.cancelled() and (error := ended_task.exception()) is not None:
            log.critical("background_task_died", task=name, exc_info=error)
            context.monitoring.liveness.fail(name, f"it ended ({type(error).__name__})")

    task.add_done_callback(ended)
    return task


async def _upkeep(context: Context) -> None:
    jumps = ClockJumps(context.clock)
    while True:
        context.monitoring.liveness.report(
            "upkeep", asyncio.get_running_loop().time(), UPKEEP_SILENCE_SECONDS
        )
        await asyncio.sleep(UPKEEP_SECONDS)
        try:
            # After a suspension, and if the clock was changed, no lease says whether its miner is still there. Replicas that went on know.
            if (jump := jumps.since_last()) and not context.features.cluster.bus.peers:
                await leases.move(context, jump)
            await leases.expire_due(context)
            # A signal of another replica may have been lost, and a job would wait although miners are free.
            if context.features.cluster.bus.peers:
                context.dispatcher.job_waiting()
            # For jobs whose delay before a retry has ended: no event says so.
            context.dispatcher.capacity_freed()
        except Exception:
            # The loop survives a round that fails, e.g. while the disk is full: otherwise no lease would ever expire again.
            log.exception("upkeep_failed")


async def _repeated(context: Context, seconds: float, step: Callable[[Context], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await step(context)
        except Exception:  # the loop survives a step that fails
            log.exception("tidying_failed", step=step.__name__)
