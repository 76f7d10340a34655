"""Runs jobs in child processes of this machine.

A child belongs to one service and one device and stays warm between jobs, since starting an engine and loading a model
take longer than many jobs do. Idle ones end after a while. One child for each of the first few offered services is
started ahead, without a model: it costs little, as engines are imported with the first model, and a lease then finds it
ready.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import structlog

from agent.metrics import Meter
from agent.miner.executor.child import Child, RunListener
from agent.miner.executor.devices import Devices
from agent.miner.executor.loaded_model import LoadedModel, card_key
from agent.miner.executor.pool import ChildPool
from agent.miner.executor.scheduler import ModelScheduler
from agent.miner.machine import hardware
from agent.miner.metrics import METRICS
from agent.miner.tasks import Background
from agent.settings import MinerSettings
from runners.api import Device, FailureCode, Model, Retry, Tools
from runners.host.protocol import Done, Run, RunnerIdentity

HOST_COMMAND: Final = (sys.executable, "-P", "-m", "runners.host")
"""`-P`: a module in the current directory must not take the place of an engine's."""
MEMORY_SHARE: Final = 0.9
"""How much of the machine's memory one child may take, unless `miner.child_memory` says otherwise."""
_TEND: Final = "executor-tend"

Stage: TypeAlias = Literal["loading", "running"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Execution:
    """A run that succeeded: its results, and what the receipt says about where they come from."""

    done: Done
    runner: RunnerIdentity
    device: Device
    weights: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Working:
    """A child that works: `runs` of its `capacity` are taken. `device` is the UUID of a GPU, or "cpu"."""

    service: str
    model: str | None
    device: str
    runs: int
    capacity: int


class LocalExecutor:
    """`run` may be called for several jobs at once. `close` ends all children.

    `directory` holds logs. `on_run_written(run_id, nanoseconds)` is called with the monotonic time at which
    a run was handed to its child, for measuring. `command` replaces the child's program in tests. `on_change` is called
    when the models that can be offered may have changed.
    """

    def __init__(
        self,
        devices: Devices | Sequence[Device],
        tools: Tools,
        settings: MinerSettings,
        directory: Path,
        *,
        command: Sequence[str] = HOST_COMMAND,
        on_run_written: Callable[[str, int], None] | None = None,
        on_change: Callable[[], None] | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._devices = devices if isinstance(devices, Devices) else Devices(tuple(devices))
        self._settings = settings
        self._on_run_written = on_run_written
        self._background = Background()
        self._pool = ChildPool(
            tools,
            directory,
            command,
            load_seconds=settings.load_seconds,
            max_memory=int(settings.child_memory or hardware.memory_total() * MEMORY_SHARE),
            on_end=self._child_ended,
        )
        self._scheduler = ModelScheduler(
            self._devices, self._pool, settings, on_change or (lambda: None), meter or Meter(METRICS)
        )

    def end_orphans(self) -> None:
        """End children that a former life of the daemon left behind."""
        self._pool.end_orphans()

    def prestart(self, services: Mapping[str, bool]) -> None:
        """Keep one child ready for each of the first few `services`; the values say whether the service has models."""
        self._pool.prestart(services, self._devices.of)

    def pause(self, devices: frozenset[str]) -> None:
        """From now on these devices ("cpu", UUIDs of GPUs), and no others, get no jobs; idle models leave them at once."""
        self._scheduler.pause(devices)

    async def run(
        self,
        service: str,
        model: Model | None,
        message: Run,
        listener: RunListener | None = None,
        *,
        on_stage: Callable[[Stage, str], None] = lambda _stage, _device: None,
    ) -> Execution:
        """Do one job. Raises `Fail` or `Retry`. Cancelling the calling task ends the job first.

        `on_stage` hears when it has got a device, whose model may still have to be loaded, and when it runs there.
        """
        if not self._background.has(_TEND):
            # In a context of its own: it is not this job's, though it begins with it.
            Context().run(self._background.spawn, self._scheduler.tend(), _TEND)
        loaded = await self._scheduler.admit(service, model, message.parameters)
        try:
            on_stage("loading", card_key(loaded.device))
            child = await loaded.ready()
            on_stage("running", card_key(loaded.device))
            done = await child.run(
                message,
                listener or RunListener(),
                on_written=lambda: self._written(message.run_id),
                stall_seconds=self._settings.stall_seconds,
                cancel_seconds=self._settings.cancel_seconds,
            )
        except Retry as error:
            if error.code == FailureCode.OUT_OF_MEMORY:
                self._outgrew(loaded, message.parameters)
            raise
        else:
            self._learn(loaded, message.parameters, done)
            return Execution(done, child.runner, child.device, tuple(done.weights))
        finally:
            self._scheduler.leave(loaded)

    async def release_model(self, name: str) -> None:
        """Have a model that no job uses leave the memory."""
        await self._scheduler.release_model(name)

    def model_failed(self, service: str, model: str, error: Retry) -> None:
        """A model could not even be brought to this machine: that counts as one that cannot be loaded."""
        self._scheduler.load_failed(service, model, error)

    @property
    def supervised(self) -> bool:
        """Whether those who watch over the children do so: their memory, and how long they are idle."""
        tended = self._background.has(_TEND) or not self._scheduler.loaded_models()
        return tended and self._pool.watched

    def loaded(self) -> dict[str, list[str]]:
        """The names of loaded models by service."""
        models: dict[str, set[str]] = {}
        for loaded in self._scheduler.loaded_models():
            if loaded.open and loaded.model is not None:
                models.setdefault(loaded.service, set()).add(loaded.model.name)
        return {service: sorted(names) for service, names in models.items()}

    def working(self) -> list[Working]:
        """Every child that works."""
        return [
            Working(loaded.service, loaded.model_name, card_key(loaded.device), loaded.runs, loaded.capacity)
            for loaded in self._scheduler.loaded_models()
            if loaded.runs > 0
        ]

    async def unavailable_models(self, models: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """Which of these models, by service, cannot be had at present, and why."""
        return await self._scheduler.unavailable_models(models)

    def status(self) -> list[dict[str, Any]]:
        """The children, for whoever asks what this machine does."""
        return [*(loaded.describe() for loaded in self._scheduler.loaded_models()), *self._pool.status()]

    def placement(self) -> dict[str, Any]:
        """What waits for a device and why, and what happened lately."""
        return self._scheduler.placement()

    async def close(self) -> None:
        """End all children."""
        await self._background.close()
        self._scheduler.close()
        await self._pool.close()

    def _child_ended(self, child: Child) -> None:
        self._scheduler.child_ended(child)

    def _outgrew(self, loaded: LoadedModel, parameters: Mapping[str, Any]) -> None:
        footprints = self._devices.footprints
        if footprints is not None and loaded.device.kind == "cuda":
            key = footprints.key(loaded.service, loaded.model_name, parameters)
            footprints.outgrew(key, min(loaded.footprint, loaded.device.memory))

    def _learn(self, loaded: LoadedModel, parameters: Mapping[str, Any], done: Done) -> None:
        if loaded.model is not None:
            self._scheduler.guard.success(loaded.service, loaded.model.name)
        footprints = self._devices.footprints
        if footprints is not None and done.vram and not loaded.limited and loaded.device.kind == "cuda":
            footprints.learn(footprints.key(loaded.service, loaded.model_name, parameters), done.vram)

    def _written(self, run_id: str) -> None:
        now = time.monotonic_ns()
        _log.debug("runner_run", run_id=run_id, monotonic_ns=now)
        if self._on_run_written is not None:
            self._on_run_written(run_id, now)
