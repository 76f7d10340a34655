"""Runs jobs on the nodes of a Ray cluster.

A loaded model is a child process in an actor, for which Ray reserves processors, GPUs and memory on one node, so that the
owner's other work keeps what it has. An idle model is unloaded after a while, or as soon as another job needs its resources.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from agent.core.values.quantities import parse_quantity
from agent.metrics import Meter
from agent.miner.executor.child import RunListener
from agent.miner.executor.circuit_breaker import ModelGuard
from agent.miner.executor.contract import Execution, OnStage, Working
from agent.miner.executor.loaded_model import card_keys
from agent.miner.executor.placement_log import PlacementLog
from agent.miner.machine.capabilities import ServiceOffer
from agent.miner.models.provider import Lent
from agent.miner.models.store import ModelStore
from agent.miner.settings import MinerSettings
from agent.miner.tasks import Background
from aitbc_ray.connection import NodeLost, call, stream
from aitbc_ray.nodes import Nodes
from aitbc_ray.placement import Placement
from aitbc_ray.remote_files import RemoteFiles
from aitbc_ray.remote_model import RemoteModel
from runners.api import FailureCode, Model, Retry, Runner
from runners.host.protocol import Done, FileReference, ProtocolError, Run

_TEND: Final = "cluster-tend"
_DIGEST_SECONDS: Final = 3600.0

_log = structlog.get_logger(__name__)


class RayExecutor:
    """The executor of a cluster. `services` are offered, `directory` is for logs.

    `on_change` is called when the set of available models may have changed, `on_capacity` when `free` may have.
    """

    def __init__(
        self,
        nodes: Nodes,
        store: ModelStore,
        settings: MinerSettings,
        services: Mapping[str, ServiceOffer],
        runners: Mapping[str, type[Runner[Any]]],
        directory: Path,
        *,
        meter: Meter,
        on_change: Callable[[], None],
    ) -> None:
        self._nodes = nodes
        self._store = store
        self._settings = settings
        self._on_change = on_change
        self._log = PlacementLog(meter)
        self._guard = ModelGuard()
        self._background = Background()
        self._placement = Placement(
            nodes, store, settings, services, runners, directory, self._log, self.model_failed
        )
        self.on_capacity: Callable[[], None] = lambda: None
        nodes.on_change = self._nodes_changed
        self._background.spawn(self._tend(), _TEND)
        self._background.spawn(nodes.run(), "cluster-nodes")

    async def run(
        self,
        service: str,
        model: Model | None,
        message: Run,
        listener: RunListener | None = None,
        *,
        on_stage: OnStage = lambda _stage, _devices: None,
    ) -> Execution:
        """Run one job on a node. Raises `Fail` or `Retry`. Cancelling the calling task ends the job first."""
        listener = listener or RunListener()
        gpus = int(parse_quantity(message.resources.get("gpu") or "0"))
        loaded = self._placement.admit(service, model, message.parameters, gpus, listener)
        try:
            child = await loaded.ready()
            on_stage("loading", card_keys(child.device))
            results = await self._perform(loaded, message, listener, on_stage)
            if loaded.model is not None:
                self._guard.success(service, loaded.model)
            weights = None
            if model is not None:
                weights = await call(
                    loaded.node.actor.digest.remote(model.name, list(results.weights)), _DIGEST_SECONDS
                )
            return Execution(results, child.runner, child.device, weights)
        except Retry as error:
            # Other failures may be the job's own; a model that hangs again and again is not offered for a while.
            if loaded.model is not None and error.code == FailureCode.RUNNER_HUNG:
                self._guard.hung(service, loaded.model, time.monotonic())
            raise
        finally:
            self._placement.leave(loaded)
            self.on_capacity()

    async def _perform(
        self, loaded: RemoteModel, message: Run, listener: RunListener, on_stage: OnStage
    ) -> Done:
        """Run the job in a child that is ready, with its files on the node, and fetch its output files."""
        child = await loaded.ready()
        files = RemoteFiles(loaded.process.actor, message)
        try:
            lent = await self._adapters(loaded, message)
            node_message = (await files.send()).model_copy(update={"adapters": dict(lent)})
            on_stage("running", card_keys(child.device))
            results = await child.run(
                node_message,
                self._fetching_checkpoints(listener, files),
                stall_seconds=self._settings.stall_seconds,
                cancel_seconds=self._settings.cancel_seconds,
            )
            await files.fetch_results(results)
            return results
        finally:
            # In the background: the result need not wait until the node has deleted its files.
            self._background.spawn(self._clean_up(loaded, message, files), f"clean-{message.run_id}")

    async def _adapters(self, loaded: RemoteModel, message: Run) -> Mapping[str, Model]:
        """Fetch the run's adapters on its node, and return them with the node's paths."""
        if not message.adapters:
            return {}
        async for item in stream(loaded.node.actor.lend, message.run_id, None, list(message.adapters)):
            if isinstance(item, Lent):
                return item.adapters
        raise NodeLost("The node did not provide the adapters.")

    async def _clean_up(self, loaded: RemoteModel, message: Run, files: RemoteFiles) -> None:
        await files.remove()
        if message.adapters:
            with suppress(NodeLost):
                await call(loaded.node.actor.release.remote(message.run_id))

    def _fetching_checkpoints(self, listener: RunListener, files: RemoteFiles) -> RunListener:
        """Return a listener that gets each checkpoint once its file is on this machine."""

        async def fetch(reference: FileReference) -> None:
            try:
                await files.fetch(reference)
            except (Retry, ProtocolError, OSError) as error:
                _log.warning("checkpoint_not_fetched", error=str(error))
                return
            listener.checkpoint(reference)

        def on_checkpoint(reference: FileReference) -> None:
            self._background.spawn(fetch(reference), "cluster-checkpoint")

        return RunListener(listener.progress, listener.event, on_checkpoint, listener.log)

    # State ----------------------------------------------------------------------------------------------------------

    def pause(self, devices: frozenset[str]) -> None:
        """See `Executor`. Ray chooses the GPU on a node; an actor that gets a paused one is placed again."""
        self._placement.pause(devices)
        self._on_change()

    async def release_model(self, name: str) -> None:
        """See `Executor`."""
        await self._placement.release(lambda loaded: loaded.model == name, "It is being removed.")

    def model_failed(self, service: str, model: str, error: Retry) -> None:
        """See `Executor`. The loss of a node, or a lack of free resources, says nothing about a model."""
        if error.code in {FailureCode.NODE_LOST, FailureCode.NO_MEMORY}:
            return
        reason = str(error).rstrip(".")[:300] + "."
        self._log.record("not loaded", service, model, reason)
        if self._guard.load_failed(service, model, time.monotonic(), reason):
            _log.warning("model_circuit_open", service=service, model=model, cause=error.code)
            self._on_change()

    @property
    def supervised(self) -> bool:
        """See `Executor`."""
        return self._background.has(_TEND) and self._background.has("cluster-nodes")

    def free(self) -> int | None:
        """See `Executor`: how many more runners the nodes have resources for, with those of idle ones."""
        return self._placement.free()

    def loaded(self) -> dict[str, list[str]]:
        """See `Executor`."""
        models: dict[str, set[str]] = {}
        for loaded in self._placement.models:
            if loaded.opened and loaded.model is not None:
                models.setdefault(loaded.service, set()).add(loaded.model)
        return {service: sorted(names) for service, names in models.items()}

    def working(self) -> list[Working]:
        """See `Executor`."""
        return [
            Working(
                loaded.service, loaded.model, card_keys(loaded.child.device), loaded.runs, loaded.capacity
            )
            for loaded in self._placement.models
            if loaded.runs > 0 and loaded.child is not None
        ]

    async def unavailable_models(self, models: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
        """See `Executor`: models that failed repeatedly, and those that fit on no node."""
        unavailable: dict[str, dict[str, str]] = {}
        for service, name, reason in self._guard.cooling_down(time.monotonic()):
            unavailable.setdefault(service, {})[name] = reason
        for service, names in models.items():
            for name in names:
                if (obstacle := self._placement.obstacle(service, name)) is not None:
                    unavailable.setdefault(service, {}).setdefault(name, obstacle)
        return unavailable

    def status(self) -> list[dict[str, Any]]:
        """See `Executor`."""
        return [loaded.describe() for loaded in self._placement.models]

    def placement(self) -> dict[str, Any]:
        """See `Executor`."""
        return {**self._log.to_status(), "nodes": self._node_status()}

    def _node_status(self) -> list[dict[str, Any]]:
        working = [
            {
                "node": node.name,
                "gpus": len(node.report.capabilities.gpus),
                "free": {name: node.available.get(name, 0) for name in ("CPU", "GPU", "memory")},
                "reason": None,
            }
            for node in self._nodes.living
        ]
        refused = [
            {"node": name, "gpus": 0, "free": {}, "reason": reason}
            for name, reason in self._nodes.refused.items()
        ]
        return [*working, *refused]

    def _nodes_changed(self) -> None:
        self._placement.changed()
        self._on_change()
        self.on_capacity()

    async def _tend(self) -> None:
        while True:
            idle_since = time.monotonic() - self._settings.idle_seconds
            await self._placement.release(
                lambda loaded, idle_since=idle_since: loaded.used_at <= idle_since,  # type: ignore[misc]  # the default binds it
                f"It was idle for {self._settings.idle_seconds:g} s.",
            )
            await self._placement.release(self._placement.on_paused_device, "Its device is paused.")
            await asyncio.sleep(min(1.0, self._settings.idle_seconds / 2))

    async def close(self) -> None:
        """See `Executor`."""
        await self._background.close()
        await self._placement.close()
