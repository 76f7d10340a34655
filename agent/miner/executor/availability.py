"""Monitors which catalogue models are unavailable on this machine at present, and why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from agent.catalogue import CatalogueEntry
from agent.miner.backoff import sleep
from agent.miner.executor.contract import Executor
from agent.miner.models.provider import Models

_POLL_SECONDS: Final = 5.0
"""How often availability is checked, since other programs use and free memory."""

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class UnavailableModels:
    """`now` has the reasons by service and model, as of the last `update`. The daemon runs `run`.

    `services` are those that are offered. `on_change` is called when the set of unavailable models has changed, and when
    `changed` is set because models were loaded or released.
    """

    catalogue: Mapping[str, CatalogueEntry]
    models: Models
    executor: Executor
    services: Collection[str]
    on_change: Callable[[], None]
    changed: asyncio.Event

    def __post_init__(self) -> None:
        self.now: Mapping[str, Mapping[str, str]] = {}

    async def update(self) -> bool:
        """Update `now`. Return whether the set of unavailable models has changed."""
        offered: dict[str, list[str]] = {service: [] for service in self.services}
        missing: dict[str, dict[str, str]] = {}
        for name, entry in self.catalogue.items():
            if entry.service not in offered or entry.kind != "model":
                continue
            if entry.fetchable or self.models.has(name):
                offered[entry.service].append(name)
            else:
                reason = "It is not on this machine, and the catalogue has no source to fetch it from."
                missing.setdefault(entry.service, {})[name] = reason
        unavailable = await self.executor.unavailable_models(offered)
        former = self.now
        self.now = {
            service: {**missing.get(service, {}), **unavailable.get(service, {})}
            for service in {**missing, **unavailable}
        }
        return _names(former) != _names(self.now)

    async def run(self) -> None:
        """Monitor until cancelled."""
        while True:
            await sleep(_POLL_SECONDS, self.changed)
            changed = self.changed.is_set()
            self.changed.clear()
            if await self.update():
                _log.info("models_unavailable", models=self.now)
                changed = True
            if changed:
                self.on_change()


def _names(unavailable: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    return {service: set(reasons) for service, reasons in unavailable.items()}
