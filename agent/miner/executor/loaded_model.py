"""A model that is loaded on a device, in a child process, with the memory that is counted for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

from agent.miner.engines.interpreters import Interpreter
from agent.miner.executor.child import Child
from agent.miner.executor.footprints import MainMemory
from agent.miner.executor.placement import MAIN_MEMORY, Occupant
from runners.api import Device, FailureCode, Model, Retry


@dataclass(eq=False, slots=True)
class LoadedModel:
    """A model on a device, or the engine of a runner without models.

    `footprint` is the memory in bytes that it may use of each of its cards, `limited` whether that is less than it prefers. Of the main memory it
    may take `beside`, if it is on GPUs. It is `exclusive` on a GPU that lets one process at a time compute, and `profiles`
    the free memory of its cards while it is loaded if its engine does. The `opening` task starts the child and loads the model, and runs wait for it. Times are monotonic seconds.
    """

    key: int
    service: str
    device: Device
    interpreter: Interpreter
    model: Model | None
    footprint: int
    limited: bool
    capacity: int
    beside: MainMemory = field(default_factory=MainMemory)
    exclusive: bool = False
    profiles: bool = False
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
    def profiling(self) -> bool:
        """Whether its loading fails if another program frees memory of its cards now."""
        return self.profiles and not self.open

    @property
    def working(self) -> bool:
        """Whether it is computing or being loaded."""
        return self.runs > 0 or not self.open

    async def ready(self) -> Child:
        """Return the child once the model is loaded. Raises `Retry` if that failed."""
        if self.opening is None:
            raise Retry("The program that ran the job was ended.", code=FailureCode.RUNNER_ENDED)
        return await asyncio.shield(self.opening)

    @property
    def idle(self) -> bool:
        """Whether it has no runs."""
        return not self.working

    def opened(self) -> None:
        """Record that the model is loaded: from now on the device's memory figure includes it."""
        self._ready_at = self.used_at = time.monotonic()

    def occupants(self, sampled_at: float, interpreter: Interpreter | None = None) -> list[Occupant]:
        """Return the model on each of its cards as the placement sees it, beside memory figures that were read at `sampled_at`.

        Jobs that need another `interpreter` than this model's cannot join it.
        """
        joinable = interpreter in (None, self.interpreter)
        keys = card_keys(self.device)
        on_first_card = Occupant(
            key=self.key,
            card=keys[0],
            service=self.service if joinable else f"{self.service} with {self.interpreter.engine or 'agent'}",
            model=self.model_name,
            footprint=self.footprint,
            held=self.held() // len(keys) if self._ready_at <= sampled_at else 0,
            runs=max(self.runs, int(self.working)),
            capacity=self.capacity,
            used_at=self.used_at,
            cards=len(keys),
        )
        on_cards = [replace(on_first_card, card=key) for key in keys]
        if self.device.kind == "cpu":
            return on_cards
        footprint = self.beside.working if self.open else self.beside.most
        in_main_memory = replace(
            on_first_card,
            card=MAIN_MEMORY,
            footprint=footprint,
            held=self.main_memory(),
            cards=1,
            beside=True,
        )
        return [*on_cards, in_main_memory]

    def describe(self) -> dict[str, Any]:
        """Return its state for the daemon's status."""
        child = self.child
        return {
            "service": self.service,
            "device": ",".join(card_keys(self.device)),
            "pid": child.pid if child is not None else None,
            "model": self.model_name,
            "environment": self.interpreter.engine,
            "state": "working" if self.runs else "idle" if self.open else "loading",
            "busy": self.working,
            "running": self.runs,
            "capacity": self.capacity,
            "runs": child.runs if child is not None else 0,
            "footprint": self.footprint,
            "held": self.held(),
            "main_memory": self.main_memory(),
            "limited": self.limited,
        }

    def held(self) -> int:
        """Return the bytes of memory that it uses at present, of all its cards."""
        if self.device.kind == "cpu":
            return self.main_memory()
        reported = self.child.vram or self.child.observed if self.child is not None else 0
        # A runner that does not report its use is counted with all that it was given.
        return reported or (
            self.footprint * len(card_keys(self.device)) if self.model is not None and self.open else 0
        )

    def main_memory(self) -> int:
        """Return the bytes of main memory that it uses at present."""
        return self.child.memory() if self.child is not None else 0


def card_key(device: Device) -> str:
    """Return the name of a device in placements, that of its first card if there are several."""
    return device.uuid or device.kind


def card_keys(device: Device) -> tuple[str, ...]:
    """Return the names of all its cards in placements."""
    return device.gpus or (device.kind,)
