"""What lives on a device: a model in a child process, with the memory that it is counted with."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from agent.core.machine.placement import Resident
from agent.miner.executor.child import Child
from runners.api import Device, FailureCode, Model, Retry


@dataclass(eq=False, slots=True)
class LoadedModel:
    """A model, or what a runner without models needs, on a device.

    `footprint` is the memory that it may take in bytes, `limited` whether that is less than it likes. `opening` starts
    the child and loads the model; whoever has work for it waits for that. Times are monotonic seconds.
    """

    key: int
    service: str
    device: Device
    model: Model | None
    footprint: int
    limited: bool
    capacity: int
    runs: int = 0
    used_at: float = field(default_factory=time.monotonic)
    child: Child | None = None
    opening: asyncio.Task[Child] | None = None
    _ready_at: float = float("inf")

    @property
    def model_name(self) -> str | None:
        """The catalogue name."""
        return self.model.name if self.model is not None else None

    @property
    def open(self) -> bool:
        """Whether the model is loaded."""
        return self._ready_at < float("inf")

    @property
    def working(self) -> bool:
        """Whether it computes; loading counts."""
        return self.runs > 0 or not self.open

    async def ready(self) -> Child:
        """The child, once the model is loaded. Raises `Retry` if it could not be."""
        if self.opening is None:
            raise Retry("The runner was ended.", code=FailureCode.RUNNER_ENDED)
        return await asyncio.shield(self.opening)

    @property
    def resting(self) -> bool:
        """Whether it has nothing to do."""
        return not self.working

    def opened(self) -> None:
        """The model is loaded: from now on the device's figure counts it."""
        self._ready_at = self.used_at = time.monotonic()

    def resident(self, sampled_at: float) -> Resident:
        """As the placement sees it, beside figures that were read at `sampled_at`."""
        return Resident(
            key=self.key,
            card=card_key(self.device),
            service=self.service,
            model=self.model_name,
            footprint=self.footprint,
            held=self.held() if self._ready_at <= sampled_at else 0,
            runs=max(self.runs, int(self.working)),
            capacity=self.capacity,
            used_at=self.used_at,
        )

    def describe(self) -> dict[str, Any]:
        """For whoever asks what this machine does."""
        child = self.child
        return {
            "service": self.service,
            "device": self.device.uuid or self.device.kind,
            "pid": child.pid if child is not None else None,
            "model": self.model_name,
            "state": "working" if self.runs else "idle" if self.open else "loading",
            "busy": self.working,
            "running": self.runs,
            "capacity": self.capacity,
            "runs": child.runs if child is not None else 0,
            "footprint": self.footprint,
            "held": self.held(),
            "limited": self.limited,
        }

    def held(self) -> int:
        """Bytes that it takes at present."""
        if self.device.kind == "cpu":
            return self.child.memory() if self.child is not None else 0
        seen = self.child.vram if self.child is not None else 0
        # A runner that cannot say what it takes is believed to take all that it was given.
        return seen or (self.footprint if self.model is not None and self.open else 0)


def card_key(device: Device) -> str:
    """The name of a device in placements."""
    return device.uuid or device.kind
