"""Health of the coordinator's parts. It is checked in the background, so that a caller need not wait for a database that hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Literal

import structlog

from agent.coordinator.operations.context import Context
from agent.coordinator.store.counts import by_state
from agent.coordinator.store.database import healthy
from agent.core.errors import ServiceUnavailable

CHECK_SECONDS: Final = 5.0
"""How long a check may take before the database counts as unhealthy."""
PULSE_SECONDS: Final = 5.0
"""Pause between two checks."""
RETRY_SECONDS: Final = 1.0
"""Pause after a check that has failed."""
SILENCE_SECONDS: Final = 60.0
"""How long the writer of a database in a file may take to answer, longer than a slow disk or a large transaction needs."""
State = Literal["healthy", "unhealthy"]

log = structlog.get_logger()


def states(context: Context) -> dict[str, State]:
    """Return the last known state of the database, the features and the dispatcher, and `storage` while the disk is nearly full."""
    checked = context.monitoring.health
    parts: dict[str, State] = {
        "database": _state(checked.database_answers and context.database.fault is None),
        **{name: _state(works) for name, works in checked.features.items()},
        "marketplace": _state(context.dispatcher.alive),
    }
    return {**parts, "storage": "unhealthy"} if context.files.space.is_short else parts


async def pulse(context: Context) -> None:
    """Check the database and the features until cancelled.

    The process counts as hung if the writer of its own file does not answer. A server that does not answer is no fault of the process, and starting it
    again would not help: callers get `ServiceUnavailable` until it does.
    """
    loop = asyncio.get_running_loop()
    database = context.database
    while True:
        begun = loop.time()
        if database.patience is None:
            context.monitoring.liveness.report("database", begun, SILENCE_SECONDS)
        checking = asyncio.create_task(_checked(context))
        try:
            await asyncio.wait({checking}, timeout=CHECK_SECONDS)
            if not checking.done():
                context.monitoring.health.note(
                    context.clock(), database_answers=False, features=_none(context)
                )
                await asyncio.wait({checking}, timeout=database.patience)
            if not checking.done():
                database.set_hanging(hangs=True)
            # Its thread cannot be interrupted, and another check would only occupy another thread.
            database_answers, features = await checking
        finally:
            checking.cancel()
        if not database_answers and database.patience is not None:
            # Calls on open connections may still wait where a new connection was not possible for as long as they may wait.
            database.set_hanging(hangs=loop.time() - begun >= database.patience)
        context.monitoring.health.note(context.clock(), database_answers=database_answers, features=features)
        await asyncio.sleep(PULSE_SECONDS if database_answers else RETRY_SECONDS)


def _none(context: Context) -> dict[str, bool]:
    return dict.fromkeys(context.monitoring.health.features, False)


async def _checked(context: Context) -> tuple[bool, Mapping[str, bool]]:
    """Return whether the database answers, and which features are well."""
    database = context.database
    try:
        if database.patience is None:
            features = await database.read(context.features.check_health, context)
        else:
            # All threads of the readers may be waiting for the server, but a connection is left.
            features = await asyncio.to_thread(database.read_now, context.features.check_health, context)
        database.set_hanging(hangs=False)
        if database.patience is None or database.fault is not None:
            await database.write(healthy)
    except ServiceUnavailable:
        return False, _none(context)
    except Exception:  # the next check may succeed
        log.exception("health_check_failed")
        return False, _none(context)
    return True, features


async def summary(context: Context) -> tuple[dict[str, int], int]:
    """Return the number of jobs in each state, and the number of connected miners."""
    return await context.database.read(by_state), context.dispatcher.miners


def _state(works: bool) -> State:
    return "healthy" if works else "unhealthy"
