"""Whether the coordinator's parts work, found out by using them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Literal

from agent.coordinator.operations.context import Context
from agent.coordinator.sequencer import LogInconsistent
from agent.coordinator.sequencer import check as check_log
from agent.coordinator.store.counts import by_state
from agent.coordinator.store.database import healthy
from agent.core.errors import ServiceUnavailable
from agent.core.values.quantities import format_time

CHECK_SECONDS: Final = 5.0
PULSE_SECONDS: Final = 5.0
"""How often the database is asked for a sign of life."""
SILENCE_SECONDS: Final = 60.0
"""How long its writer may take for one: longer than a slow disk or a large migration of work in one commit."""
State = Literal["healthy", "unhealthy"]


async def check(context: Context) -> dict[str, State]:
    """The state of the database, the log and the dispatcher; of the disk, `storage`, only while it is nearly full."""
    states: dict[str, State] = {
        "database": _state(await _database_answers(context)),
        "blockchain": _state(await _log_continues(context)),
        "marketplace": _state(context.dispatcher.alive),
    }
    return {**states, "storage": "unhealthy"} if context.space.is_short else states


async def _database_answers(context: Context) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            if context.database.fault is not None:
                await context.database.write(healthy)
            return context.database.fault is None and await context.database.read(healthy)
    except (TimeoutError, ServiceUnavailable):
        return False


async def _log_continues(context: Context) -> bool:
    """Whether leaves get their numbers, and the newest checkpoint is ours and that of the tree in the database."""
    if not context.log.alive or context.log.fault is not None:
        return False
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await context.database.read(check_log, context.signer) is not None
    except (TimeoutError, ServiceUnavailable, LogInconsistent):
        return False


async def pulse(context: Context) -> None:
    """Until cancelled: see that the writer of the database answers. A refusal (a full disk) is an answer too."""
    loop = asyncio.get_running_loop()
    while True:
        context.liveness.report("database", loop.time(), SILENCE_SECONDS)
        with suppress(ServiceUnavailable):
            await context.database.write(healthy)
        await asyncio.sleep(PULSE_SECONDS)


async def summary(context: Context) -> tuple[dict[str, int], int]:
    """How many jobs are in each state, and how many miners are connected."""
    return await context.database.read(by_state), context.dispatcher.miners


def _state(works: bool) -> State:
    return "healthy" if works else "unhealthy"


def now(context: Context) -> str:
    """The time as it travels."""
    return format_time(context.clock())
