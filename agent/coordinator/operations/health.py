"""Health checks of the coordinator's parts, which use them."""

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
"""How often the database's writer is checked."""
SILENCE_SECONDS: Final = 60.0
"""How long the writer may take to answer, longer than a slow disk or a large transaction needs."""
State = Literal["healthy", "unhealthy"]


async def check(context: Context) -> dict[str, State]:
    """Return the state of the database, the log and the dispatcher, and `storage` while the disk is nearly full."""
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
    """Return whether the sequencer runs, and the newest checkpoint, if there is one, has our signature and matches the tree in the database."""
    if context.cluster.leadership.leads and (not context.log.alive or context.log.fault is not None):
        return False
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await context.database.read(check_log, context.signer)
    except (TimeoutError, ServiceUnavailable, LogInconsistent):
        return False
    return True


async def pulse(context: Context) -> None:
    """Check until cancelled that the database's writer answers. An error, such as a full disk, counts as an answer."""
    loop = asyncio.get_running_loop()
    while True:
        context.liveness.report("database", loop.time(), SILENCE_SECONDS)
        with suppress(ServiceUnavailable):
            await context.database.write(healthy)
        await asyncio.sleep(PULSE_SECONDS)


async def summary(context: Context) -> tuple[dict[str, int], int]:
    """Return the number of jobs in each state, and the number of connected miners."""
    return await context.database.read(by_state), context.dispatcher.miners


def _state(works: bool) -> State:
    return "healthy" if works else "unhealthy"


def now(context: Context) -> str:
    """Return the current time as a string."""
    return format_time(context.clock())
