"""Finds a device for every job, and keeps the models that are loaded there.

Where a job goes and what leaves for it is decided in `agent.core.machine.placement`; here the memory is measured, the decision
carried out, and after an eviction all of it asked again.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from agent.core.machine.placement import (
    Card,
    Demand,
    Join,
    Place,
    Refuse,
    Resident,
    Wait,
    decide,
    gibibytes,
    obstacle,
    overdue,
)
from agent.metrics import Meter
from agent.miner.executor.child import Child
from agent.miner.executor.circuit_breaker import ModelGuard
from agent.miner.executor.devices import Devices
from agent.miner.executor.loaded_model import LoadedModel, card_key
from agent.miner.executor.pool import ChildPool
from agent.miner.metrics import PLACEMENTS
from agent.settings import MinerSettings
from runners.api import Device, FailureCode, Model, Retry

RECLAIM_SECONDS: Final = 3.0
"""How long the driver may take to count the memory of a process that has ended as free."""
LOOK_SECONDS: Final = 1.0
"""How often memory is measured while a job waits for some, or while idle models may have to make room for others."""
REMEMBERED: Final = 50

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Waiting:
    """A job that waits for a place."""

    service: str
    model: str | None
    since: float
    reason: str = "It has just come."


class ModelScheduler:
    """`admit` gives a job its loaded model, `leave` takes it back. `tend` releases what is idle.

    `on_change` is called when the models that can be offered may have changed. `paused` are the keys of devices that get
    no jobs and keep no idle models; set it with `pause`.
    """

    def __init__(
        self,
        devices: Devices,
        pool: ChildPool,
        settings: MinerSettings,
        on_change: Callable[[], None],
        meter: Meter,
    ) -> None:
        self._devices = devices
        self._pool = pool
        self._settings = settings
        self._on_change = on_change
        self._meter = meter
        self._loaded_models: dict[int, LoadedModel] = {}
        self._numbers = itertools.count(1)
        self._waiting: list[_Waiting] = []
        self._recent: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._change = asyncio.Event()
        self.guard = ModelGuard()
        self.paused: frozenset[str] = frozenset()

    def pause(self, devices: frozenset[str]) -> None:
        """From now on these devices, and no others, get no jobs; idle models leave them at once."""
        self.paused = devices
        self._changed()
        self._on_change()

    async def admit(self, service: str, model: Model | None, parameters: Mapping[str, Any]) -> LoadedModel:
        """A loaded model with one more run. Raises `Retry` if there is no place, not even after `miner.place_seconds`."""
        waiting = _Waiting(service, model.name if model is not None else None, time.monotonic())
        rules = self._devices.rules(self._devices.of(service))
        self._waiting.append(waiting)
        try:
            while True:
                change = self._change
                devices = self._unpaused(service)
                if not devices:
                    await self._wait(waiting, "All devices for it are paused.", change)
                    continue
                demand = self._devices.demand(service, waiting.model, parameters)
                cards, sampled_at = await self._devices.sample(devices, demand)
                if any(card.key in self.paused for card in cards):
                    continue  # it was paused while it was being measured
                decision = decide(demand, cards, self._residents(sampled_at), rules)
                match decision:
                    case Join(key, ()):
                        loaded = self._loaded_models[key]
                        loaded.runs += 1
                        return loaded
                    case Place(card, budget, ()):
                        device = next(device for device in devices if card_key(device) == card)
                        return self._open(service, model, device, demand, budget)
                    case Join() | Place():
                        await self._evict(decision.evict, demand)
                    case Refuse(reason):
                        self._remember("refused", service, waiting.model, reason)
                        raise Retry(reason, code=FailureCode.NO_MEMORY)
                    case Wait(reason):
                        await self._wait(waiting, reason, change)
        finally:
            self._waiting.remove(waiting)

    def leave(self, loaded: LoadedModel) -> None:
        """A run has ended. A model that is still being loaded, and that nobody waits for any more, is given up."""
        loaded.runs -= 1
        loaded.used_at = time.monotonic()
        if loaded.runs == 0 and not loaded.open:
            self._loaded_models.pop(loaded.key, None)
            if loaded.opening is not None:
                loaded.opening.cancel()
        if loaded.child is not None and not loaded.child.alive:
            self.child_ended(loaded.child)
        self._changed()

    def child_ended(self, child: Child) -> None:
        """A child is gone, and with it what lived in it."""
        for loaded in [loaded for loaded in self._loaded_models.values() if loaded.child is child]:
            del self._loaded_models[loaded.key]
            if child.fault_code == FailureCode.RUNNER_HUNG and loaded.model is not None:
                self._hung(loaded.service, loaded.model.name)
        self._changed()

    def _hung(self, service: str, model: str) -> None:
        if self.guard.hung(service, model, time.monotonic()):
            self._rests(service, model, FailureCode.RUNNER_HUNG)

    def loaded_models(self) -> list[LoadedModel]:
        """All of them."""
        return list(self._loaded_models.values())

    def placement(self) -> dict[str, Any]:
        """What waits for a device and why, and what happened lately."""
        now = time.monotonic()
        return {
            "waiting": [
                {
                    "service": job.service,
                    "model": job.model,
                    "reason": job.reason,
                    "seconds": round(now - job.since, 1),
                }
                for job in self._waiting
            ],
            "recent": list(self._recent),
        }

    async def unavailable_models(self, models: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """Which of these models, by service, cannot be had at present, and why."""
        held: dict[str, dict[str, str]] = {}
        for service, name, reason in self.guard.resting(time.monotonic()):
            held.setdefault(service, {})[name] = reason
        footprints = self._devices.footprints
        samples: dict[tuple[Device, ...], tuple[list[Card], float]] = {}
        if footprints is None:
            return held
        for service, names in models.items():
            devices = self._devices.of(service)
            if devices not in samples:
                samples[devices] = await self._devices.sample(devices)
            cards, sampled_at = samples[devices]
            residents, rules = list(self._residents(sampled_at)), self._devices.rules(devices)
            unpaused = [card for card in cards if card.key not in self.paused]
            for name in names if cards else ():
                demand = footprints.demand(service, name, devices[0])
                obstructed = obstacle(demand, cards, residents, rules)
                if obstructed is None and unpaused and obstacle(demand, unpaused, residents, rules):
                    obstructed = "It fits only on a GPU that is paused."
                if obstructed is not None:
                    held.setdefault(service, {}).setdefault(name, obstructed)
        return held

    def _unpaused(self, service: str) -> tuple[Device, ...]:
        return tuple(device for device in self._devices.of(service) if card_key(device) not in self.paused)

    async def tend(self) -> None:
        """Until cancelled: end what has been idle for long, and what another program needs the memory of."""
        while True:
            change = self._change
            seconds = self._settings.idle_seconds
            await self._release_idle()
            await self._release_paused()
            if self._devices.have_gpus:
                await self._give_way()
            now = time.monotonic()
            due = [
                loaded.used_at + seconds - now for loaded in self._loaded_models.values() if loaded.resting
            ]
            due += [left for left in (await self._pool.close_idle(seconds),) if left is not None]
            limit = max(0.01, min([seconds, *due]))
            await _within(
                min(limit, LOOK_SECONDS) if self._devices.have_gpus and self._loaded_models else limit, change
            )

    def close(self) -> None:
        """Give up what is being loaded. The pool ends the children."""
        for loaded in self._loaded_models.values():
            if loaded.opening is not None:
                loaded.opening.cancel()
        self._loaded_models.clear()

    # --- Moving in --------------------------------------------------------------------------------------------------

    def _open(
        self, service: str, model: Model | None, device: Device, demand: Demand, budget: int
    ) -> LoadedModel:
        loaded = LoadedModel(
            key=next(self._numbers),
            service=service,
            device=device,
            model=model,
            footprint=budget,
            limited=budget < demand.need,
            capacity=self._devices.capacity.get(service, 1),
            runs=1,
        )
        self._loaded_models[loaded.key] = loaded
        if model is not None:
            saving = f", less than the {gibibytes(demand.need)} that it likes" if loaded.limited else ""
            reason = f"It may take {gibibytes(budget)}{saving}."
            self._remember("placed", service, model.name, reason, device)
        loaded.opening = asyncio.create_task(self._move_in(loaded), name=f"open-{service}-{loaded.key}")
        loaded.opening.add_done_callback(_retrieve)
        return loaded

    async def _move_in(self, loaded: LoadedModel) -> Child:
        """Take a child and load the model."""
        try:
            loaded.child = child = await self._pool.get(loaded.service, loaded.device)
            if loaded.model is not None or not child.loaded:
                budget = (
                    loaded.footprint if loaded.device.kind == "cuda" and loaded.model is not None else None
                )
                await child.load(loaded.model, self._settings.load_seconds, budget)
        except BaseException as error:
            self._loaded_models.pop(loaded.key, None)
            if isinstance(error, Retry) and loaded.model is not None:
                self.load_failed(loaded.service, loaded.model.name, error, loaded.device)
            if loaded.child is not None:
                self._pool.let_go(loaded.child)
            self._changed()
            raise
        loaded.opened()
        self._changed()
        if loaded.model is not None:
            self._on_change()
        return child

    def load_failed(self, service: str, model: str, error: Retry, device: Device | None = None) -> None:
        """A model could not be had."""
        reason = str(error).rstrip(".")[:300] + "."
        self._remember("not loaded", service, model, reason, device)
        if self.guard.load_failed(service, model, time.monotonic(), reason):
            self._rests(service, model, error.code)

    def _rests(self, service: str, model: str, cause: str) -> None:
        _log.warning("model_circuit_open", service=service, model=model, cause=cause)
        self._on_change()

    async def _wait(self, waiting: _Waiting, reason: str, change: asyncio.Event) -> None:
        if reason != waiting.reason:
            self._remember("waits", waiting.service, waiting.model, reason)
        waiting.reason = reason
        left = waiting.since + self._settings.place_seconds - time.monotonic()
        if left <= 0:
            raise Retry(reason, code=FailureCode.NO_MEMORY)
        await _within(min(left, LOOK_SECONDS), change)

    # --- Moving out -------------------------------------------------------------------------------------------------

    async def _evict(self, keys: Sequence[int], demand: Demand) -> None:
        """End idle loaded models, and wait until the driver counts their memory as free."""
        leaving = [loaded for key in keys if (loaded := self._loaded_models.pop(key, None)) is not None]
        devices = tuple({loaded.device for loaded in leaving})
        expected = await self._expected(devices, leaving)
        for loaded in leaving:
            reason = f"{demand.model or demand.service} needs its room."
            self._remember("evicted", loaded.service, loaded.model_name, reason, loaded.device)
        await asyncio.gather(
            *(self._let_go(loaded, reuse=loaded.service == demand.service) for loaded in leaving)
        )
        end = time.monotonic() + RECLAIM_SECONDS
        while expected and time.monotonic() < end:
            cards, _ = await self._devices.sample(devices)
            if all(card.free >= expected[card.key] for card in cards):
                break
            await asyncio.sleep(LOOK_SECONDS / 20)

    async def _expected(self, devices: tuple[Device, ...], leaving: Sequence[LoadedModel]) -> dict[str, int]:
        """How much should be free on GPUs when these have left: at least half of what they held."""
        if not devices or devices[0].kind == "cpu":
            return {}
        cards, _ = await self._devices.sample(devices)
        held = {card.key: 0 for card in cards}
        for loaded in leaving:
            held[card_key(loaded.device)] = held.get(card_key(loaded.device), 0) + loaded.held()
        return {card.key: card.free + held[card.key] // 2 for card in cards}

    async def _let_go(self, loaded: LoadedModel, *, reuse: bool = False) -> None:
        """Take the memory of a loaded model that nobody uses. With `reuse` its process stays, for another model."""
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
                self._pool.put_back(child)
                return
        await child.close()

    async def _release_idle(self) -> None:
        before = time.monotonic() - self._settings.idle_seconds
        idle = [
            loaded for loaded in self._loaded_models.values() if loaded.resting and loaded.used_at <= before
        ]
        reason = f"It was idle for {self._settings.idle_seconds:g} s."
        await self._release(idle, reason)

    async def release_model(self, name: str) -> None:
        """Have a model that nobody uses leave the memory, because it leaves the disk."""
        resting = [item for item in self._loaded_models.values() if item.resting and item.model_name == name]
        await self._release(resting, "It is being removed.")

    async def _release_paused(self) -> None:
        """Whoever paused a device wants its memory: what is idle there leaves, processes without a model too."""
        if self.paused:
            idle = [
                loaded
                for loaded in self._loaded_models.values()
                if loaded.resting and card_key(loaded.device) in self.paused
            ]
            await self._release(idle, "Its device is paused.")
            await self._pool.close_spares(self.paused)

    async def _give_way(self) -> None:
        """Another program has taken what is kept free for the owner: idle models leave, the least used first."""
        if not any(loaded.resting for loaded in self._loaded_models.values()):
            return
        devices = self._devices.devices
        cards, sampled_at = await self._devices.sample(devices)
        keys = overdue(cards, self._residents(sampled_at), self._devices.rules(devices))
        leaving = [loaded for key in keys if (loaded := self._loaded_models.get(key)) is not None]
        await self._release(leaving, "Another program needs the GPU's memory.")

    async def _release(self, leaving: Sequence[LoadedModel], reason: str) -> None:
        for loaded in leaving:
            self._loaded_models.pop(loaded.key, None)
            self._remember("released", loaded.service, loaded.model_name, reason, loaded.device)
        await asyncio.gather(*(self._let_go(loaded) for loaded in leaving))
        if leaving:
            self._on_change()

    # --- Shared -----------------------------------------------------------------------------------------------------

    def _residents(self, sampled_at: float) -> Iterator[Resident]:
        return (
            loaded.resident(sampled_at)
            for loaded in list(self._loaded_models.values())
            if loaded.child is None or loaded.child.alive
        )

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _remember(
        self, event: str, service: str, model: str | None, reason: str, device: Device | None = None
    ) -> None:
        where = card_key(device) if device is not None else None
        entry = {"event": event, "service": service, "model": model, "device": where, "reason": reason}
        _log.info("placement", what=event, service=service, model=model, device=where, reason=reason)
        self._meter.count(PLACEMENTS, service, event.replace(" ", "_"))
        self._recent.append({"at": time.time(), **entry})


async def _within(seconds: float, change: asyncio.Event) -> None:
    """Wait until something changed, for at most so long."""
    try:
        async with asyncio.timeout(seconds):
            await change.wait()
    except TimeoutError:
        return


def _retrieve(task: asyncio.Task[Child]) -> None:
    """Whoever waited for the child has heard of its failure; nobody may have."""
    if not task.cancelled():
        task.exception()
