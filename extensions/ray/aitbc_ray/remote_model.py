"""A model that is loaded on a node of a Ray cluster, with the resources that Ray has reserved for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from agent.miner.executor.child import Child
from agent.miner.executor.loaded_model import card_keys
from aitbc_ray.connection import Demand, NodeLost
from aitbc_ray.nodes import Node
from aitbc_ray.remote_process import RemoteProcess
from runners.api import FailureCode, Model, Retry


@dataclass(eq=False, slots=True)
class RemoteModel:
    """A model on a node, or the engine of a runner without models. Times are monotonic seconds.

    The `opening` task chooses the node, fetches the model there, reserves the `demand` of Ray, starts the child and loads the model.
    """

    service: str
    model: str | None
    engine: str | None
    gpus: int
    demand: Demand
    capacity: int
    runs: int = 1
    used_at: float = field(default_factory=time.monotonic)
    opened: bool = False
    number: int = 0
    reserved_at: float = float("inf")
    chosen: Node | None = None
    on_node: Model | None = None
    started: RemoteProcess | None = None
    child: Child | None = None
    opening: asyncio.Task[Child] | None = None

    @property
    def idle(self) -> bool:
        """Whether it is loaded and has no runs."""
        return self.opened and not self.runs

    @property
    def node(self) -> Node:
        """Its node, once it is `ready`."""
        if self.chosen is None:
            raise NodeLost("The runner has no node.")
        return self.chosen

    @property
    def process(self) -> RemoteProcess:
        """Its process, once it is `ready`."""
        if self.started is None:
            raise NodeLost("The runner has no process.")
        return self.started

    @property
    def alive(self) -> bool:
        """Whether further runs may join it."""
        return self.child is None or self.child.alive

    async def ready(self) -> Child:
        """Return the child once the model is loaded. Raises `Retry` if that failed."""
        if self.opening is None:
            raise Retry("The program that ran the job was ended.", code=FailureCode.RUNNER_ENDED)
        return await asyncio.shield(self.opening)

    def describe(self) -> dict[str, Any]:
        """Return its state for the daemon's status."""
        child = self.child
        return {
            "service": self.service,
            "device": ",".join(card_keys(child.device)) if child is not None else "",
            "node": self.chosen.name if self.chosen is not None else None,
            "pid": child.pid if child is not None else None,
            "model": self.model,
            "environment": child.interpreter.engine if child is not None else None,
            "state": "working" if self.opened and self.runs else "idle" if self.opened else "loading",
            "busy": self.runs > 0 or not self.opened,
            "running": self.runs,
            "capacity": self.capacity,
            "runs": child.runs if child is not None else 0,
            "held": child.memory() if child is not None else 0,
            "limited": False,
        }
