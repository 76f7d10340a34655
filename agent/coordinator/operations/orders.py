"""What miners are asked to prepare meanwhile: to fetch the model of a job that waits."""

from __future__ import annotations

from typing import Any, Final

from agent.coordinator.operations.context import Context
from agent.coordinator.store import queue

WAITED_FOR_CACHE_SECONDS: Final = 1.0
MAX_MODELS: Final = 100
"""How many of the models that are waited for are looked at, those with the most jobs first."""


async def orders_for(context: Context, miner_id: str) -> list[dict[str, Any]]:
    """At most one order for a miner that is busy: one with a free slot simply gets the job, and fetches the model for it."""
    port = context.dispatcher.connected(miner_id)
    if port is None or port.room.slots > 0:
        return []
    for service, model in await _waited_for(context):
        offer = port.capabilities["services"].get(service)
        if offer is not None and _could_fetch(context, offer, model):
            return [{"order": "fetch_model", "model": model}]
    return []


def _could_fetch(context: Context, offer: dict[str, Any], model: str) -> bool:
    entry = context.catalogue.get(model)
    return (
        offer["downloadable"]
        and entry is not None
        and entry.repository is not None
        and model not in offer["models"]
        and model not in offer["withheld"]
    )


async def _waited_for(context: Context) -> list[tuple[str, str]]:
    cached: tuple[float, list[tuple[str, str]]] | None = context.caches.get("waited_for")
    now = context.clock()
    if cached is None or now - cached[0] >= WAITED_FOR_CACHE_SECONDS:
        cached = (now, await context.database.read(queue.models_waited_for, MAX_MODELS))
        context.caches["waited_for"] = cached
    return cached[1]
