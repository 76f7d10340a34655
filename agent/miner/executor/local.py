"""Runs jobs in child processes of this machine.

A child belongs to one service and one device. It stays alive between jobs, since starting an engine and loading a model
take longer than many jobs; idle children end after a while. One child for each of the first few offered services is
started in advance, without a model: this is cheap, since engines are imported with the first model, and makes the first
job faster.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog

from agent.core.values.quantities import parse_quantity
from agent.metrics import Meter
from agent.miner.engines.interpreters import Interpreters
from agent.miner.executor.child import Child, RunListener
from agent.miner.executor.contract import Execution, OnStage, Working
from agent.miner.executor.devices import Devices
from agent.miner.executor.footprints import HEADROOM
from agent.miner.executor.loaded_model import LoadedModel, card_keys
from agent.miner.executor.pool import ChildPool
from agent.miner.executor.scheduler import ModelScheduler
from agent.miner.machine import hardware
from agent.miner.metrics import METRICS
from agent.miner.settings import MinerSettings
from agent.miner.tasks import Background
from runners.api import Device, FailureCode, Model, Retry, Tools
from runners.host.protocol import Done, Run

MEMORY_SHARE: Final = 0.9
"""The share of the machine's memory that one child may use, unless `miner.child_memory` is set."""
_TEND: Final = "executor-tend"

Digest: TypeAlias = Callable[[str, Sequence[Path]], str]

_log = structlog.get_logger(__name__)


class LocalExecutor:
    """`run` may be called for several jobs at once. `close` ends all children.

    `directory` is for logs. `digest` returns the digest of a model's weights, blocking; benchmarks need none. `interpreters` run the
    children. `on_change` is called when the set of available models may have changed.
    """

    def __init__(
        self,
        devices: Devices | Sequence[Device],
        tools: Tools,
        settings: MinerSettings,
        directory: Path,
        *,
        digest: Digest | None = None,
        interpreters: Interpreters | None = None,
        on_change: Callable[[], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._devices = devices if isinstance(devices, Devices) else Devices(tuple(devices))
        self._settings = settings
        self._digest = digest
        self.on_capacity: Callable[[], None] = lambda: None
        self._background = Background()
        chosen = interpreters or Interpreters()
        self._pool = ChildPool(
            tools,
            directory,
            chosen,
            load_seconds=settings.load_seconds,
            max_memory=int(settings.child_memory or hardware.memory_total() * MEMORY_SHARE),
            on_end=self._child_ended,
            process_memory=self._devices.process_memory,
        )
        self._scheduler = ModelScheduler(
            self._devices, self._pool, chosen, settings, on_change or (lambda: None), meter or Meter(METRICS)
        )

    def end_orphans(self) -> None:
        """End processes that an earlier daemon left behind."""
        self._pool.end_orphans()

    def prestart(self, services: Mapping[str, bool]) -> None:
        """Keep one child ready for each of the first few `services`; the values state whether the service has models."""
        self._pool.prestart(services, self._devices.of)

    def pause(self, devices: frozenset[str]) -> None:
        """Pause these devices ("cpu", UUIDs of GPUs) and no others: they get no jobs, and idle models are unloaded at once."""
        self._scheduler.pause(devices)

    async def run(
        self,
        service: str,
        model: Model | None,
        message: Run,
        listener: RunListener | None = None,
        *,
        on_stage: OnStage = lambda _stage, _devices: None,
    ) -> Execution:
        """Run one job. Raises `Fail` or `Retry`. Cancelling the calling task ends the job first."""
        result, child = await self._run_in_child(service, model, message, listener or RunListener(), on_stage)
        weights = None
        if model is not None and self._digest is not None:
            # After the run, because the runner says which files it has read. In a thread: the first time, gigabytes are hashed.
            weights = await asyncio.to_thread(self._digest, model.name, result.weights)
        return Execution(result, child.runner, child.device, weights)

    async def _run_in_child(
        self, service: str, model: Model | None, message: Run, listener: RunListener, on_stage: OnStage
    ) -> tuple[Done, Child]:
        if not self._background.has(_TEND):
            # In a context of its own, since the task outlives this job.
            Context().run(self._background.spawn, self._scheduler.tend(), _TEND)
        # What is visible of a sealed job says nothing about the memory that it needs.
        parameters = None if message.sealed is not None else message.parameters
        loaded = await self._scheduler.admit(
            service, model, parameters, int(parse_quantity(message.resources.get("gpu") or "0"))
        )
        try:
            on_stage("loading", card_keys(loaded.device))
            child = await loaded.ready()
            on_stage("running", card_keys(loaded.device))
            result = await child.run(
                message,
                listener,
                stall_seconds=self._settings.stall_seconds,
                cancel_seconds=self._settings.cancel_seconds,
            )
        except Retry as error:
            # The next job of this size then gets a larger share, instead of failing in the same way.
            if error.code == FailureCode.OUT_OF_MEMORY:
                self._outgrew(loaded, parameters)
            raise
        else:
            self._learn(loaded, parameters, result)
            return result, child
        finally:
            self._scheduler.leave(loaded)

    def free(self) -> int | None:
        """Return None: the slots decide how many jobs this machine takes."""
        return None

    async def release_model(self, name: str) -> None:
        """Unload a model that no job uses."""
        await self._scheduler.release_model(name)

    def model_failed(self, service: str, model: str, error: Retry) -> None:
        """Count a model that could not be fetched as one that failed to load."""
        self._scheduler.load_failed(service, model, error)

    @property
    def supervised(self) -> bool:
        """Whether the tasks are alive that monitor the memory and the idle time of children."""
        tended = self._background.has(_TEND) or not self._scheduler.loaded_models()
        return tended and self._pool.watched

    def loaded(self) -> dict[str, list[str]]:
        """Return the names of loaded models by service."""
        models: dict[str, set[str]] = {}
        for loaded in self._scheduler.loaded_models():
            if loaded.open and loaded.model is not None:
                models.setdefault(loaded.service, set()).add(loaded.model.name)
        return {service: sorted(names) for service, names in models.items()}

    def working(self) -> list[Working]:
        """Return every child that is working."""
        return [
            Working(loaded.service, loaded.model_name, card_keys(loaded.device), loaded.runs, loaded.capacity)
            for loaded in self._scheduler.loaded_models()
            if loaded.runs > 0
        ]

    async def unavailable_models(self, models: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """Return which of these models are unavailable at present, by service, and why."""
        return await self._scheduler.unavailable_models(models)

    def status(self) -> list[dict[str, Any]]:
        """Return the children's state for the daemon's status."""
        return [*(loaded.describe() for loaded in self._scheduler.loaded_models()), *self._pool.status()]

    def placement(self) -> dict[str, Any]:
        """Return the jobs that wait for a device, and recent placement events."""
        return self._scheduler.placement()

    async def close(self) -> None:
        """End all children."""
        await self._background.close()
        self._scheduler.close()
        await self._pool.close()

    def _child_ended(self, child: Child) -> None:
        self._scheduler.child_ended(child)

    def _outgrew(self, loaded: LoadedModel, parameters: Mapping[str, Any] | None) -> None:
        footprints = self._devices.footprints
        if footprints is not None and parameters is not None and loaded.device.kind != "cpu":
            key = footprints.key(loaded.service, loaded.model_name, parameters)
            if loaded.child is not None and loaded.child.exceeded_memory:  # not the GPU's
                footprints.learn_main(key, loaded.child.memory_peak)
                return
            # Programs know no budget.
            observed = loaded.child.observed_peak if loaded.child is not None else 0
            cards = len(card_keys(loaded.device))
            bytes_used = observed if loaded.model is None else loaded.footprint * cards
            usable = self._devices.usable(loaded.service)
            footprints.outgrew(key, min(bytes_used, loaded.device.memory * cards or bytes_used), usable)

    def _learn(self, loaded: LoadedModel, parameters: Mapping[str, Any] | None, result: Done) -> None:
        if loaded.model is not None:
            self._scheduler.guard.success(loaded.service, loaded.model.name)
        footprints = self._devices.footprints
        if footprints is None or parameters is None or loaded.device.kind == "cpu":
            return
        key = footprints.key(loaded.service, loaded.model_name, parameters)
        if loaded.child is not None and loaded.child.memory_peak:
            footprints.learn_main(key, loaded.child.memory_peak)
        budget = loaded.footprint * len(card_keys(loaded.device))
        if loaded.model is not None:
            footprints.fitted(key, budget)
        # With less memory than it wanted, its use says nothing about its need.
        if loaded.limited and loaded.model is not None:
            return
        peak = result.vram or (loaded.child.observed_peak if loaded.child is not None else 0)
        if loaded.model is not None and peak <= budget * HEADROOM:
            # An engine may fill its budget even if it needs less, as vLLM does: that is no reason for a larger one.
            peak = min(peak, math.ceil(budget / HEADROOM) + 1)
        if peak:
            footprints.learn(key, peak)
