"""Which node runs which model: reserves resources of Ray for loaded models, and gives those of idle ones back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from agent.core.values.quantities import gibibytes
from agent.miner.backoff import sleep
from agent.miner.engines.interpreters import Interpreter, Interpreters
from agent.miner.executor.child import Child, RunListener
from agent.miner.executor.loaded_model import card_keys
from agent.miner.executor.output import ChildOutput
from agent.miner.executor.placement_log import PlacementLog, WaitingRun
from agent.miner.machine.capabilities import ServiceOffer
from agent.miner.models.provider import Lent
from agent.miner.models.store import ModelStore
from agent.miner.settings import MinerSettings
from agent.miner.tasks import retrieve
from agent.sections import section_of
from aitbc_ray.connection import CALL_SECONDS, Demand, NodeLost, call, stream
from aitbc_ray.nodes import Node, Nodes
from aitbc_ray.offers import accelerated, serving
from aitbc_ray.remote_model import RemoteModel
from aitbc_ray.remote_process import RemoteProcess
from aitbc_ray.reservations import SYNC_SECONDS, Reservations
from aitbc_ray.runner_host import RunnerHost
from aitbc_ray.settings import RaySettings
from runners.api import Device, FailureCode, Model, Retry, Runner

_POLL_SECONDS: Final = 0.5
_AVOID_SECONDS: Final = 5.0
"""How long a job avoids a node on which Ray did not start it."""


class Placement:
    """Puts models onto the living nodes that serve them, and holds those that are loaded in `models`."""

    def __init__(
        self,
        nodes: Nodes,
        store: ModelStore,
        settings: MinerSettings,
        services: Mapping[str, ServiceOffer],
        runners: Mapping[str, type[Runner[Any]]],
        directory: Path,
        log: PlacementLog,
        on_load_failed: Callable[[str, str, Retry], None],
    ) -> None:
        self._nodes = nodes
        self._store = store
        self._settings = settings
        self._ray = section_of(settings, RaySettings)
        self._services = services
        self._runners = runners
        self._directory = directory
        self._log = log
        self._on_load_failed = on_load_failed
        self._paused: frozenset[str] = frozenset()
        self._change = asyncio.Event()
        self._have_gpus = any(node.report.capabilities.gpus for node in nodes.living)
        self._numbers = itertools.count(1)
        self._outputs: dict[Path, ChildOutput] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._reservations = Reservations()
        self.models = self._reservations.models

    # Admission ------------------------------------------------------------------------------------------------------

    def admit(
        self,
        service: str,
        model: Model | None,
        parameters: Mapping[str, Any],
        gpus: int,
        listener: RunListener,
    ) -> RemoteModel:
        """Return a model, loaded or being loaded, with one more run."""
        name = model.name if model is not None else None
        engine = parameters.get("engine")
        engine = engine if isinstance(engine, str) else None
        for loaded in self.models:
            joinable = (loaded.service, loaded.model, loaded.engine) == (service, name, engine)
            if joinable and loaded.gpus >= gpus and self._accepts(loaded):
                loaded.runs += 1
                return loaded
        loaded = RemoteModel(
            service, name, engine, gpus, self.demand(service, name, gpus), self._services[service].concurrency,
            number=next(self._numbers),
        )  # fmt: skip
        self.models.append(loaded)
        opening = self._open(loaded, model, parameters, listener)
        loaded.opening = asyncio.create_task(opening, name=f"open-{service}")
        loaded.opening.add_done_callback(retrieve)
        return loaded

    def _accepts(self, loaded: RemoteModel) -> bool:
        return loaded.runs < loaded.capacity and loaded.alive and not self.on_paused_device(loaded)

    def leave(self, loaded: RemoteModel) -> None:
        """End a run's use."""
        loaded.runs -= 1
        loaded.used_at = time.monotonic()
        if loaded.runs == 0 and not loaded.opened:
            self._forget(loaded)
            if loaded.opening is not None:
                loaded.opening.cancel()
        elif loaded.child is not None and not loaded.child.alive:
            self._forget(loaded)
        self.changed()

    def demand(self, service: str, model: str | None, gpus: int = 0) -> Demand:
        """Return what a runner reserves of Ray."""
        settings, offer = self._ray, self._services[service]
        entry = self._store.catalogue.get(model) if model is not None else None
        on_gpu = self._have_gpus and accelerated(offer)
        memory = entry.memory if entry is not None and not on_gpu else 0
        share = float(gpus) if gpus > 1 else settings.gpus
        return Demand(settings.cpus, share if on_gpu else 0.0, int(settings.memory) + memory)

    def free(self) -> int:
        """Return for how many more runners of the usual demand the nodes have resources, with those of idle models."""
        if not self._nodes.reachable:
            return 0
        settings = self._ray
        usual = Demand(settings.cpus, settings.gpus if self._have_gpus else 0.0, int(settings.memory))
        return sum(usual.times(self._reservations.for_runs(node)) for node in self._nodes.living)

    def obstacle(self, service: str, model: str) -> str | None:
        """Return why a model fits on no node, None if it does."""
        demand = self.demand(service, model)
        largest = max(
            (node.info.resources.get("memory", 0.0) for node in self._serving(service)), default=0.0
        )
        if demand.memory > largest:
            return f"It needs {gibibytes(demand.memory)} of memory, and no node has more than {gibibytes(int(largest))}."
        entry = self._store.catalogue.get(model)
        cards = [gpu.memory_total for node in self._serving(service) for gpu in node.report.capabilities.gpus]
        if entry is not None and demand.gpus and cards:
            vram, largest_card = entry.vram_min or entry.vram, int(max(cards) * min(1.0, demand.gpus))
            if vram > largest_card:
                return f"It needs {gibibytes(vram)}, and a runner here has at most {gibibytes(largest_card)} of a GPU."
        return None

    # Loading --------------------------------------------------------------------------------------------------------

    async def _open(
        self, loaded: RemoteModel, model: Model | None, parameters: Mapping[str, Any], listener: RunListener
    ) -> Child:
        try:
            with self._log.waiting(loaded.service, loaded.model) as waiting:
                actor, device = await self._start_actor(loaded, waiting, listener)
            return await self._load(loaded, actor, device, model, parameters)
        except BaseException as error:
            self._forget(loaded)
            if isinstance(error, Retry) and loaded.model is not None:
                self._on_load_failed(loaded.service, loaded.model, error)
            raise

    async def _start_actor(
        self, loaded: RemoteModel, waiting: WaitingRun, listener: RunListener
    ) -> tuple[Any, Device]:
        """Fetch the model on a node, and reserve its demand there. Raises `Retry`."""
        since = time.monotonic()
        avoided: dict[Node, float] = {}
        while True:
            change = self._change
            now = time.monotonic()
            node = await self._choose(loaded, {node for node, until in avoided.items() if until > now})
            if node is not None:
                loaded.chosen = node
                if await self._lend(loaded, node, listener):
                    # A download takes minutes, which are not the cluster's lack of resources.
                    since = time.monotonic()
                if (placed := await self._reserve(loaded, node)) is not None:
                    loaded.reserved_at = time.monotonic()
                    self._log.record("placed", loaded.service, loaded.model, f"Node {node.name}.", placed[1])
                    return placed
                # Ray may have given the resources to somebody else, and its figures say so only later.
                avoided[node] = time.monotonic() + _AVOID_SECONDS
                await self._give_back(loaded, node)
                loaded.chosen = None
            reason = self._why_waiting(loaded)
            self._log.waits(waiting, reason)
            remaining = since + self._settings.placement_wait_seconds - time.monotonic()
            if remaining <= 0:
                raise Retry(reason, code=FailureCode.NO_MEMORY)
            await sleep(min(remaining, _POLL_SECONDS), change)

    async def _choose(self, loaded: RemoteModel, avoided: Collection[Node]) -> Node | None:
        """Return a node with enough free resources, one that has the model if possible; unload idle models if there is none."""
        with suppress(NodeLost):
            await self._nodes.read_available()
        able = [node for node in self._serving(loaded.service) if node not in avoided]
        fitting = [node for node in able if loaded.demand.fits(self._reservations.spare(node))]
        if fitting:
            return max(
                fitting,
                key=lambda node: (
                    _present(node, loaded),
                    -len(self._reservations.of(node)),
                    self._reservations.spare(node).get("CPU", 0.0),
                ),
            )
        if any(loaded.demand.fits(self._reservations.soon(node)) for node in able):
            return None  # what was unloaded a moment ago will be free in a moment
        for idle_model in sorted(
            (idle_model for idle_model in self.models if idle_model.idle),
            key=lambda idle_model: idle_model.used_at,
        ):
            if idle_model.chosen in able and loaded.demand.fits(
                self._reservations.without_idle(idle_model.node)
            ):
                reason = f"{loaded.model or loaded.service} needs its resources."
                await self._unload([idle_model], reason, "evicted")
                break
        return None

    def _serving(self, service: str) -> list[Node]:
        offer = self._services[service]
        return [node for node in self._nodes.living if serving(node, offer, gpus=self._have_gpus)]

    def _why_waiting(self, loaded: RemoteModel) -> str:
        if not self._nodes.reachable:
            return "The head of the Ray cluster does not answer."
        if not self._serving(loaded.service):
            return "No living node of the cluster serves it."
        demand = ", ".join(
            f"{gibibytes(int(amount)) if name == 'memory' else f'{amount:g} {name}'}"
            for name, amount in loaded.demand.named().items()
            if amount
        )
        return f"No node of the cluster has {demand} free."

    async def _lend(self, loaded: RemoteModel, node: Node, listener: RunListener) -> bool:
        """Fetch the model on the node, where it stays while it is loaded. Return whether it was downloaded."""
        waited = False
        if loaded.model is not None:
            async for item in stream(node.actor.lend, _loan(loaded), loaded.model, []):
                if isinstance(item, Lent):
                    loaded.on_node = item.model
                else:
                    waited = True
                    name, fetched, total = item
                    listener.event("model", {"model": name, "done": fetched, "total": total})
        return waited

    async def _give_back(self, loaded: RemoteModel, node: Node) -> None:
        if loaded.model is not None:
            with suppress(Retry):
                await call(node.actor.release.remote(_loan(loaded)))

    async def _reserve(self, loaded: RemoteModel, node: Node) -> tuple[Any, Device] | None:
        """Return an actor on the node and its device; None if Ray does not start it, or only on a paused GPU."""
        actors: list[Any] = []
        try:
            while loaded.demand.fits(node.available):
                actors.append(
                    self._nodes.cluster.start_actor(
                        RunnerHost, node.info.id, loaded.demand, node.report.directory
                    )
                )
                names = await call(actors[-1].devices.remote(), self._ray.start_seconds)
                device = node.device(names, loaded.demand)
                if self._paused.isdisjoint(card_keys(device)):
                    return actors.pop(), device
                # While this GPU is held, Ray assigns another one.
                await asyncio.sleep(SYNC_SECONDS)
                await self._nodes.read_available()
        except NodeLost:
            return None
        else:
            return None
        finally:
            for actor in actors:
                self._nodes.cluster.end(actor)

    async def _load(
        self,
        loaded: RemoteModel,
        actor: Any,
        device: Device,
        model: Model | None,
        parameters: Mapping[str, Any],
    ) -> Child:
        node = loaded.node
        try:
            interpreter = self._interpreter(node, loaded.service, model, parameters)
            loaded.started = process = await RemoteProcess.start(
                self._nodes.cluster,
                actor,
                loaded.service,
                device,
                interpreter,
                self._ray.lost_seconds,
            )
        except BaseException:
            self._nodes.cluster.end(actor)
            raise
        child = await Child.start(
            loaded.service, device, node.report.tools, process,
            interpreter=interpreter,
            output=self._output(f"{loaded.service}-{node.info.host}.log"),
            process_mark=process.mark,
        )  # fmt: skip
        loaded.child = child
        # Ray only counts shares of a GPU; the runner itself must keep within its own.
        budget = int(device.memory * loaded.demand.gpus) if 0 < loaded.demand.gpus < 1 else None
        await child.load(loaded.on_node, self._settings.load_seconds, budget)
        loaded.opened = True
        loaded.used_at = time.monotonic()
        self.changed()
        return child

    def _output(self, name: str) -> ChildOutput:
        path = self._directory / "logs" / name
        return self._outputs.setdefault(path, ChildOutput(path))

    def _interpreter(
        self, node: Node, service: str, model: Model | None, parameters: Mapping[str, Any]
    ) -> Interpreter:
        offers = node.report.capabilities.services
        interpreters = Interpreters(
            offered={name: offer.interpreters for name, offer in offers.items()}, runners=self._runners
        )
        return interpreters.for_job(service, model, parameters)

    # Unloading ------------------------------------------------------------------------------------------------------

    async def release(self, chosen: Callable[[RemoteModel], bool], reason: str) -> None:
        """Unload idle models, and forget those whose processes have ended."""
        for loaded in [loaded for loaded in self.models if loaded.idle and not loaded.alive]:
            self._forget(loaded)
        idle = [loaded for loaded in self.models if loaded.idle and chosen(loaded)]
        await self._unload(idle, reason, "released")

    def pause(self, devices: frozenset[str]) -> None:
        """Pause these devices and no others."""
        self._paused = devices
        self.changed()

    def on_paused_device(self, loaded: RemoteModel) -> bool:
        """Whether a model is on a device that is paused."""
        return loaded.child is not None and not self._paused.isdisjoint(card_keys(loaded.child.device))

    def changed(self) -> None:
        """Have waiting jobs search for a node again."""
        self._change.set()
        self._change = asyncio.Event()

    async def close(self) -> None:
        """End all children."""
        for loaded in list(self.models):
            if loaded.opening is not None:
                loaded.opening.cancel()
            self._forget(loaded)
        if self._closing:
            await asyncio.wait(self._closing, timeout=CALL_SECONDS)
        for output in self._outputs.values():
            output.close()

    async def _unload(self, leaving: list[RemoteModel], reason: str, event: str) -> None:
        for loaded in leaving:
            device = loaded.child.device if loaded.child is not None else None
            self._log.record(event, loaded.service, loaded.model, reason, device)
            self._forget(loaded)
        if self._closing:
            await asyncio.wait(set(self._closing))

    def _forget(self, loaded: RemoteModel) -> None:
        """End a model's child, and free its resources."""
        if loaded in self.models:
            self.models.remove(loaded)
            task = asyncio.create_task(self._end(loaded), name=f"close-{loaded.service}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            self.changed()

    async def _end(self, loaded: RemoteModel) -> None:
        if loaded.child is not None:
            await loaded.child.close()
        elif loaded.started is not None:
            loaded.started.close()
        self._reservations.ended(loaded)
        if loaded.chosen is not None and self._nodes.lives(loaded.chosen):
            await self._give_back(loaded, loaded.chosen)


def _present(node: Node, loaded: RemoteModel) -> bool:
    return loaded.model is None or loaded.model in node.state.present.get(loaded.service, ())


def _loan(loaded: RemoteModel) -> str:
    return f"model-{loaded.number}"
