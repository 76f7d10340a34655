"""Schedules models on devices: finds a device for every job, loads its model, and evicts others if necessary.

`agent.miner.executor.placement` decides where a job goes and which models are evicted for it. This module reads the
free memory, carries out the decision, and after an eviction reads and decides again.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import structlog

from agent.core.values.quantities import gibibytes
from agent.metrics import Meter
from agent.miner.backoff import sleep
from agent.miner.engines.interpreters import Interpreter, Interpreters
from agent.miner.executor.child import Child
from agent.miner.executor.circuit_breaker import ModelGuard
from agent.miner.executor.devices import Devices
from agent.miner.executor.footprints import MainMemory
from agent.miner.executor.loaded_model import LoadedModel, card_key, card_keys
from agent.miner.executor.placement import (
    Card,
    Join,
    LoadStep,
    Occupant,
    PlacementDemand,
    Refuse,
    Wait,
    decide,
    obstacle,
    overdue,
)
from agent.miner.executor.placement_log import PlacementLog, WaitingRun
from agent.miner.executor.pool import ChildPool
from agent.miner.settings import MinerSettings
from agent.miner.tasks import retrieve
from runners.api import USUAL_KINDS, Device, DeviceKind, FailureCode, Model, Retry

RECLAIM_SECONDS: Final = 3.0
"""How long the driver may take to report the memory of an ended process as free."""
POLL_SECONDS: Final = 1.0
"""How often memory is measured while a job waits for it, and while idle models may have to be evicted."""

_NOT_OF_THE_MODEL: Final = frozenset((FailureCode.NO_MEMORY, FailureCode.GPU_UNSUPPORTED))
"""Failures to load that say nothing about the model: it is as good as before once the machine is."""

_log = structlog.get_logger(__name__)


@dataclass(eq=False)
class ModelScheduler:
    """`admit` returns a loaded model for a job, and `leave` ends that use. The `tend` task unloads idle models.

    `on_change` is called when the set of available models may have changed. `paused` are the keys of devices that get no
    jobs and keep no idle models; set it with `pause`.
    """

    devices: Devices
    pool: ChildPool
    interpreters: Interpreters
    settings: MinerSettings
    on_change: Callable[[], None]
    meter: Meter

    def __post_init__(self) -> None:
        self._placements = PlacementLog(self.meter)
        self._loaded_models: dict[int, LoadedModel] = {}
        self._numbers = itertools.count(1)
        self._change = asyncio.Event()
        self.guard = ModelGuard()
        self.paused: frozenset[str] = frozenset()

    def pause(self, devices: frozenset[str]) -> None:
        """Pause these devices and no others: they get no jobs, and idle models are unloaded at once."""
        self.paused = devices
        self._changed()
        self.on_change()

    async def admit(
        self, service: str, model: Model | None, parameters: Mapping[str, Any] | None, gpus: int = 1
    ) -> LoadedModel:
        """Return a model, loaded or being loaded on at least so many GPUs, with one more run. A sealed job has no readable `parameters`.

        Raises `Retry` if no device is free within `miner.placement_wait_seconds`.
        """
        interpreter = self.interpreters.for_job(service, model, parameters or {})
        suitable = self._suitable(service, model, interpreter)
        rules = self.devices.rules(suitable)
        with self._placements.waiting(service, model.name if model is not None else None) as waiting:
            while True:
                change = self._change
                devices = [device for device in suitable if card_key(device) not in self.paused]
                if not devices:
                    await self._wait(waiting, "All devices for it are paused.", change)
                    continue
                demand = self.devices.demand(service, waiting.model, parameters, gpus, devices=suitable)
                cards, sampled_at = await self.devices.sample(devices, demand)
                # The measurement takes a moment, in which the owner may pause a device.
                if any(card.key in self.paused for card in cards):
                    continue  # paused while it was being measured
                memory = self.devices.main_memory(demand)
                occupants = self._occupants(sampled_at, interpreter, self._profiled())
                decision = decide(demand, cards, occupants, rules, memory)
                match decision:
                    case Join(key, ()):
                        # Counted without an await since the decision, so no other job can take the same capacity.
                        loaded = self._loaded_models[key]
                        loaded.runs += 1
                        return loaded
                    case LoadStep(chosen, budget, ()):
                        device = self.devices.together(chosen)
                        beside = self.devices.beside(service, waiting.model, parameters, device)
                        loaded = self._open(service, model, device, interpreter, demand, budget, beside)
                        loaded.exclusive = any(card.exclusive for card in cards if card.key in chosen)
                        return loaded
                    # The eviction frees memory only some time later: decide again with what the driver then reports.
                    case Join() | LoadStep():
                        await self._evict(decision.evict, demand)
                    case Refuse(reason):
                        self._placements.record("refused", service, waiting.model, reason)
                        raise Retry(reason, code=FailureCode.NO_MEMORY)
                    case Wait(reason, lacks_main_memory):
                        # Idle processes without a model are of use only to start faster; a job that waits is worth more.
                        if lacks_main_memory:
                            await self.pool.close_idle(0, self._profiled())
                        await self._wait(waiting, reason, change)

    def _suitable(self, service: str, model: Model | None, interpreter: Interpreter) -> list[Device]:
        """Return the devices that the engine for a job can use. Raises `Retry` without one."""
        devices = self.devices.of(service, self._kinds(service, model, interpreter))
        suitable = [
            device for device in devices if self.interpreters.suits(service, model, interpreter, device)
        ]
        if not suitable:
            for reason in filter(None, map(interpreter.obstacle, devices)):
                raise Retry(reason, code=FailureCode.GPU_UNSUPPORTED)
            raise Retry("The model's engine can use none of the GPUs here.", code=FailureCode.GPU_UNAVAILABLE)
        return suitable

    def _kinds(
        self, service: str, model: Model | None, interpreter: Interpreter
    ) -> Sequence[DeviceKind] | None:
        return self.interpreters.kinds(service, model, interpreter) if interpreter.kinds else None

    def leave(self, loaded: LoadedModel) -> None:
        """End a run's use. A model that is still being loaded for no other run is discarded."""
        loaded.runs -= 1
        loaded.used_at = time.monotonic()
        # Nobody waits for it any more, and a load of gigabytes would block the device for minutes.
        if loaded.runs == 0 and not loaded.open:
            self._loaded_models.pop(loaded.key, None)
            if loaded.opening is not None:
                loaded.opening.cancel()
        # The run that just ended may have ended its process too, and nobody else looks at it now.
        if loaded.child is not None and not loaded.child.alive:
            self.child_ended(loaded.child)
        self._changed()

    def child_ended(self, child: Child) -> None:
        """Remove the models of a child that has ended."""
        for loaded in [loaded for loaded in self._loaded_models.values() if loaded.child is child]:
            del self._loaded_models[loaded.key]
            if (
                child.fault_code == FailureCode.RUNNER_HUNG
                and (model := loaded.model_name) is not None
                and self.guard.hung(loaded.service, model, time.monotonic())
            ):
                self._circuit_opened(loaded.service, model, FailureCode.RUNNER_HUNG)
        self._changed()

    def loaded_models(self) -> list[LoadedModel]:
        """Return all models that are loaded or being loaded."""
        return list(self._loaded_models.values())

    def placement(self) -> dict[str, Any]:
        """Return the jobs that wait for a device, and recent placement events."""
        return self._placements.to_status()

    async def unavailable_models(self, models: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """Return which of these models are unavailable at present, by service, and why."""
        by_service: dict[str, dict[str, str]] = {}
        for service, name, reason in self.guard.cooling_down(time.monotonic()):
            by_service.setdefault(service, {})[name] = reason
        samples: dict[tuple[Device, ...], tuple[list[Card], float]] = {}
        if self.devices.footprints is None:
            return by_service
        for service, names in models.items():
            for name in names:
                kinds = self.interpreters.kinds_for(service, name)
                devices = self.devices.of(service, None if kinds == USUAL_KINDS else kinds)
                # Services share devices, and a driver's answer takes milliseconds for each of them.
                if devices not in samples:
                    samples[devices] = await self.devices.sample(devices)
                cards, sampled_at = samples[devices]
                if not cards:
                    continue
                occupants, rules = list(self._occupants(sampled_at)), self.devices.rules(devices)
                memory = self.devices.main_memory() if devices[0].kind != "cpu" else None
                unpaused = [card for card in cards if card.key not in self.paused]
                demand = self.devices.demand(service, name, None, devices=devices)
                obstructed = obstacle(demand, cards, occupants, rules, memory)
                # Two questions, since the owner can act on one answer and not on the other: end the pause, or buy a larger GPU.
                if obstructed is None and unpaused and obstacle(demand, unpaused, occupants, rules, memory):
                    obstructed = "It fits only on a GPU that is paused."
                if obstructed is not None:
                    by_service.setdefault(service, {}).setdefault(name, obstructed)
        return by_service

    async def tend(self) -> None:
        """Until cancelled, unload models that have been idle for long or whose memory another program needs."""
        while True:
            change = self._change
            seconds = self.settings.idle_seconds
            await self._release_idle()
            await self._release_paused()
            if self.devices.have_gpus:
                await self._give_way()
            now = time.monotonic()
            due = [loaded.used_at + seconds - now for loaded in self._unloadable()]
            if (seconds_left := await self.pool.close_idle(seconds, self._profiled())) is not None:
                due.append(seconds_left)
            # The lower bound keeps a clock of coarse resolution from making this a busy loop.
            limit = max(0.01, min([seconds, *due]))
            await sleep(
                min(limit, POLL_SECONDS) if self.devices.have_gpus and self._loaded_models else limit, change
            )

    def close(self) -> None:
        """Stop loading models. The pool ends the children."""
        for loaded in self._loaded_models.values():
            if loaded.opening is not None:
                loaded.opening.cancel()
        self._loaded_models.clear()

    # --- Loading ----------------------------------------------------------------------------------------------------

    def _open(
        self,
        service: str,
        model: Model | None,
        device: Device,
        interpreter: Interpreter,
        demand: PlacementDemand,
        budget: int,
        beside: MainMemory,
    ) -> LoadedModel:
        loaded = LoadedModel(
            key=next(self._numbers),
            service=service,
            device=device,
            interpreter=interpreter,
            model=model,
            footprint=budget,
            limited=budget * len(card_keys(device)) < demand.need,
            capacity=self.devices.capacity.get(service, 1),
            profiles=self.interpreters.profiles(service, model, interpreter),
            beside=beside,
            runs=1,
        )
        self._loaded_models[loaded.key] = loaded
        if model is not None:
            saving = f", less than the preferred {gibibytes(demand.need)}" if loaded.limited else ""
            of_each = f" of each of {len(device.gpus)} GPUs" if device.others else ""
            reason = f"It may use {gibibytes(budget)}{of_each}{saving}."
            self._placements.record("placed", service, model.name, reason, device)
        loaded.opening = asyncio.create_task(self._load(loaded), name=f"open-{service}-{loaded.key}")
        loaded.opening.add_done_callback(retrieve)
        return loaded

    async def _load(self, loaded: LoadedModel) -> Child:
        """Get a child and load the model in it."""
        try:
            if loaded.exclusive:
                # A process that has unloaded its model still has a context of CUDA, beside which no other process gets one.
                await self.pool.close_spares(card_keys(loaded.device))
            loaded.child = child = await self.pool.get(loaded.service, loaded.device, loaded.interpreter)
            if loaded.model is not None or not child.loaded:
                budget = (
                    loaded.footprint if loaded.device.kind != "cpu" and loaded.model is not None else None
                )
                await child.load(loaded.model, self.settings.load_seconds, budget)
        except BaseException as error:
            self._loaded_models.pop(loaded.key, None)
            if isinstance(error, Retry) and loaded.model is not None:
                self.load_failed(loaded.service, loaded.model.name, error, loaded.device)
            if loaded.child is not None:
                self.pool.discard(loaded.child)
            self._changed()
            raise
        loaded.opened()
        self._changed()
        if loaded.model is not None:
            self.on_change()
            learn = partial(self.devices.learn_loading, loaded.service, loaded.model.name, loaded.device)
            self.pool.peak_of_loading(child, learn)
        return child

    def load_failed(self, service: str, model: str, error: Retry, device: Device | None = None) -> None:
        """Count a model that could not be fetched or loaded."""
        reason = str(error).rstrip(".")[:300] + "."
        self._placements.record("not loaded", service, model, reason, device)
        if error.code in _NOT_OF_THE_MODEL:
            return
        if self.guard.load_failed(service, model, time.monotonic(), reason):
            self._circuit_opened(service, model, error.code)

    def _circuit_opened(self, service: str, model: str, cause: str) -> None:
        _log.warning("model_circuit_open", service=service, model=model, cause=cause)
        self.on_change()

    async def _wait(self, waiting: WaitingRun, reason: str, change: asyncio.Event) -> None:
        self._placements.waits(waiting, reason)
        seconds_left = waiting.since + self.settings.placement_wait_seconds - time.monotonic()
        if seconds_left <= 0:
            raise Retry(reason, code=FailureCode.NO_MEMORY)
        await sleep(min(seconds_left, POLL_SECONDS), change)

    # --- Unloading --------------------------------------------------------------------------------------------------

    async def _evict(self, keys: Sequence[int], demand: PlacementDemand) -> None:
        """Unload idle models, and wait until the driver reports their memory as free."""
        leaving = [loaded for key in keys if (loaded := self._loaded_models.pop(key, None)) is not None]
        devices = tuple(
            {self.devices.together([key]): None for loaded in leaving for key in card_keys(loaded.device)}
        )
        expected = await self._expected(devices, leaving)
        for loaded in leaving:
            needed = "the GPU, which lets one process at a time compute" if loaded.exclusive else "its memory"
            reason = f"{demand.model or demand.service} needs {needed}."
            self._placements.record("evicted", loaded.service, loaded.model_name, reason, loaded.device)
        await asyncio.gather(
            *(self._unload(loaded, reuse=loaded.service == demand.service) for loaded in leaving)
        )
        end = time.monotonic() + RECLAIM_SECONDS
        while expected and time.monotonic() < end:
            cards, _ = await self.devices.sample(devices)
            if all(card.free >= expected[card.key] for card in cards):
                break
            await asyncio.sleep(POLL_SECONDS / 20)

    async def _expected(self, devices: tuple[Device, ...], leaving: Sequence[LoadedModel]) -> dict[str, int]:
        """Return how much should be free on GPUs without these models: at least half of their memory more."""
        if not devices or devices[0].kind == "cpu":
            return {}
        cards, _ = await self.devices.sample(devices)
        held_bytes = {card.key: 0 for card in cards}
        for loaded in leaving:
            for key in (keys := card_keys(loaded.device)):
                held_bytes[key] = held_bytes.get(key, 0) + loaded.held() // len(keys)
        return {card.key: card.free + held_bytes[card.key] // 2 for card in cards}

    async def _unload(self, loaded: LoadedModel, *, reuse: bool = False) -> None:
        """Release the memory of an unused model. With `reuse` its process stays, for another model."""
        self._loaded_models.pop(loaded.key, None)
        child = loaded.child
        if child is None:
            return
        if reuse and child.alive:
            try:
                await child.unload()
            except Retry as error:
                _log.warning("unload_failed", service=child.service, pid=child.pid, code=error.code)
            else:
                self.pool.put_back(child)
                return
        await child.close()

    async def _release_idle(self) -> None:
        idle_since = time.monotonic() - self.settings.idle_seconds
        idle = [loaded for loaded in self._unloadable() if loaded.used_at <= idle_since]
        reason = f"It was idle for {self.settings.idle_seconds:g} s."
        await self._release(idle, reason)

    async def release_model(self, name: str) -> None:
        """Unload an unused model, because it is being removed from the disk."""
        unused = [item for item in self._loaded_models.values() if item.idle and item.model_name == name]
        await self._release(unused, "It is being removed.")

    async def _release_paused(self) -> None:
        """Free the memory of paused devices: end their idle children, including those without a model."""
        if self.paused:
            idle = [
                loaded
                for loaded in self._loaded_models.values()
                if loaded.idle and not self.paused.isdisjoint(card_keys(loaded.device))
            ]
            await self._release(idle, "Its device is paused.")
            await self.pool.close_spares(self.paused)

    async def _give_way(self) -> None:
        """Unload idle models, the least recently used first, if another program uses the memory reserved for the owner."""
        if not any(loaded.idle for loaded in self._loaded_models.values()):
            return
        devices = self.devices.devices
        cards, sampled_at = await self.devices.sample(devices)
        keys = overdue(cards, self._occupants(sampled_at), self.devices.rules(devices))
        leaving = [loaded for key in keys if (loaded := self._loaded_models.get(key)) is not None]
        await self._release(leaving, "Another program needs the GPU's memory.")

    async def _release(self, leaving: Sequence[LoadedModel], reason: str) -> None:
        for loaded in leaving:
            self._loaded_models.pop(loaded.key, None)
            self._placements.record("released", loaded.service, loaded.model_name, reason, loaded.device)
        await asyncio.gather(*(self._unload(loaded) for loaded in leaving))
        if leaving:
            self.on_change()

    # --- Shared -----------------------------------------------------------------------------------------------------

    def _profiled(self) -> frozenset[str]:
        """Return the cards of models whose loading would fail if memory were freed there."""
        profiling = (loaded for loaded in self._loaded_models.values() if loaded.profiling)
        return frozenset(key for loaded in profiling for key in card_keys(loaded.device))

    def _unloadable(self) -> list[LoadedModel]:
        """Return the idle models that are not on such cards."""
        profiled = self._profiled()
        return [
            loaded
            for loaded in self._loaded_models.values()
            if loaded.idle and profiled.isdisjoint(card_keys(loaded.device))
        ]

    def _occupants(
        self,
        sampled_at: float,
        interpreter: Interpreter | None = None,
        profiled: frozenset[str] = frozenset(),
    ) -> Iterator[Occupant]:
        """Yield the models as the placement sees them. Those on cards in `profiled` cannot be evicted."""
        return (
            replace(occupant, evictable=profiled.isdisjoint(card_keys(loaded.device)))
            for loaded in list(self._loaded_models.values())
            if loaded.child is None or loaded.child.alive
            for occupant in loaded.occupants(sampled_at, interpreter)
        )

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
