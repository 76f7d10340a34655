"""Which of the catalogue's models this machine cannot give at present, and why, as a list that is kept current."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final

import structlog

from agent.miner.executor.local import LocalExecutor
from agent.miner.models.store import ModelStore

_LOOK_SECONDS: Final = 5.0
"""How often it is looked whether a model that did not fit fits now, or the other way round."""

_log = structlog.get_logger(__name__)


class UnavailableModels:
    """`now` says why, by service and model, as of the last `look`; `run` is the daemon's to run.

    `services` are those that are offered. `on_change` is called when other models are unavailable_models, or when `changed` was:
    models were loaded or released.
    """

    def __init__(
        self,
        models: ModelStore,
        executor: LocalExecutor,
        services: Collection[str],
        on_change: Callable[[], None],
        changed: asyncio.Event,
    ) -> None:
        self._models = models
        self._executor = executor
        self._services = services
        self._on_change = on_change
        self._changed = changed
        self.now: Mapping[str, Mapping[str, str]] = {}

    async def look(self) -> bool:
        """Find out. Returns whether it is other models than before."""
        offered: dict[str, list[str]] = {service: [] for service in self._services}
        missing: dict[str, dict[str, str]] = {}
        for name, entry in self._models.catalogue.items():
            if entry.service not in offered or entry.kind != "model":
                continue
            if entry.fetchable or self._models.has(name):
                offered[entry.service].append(name)
            else:
                reason = "It is not on this machine, and the catalogue does not say where it can be fetched."
                missing.setdefault(entry.service, {})[name] = reason
        unavailable_models = await self._executor.unavailable_models(offered)
        before, self.now = (
            self.now,
            {
                service: {**missing.get(service, {}), **unavailable_models.get(service, {})}
                for service in {**missing, **unavailable_models}
            },
        )
        return _names(before) != _names(self.now)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()
            changed = self._changed.is_set()
            self._changed.clear()
            if await self.look():
                _log.info("models_unavailable", models=self.now)
                changed = True
            if changed:
                self._on_change()


def _names(unavailable_models: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    return {service: set(reasons) for service, reasons in unavailable_models.items()}
