"""Which models are asked for and paid here, so that miners can choose what to fetch. Only counts leave the coordinator."""

from __future__ import annotations

import asyncio
from typing import Final

from pydantic import BaseModel, Field

from agent.coordinator.feature import Opening
from agent.coordinator.features.outlook import store
from agent.coordinator.features.outlook.settings import OutlookSettings
from agent.coordinator.operations import supply
from agent.coordinator.operations.context import Connection, Context
from agent.core.values.quantities import format_units
from agent.sections import section_of
from aitbc.answers.fields import example

FRESH_SECONDS: Final = 300.0
"""How long an answer is used again: to count the payments of days takes seconds in a large network."""
MOST_MODELS: Final = 500

_MODEL: Final = {
    "service_id": "llm_inference", "model": "llama-3.1-8b-instruct", "jobs": 412, "earned": "21.7", "waiting": 3,
    "longest_wait": 40.5, "miners": 2,
}  # fmt: skip


class AskedModel(BaseModel, defer_build=True):
    """A model: paid jobs of the last days and what their miners earned, jobs that wait now, the longest of them for so many seconds, and online miners that have it."""

    model_config = example(_MODEL)

    service_id: str
    model: str
    jobs: int
    earned: str
    waiting: int
    longest_wait: float
    miners: int


class AskedModels(BaseModel, defer_build=True):
    """What was asked for and paid in the last days, the best paid models first."""

    model_config = example({"days": 7, "models": [_MODEL]})

    days: int = Field(examples=[7])
    models: list[AskedModel]


class DemandCache:
    """The part with the latest answer."""

    def __init__(self) -> None:
        self.read_at = 0.0
        self.answer: AskedModels | None = None
        self.reading = asyncio.Lock()

    async def close(self) -> None:
        """Nothing is open."""


def open_cache(_: Opening) -> DemandCache:
    """Return the part."""
    return DemandCache()


async def of_models(context: Context) -> AskedModels:
    """Return the demand for models, at most a few minutes old."""
    cache = context.part(DemandCache)
    async with cache.reading:
        if cache.answer is None or context.clock() - cache.read_at >= FRESH_SECONDS:
            fleet = await supply.fleet(context)
            offered = [
                (service, model)
                for miner in fleet.miners
                if miner.online and not miner.excluded
                for service, offer in miner.candidate.services.items()
                for model in offer.models
            ]
            cache.answer = await context.database.read(_read, context, offered)
            cache.read_at = context.clock()
        return cache.answer


def _read(connection: Connection, context: Context, offered: list[tuple[str, str]]) -> AskedModels:
    now, days = context.clock(), section_of(context.settings, OutlookSettings).outlook_days
    paid = store.paid_models(connection, now - days * store.DAY_SECONDS, MOST_MODELS)
    waiting = store.waiting_models(connection, MOST_MODELS)
    models = []
    for key in {**paid, **waiting}:
        jobs, earned = paid.get(key, (0, 0))
        number, oldest = waiting.get(key, (0, now))
        models.append(
            AskedModel(
                service_id=key[0],
                model=key[1],
                jobs=jobs,
                earned=format_units(earned),
                waiting=number,
                longest_wait=round(max(0.0, now - oldest), 1),
                miners=offered.count(key),
            )
        )
    return AskedModels(days=days, models=models)
