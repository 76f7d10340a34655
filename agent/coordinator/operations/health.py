"""Whether the coordinator's parts work, found out by using them."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from agent.coordinator.operations.context import Context
from agent.coordinator.store.engine import healthy
from agent.core.errors import ServiceUnavailable
from agent.core.quantities import format_time

CHECK_SECONDS: Final = 5.0
State = Literal["healthy", "unhealthy"]


async def check(context: Context) -> dict[str, State]:
    """The state of the database, the log's key and the dispatcher."""
    return {
        "database": _state(await _database_answers(context)),
        "blockchain": _state(_log_signs(context)),
        "marketplace": _state(context.dispatcher.alive),
    }


async def _database_answers(context: Context) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            if context.database.fault is not None:
                await context.database.write(healthy)
            return context.database.fault is None and await context.database.read(healthy)
    except (TimeoutError, ServiceUnavailable):
        return False


def _log_signs(context: Context) -> bool:
    signed = context.signer.key.sign(b"health")
    return context.signer.key.verify_key.verify(signed) == b"health"


def _state(works: bool) -> State:
    return "healthy" if works else "unhealthy"


def now(context: Context) -> str:
    """The time as it travels."""
    return format_time(context.clock())
