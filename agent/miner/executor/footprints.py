"""How much memory a model uses on a device, and beside it: the catalogue's figures at first, then the measured ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from agent.catalogue import CatalogueEntry
from agent.miner.executor.placement import PlacementDemand
from runners.api import Device, ServiceDefinition

CONTEXT: Final = 512 * 2**20
"""Bytes of a GPU that every process uses for CUDA itself and its libraries."""
HEADROOM: Final = 1.1
"""Factor on measured peaks, since memory fragments differently in each run."""
GROWTH: Final = 1.5
"""Factor on the budget of a run that ran out of memory, for the next attempt."""
LARGEST_SHARE: Final = 0.9
"""Share of a card that a program may need at least: what has once filled a card fits there without much headroom too."""
HALF_LIFE_SECONDS: Final = 86_400.0
"""Time after which a floor halves: it may come from a moment in which another program used the card, or from a fault."""
_MAX_KNOWN: Final = 2000
_LOADING: Final = "loading"
"""Stands for the size of a request in the key of what loading a model takes."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MainMemory:
    """The main memory that a process on a GPU takes beside the GPU's, in bytes: while it loads its model, and while it works."""

    loading: int = 0
    working: int = 0

    @property
    def most(self) -> int:
        """What a job needs whose model is not loaded yet."""
        return max(self.loading, self.working)


@dataclass(frozen=True, slots=True)
class MemoryFloor:
    """A budget in bytes for the next attempt after a run found too little memory `at` a time, with a `version` of its service's engines."""

    size: int
    at: float
    version: str

    def now(self, now: float, version: str) -> int:
        """Return the floor now. Another version of the engines may need less."""
        halvings = int(max(0.0, now - self.at) // HALF_LIFE_SECONDS)
        return self.size >> halvings if version == self.version else 0


@dataclass(eq=False)
class Footprints:
    """Measured figures, saved in a file.

    There is one for each service, model and size of request (`ServiceDefinition.size`). Programs without a model, such as
    ffmpeg and Blender, are placed with what the service declares, or less, until a run of that size was observed. On a machine without a GPU the
    catalogue's figures for main memory are used instead, or what loading the model took if that was more; on one with a GPU, main memory has figures of its own (`main_memory`).
    `versions` are those of each service's engines; `clock` returns Unix time.
    """

    path: Path
    definitions: Mapping[str, ServiceDefinition]
    catalogue: Mapping[str, CatalogueEntry]
    versions: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._known, self._main, self._floors = self._load()

    def demand(
        self,
        service: str,
        model: str | None,
        device: Device,
        parameters: Mapping[str, Any] | None = None,
        usable: int | None = None,
    ) -> PlacementDemand:
        """Return the memory that a job needs on a device of this kind. Without `parameters`, the model's minimum.

        A run that failed raises it, up to the `usable` bytes of the cards that it could be placed on, or else no try would follow.
        """
        entry = self.catalogue.get(model) if model is not None else None
        if device.kind == "cpu":
            need = entry.memory if entry is not None else 0
            # Only upwards: weights that the system may drop and read again are not in the measured figure.
            need = max(need, self._measured(self._loading_key(service, model), 0))
            return PlacementDemand(service, model, need, need)
        requirements = self.definitions[service].requirements if service in self.definitions else None
        stated = entry.vram if entry is not None else 0
        # Even a small model needs the driver's context, which takes some hundred mebibytes.
        stated = max(stated, requirements.vram if requirements is not None else 0, CONTEXT)
        least = entry.vram_min if entry is not None and entry.vram_min else stated
        if model is None:
            # How much a program needs is known after its first run.
            least = CONTEXT
        if parameters is None:
            definition = self.definitions.get(service)
            sized = definition is not None and definition.size is not None
            # Where requests have sizes, smaller ones than the one that failed may fit.
            floor = 0 if sized else self._floor(self.key(service, model, {}), usable)
            return PlacementDemand(service, model, max(floor, stated), max(floor, least))
        key = self.key(service, model, parameters)
        # A run that failed for lack of memory proves more than any measurement of those that did not.
        floor = self._floor(key, usable)
        footprint = self._known.get(key)
        need = max(floor, int(footprint * HEADROOM) if footprint is not None else stated)
        if model is None and footprint is not None:
            # A program that has filled the card on a larger machine must still fit on this one.
            least = min(footprint, int(device.memory * LARGEST_SHARE) or footprint)
        return PlacementDemand(service, model, need, max(floor, min(least, need)))

    def main_memory(
        self, service: str, model: str | None, parameters: Mapping[str, Any] | None = None
    ) -> MainMemory:
        """Return the main memory that a job on a GPU needs beside it.

        Until it was measured, that is what the catalogue or the service declares for the model; a program without one counts from
        its first run on.
        """
        declared = 0
        if model is not None:
            entry, definition = self.catalogue.get(model), self.definitions.get(service)
            declared = max(
                entry.load_memory if entry is not None else 0,
                definition.requirements.memory if definition is not None else 0,
            )
        loading = self._measured(self._loading_key(service, model), declared)
        if parameters is None:
            return MainMemory(loading, 0)
        return MainMemory(loading, self._measured(self.key(service, model, parameters), loading))

    def _measured(self, key: str, otherwise: int) -> int:
        footprint = self._main.get(key)
        return int(footprint * HEADROOM) if footprint is not None else otherwise

    def _loading_key(self, service: str, model: str | None) -> str:
        return f"{service}/{model or ''}/{_LOADING}"

    def learn_loading(self, service: str, model: str, peak: int) -> None:
        """Record the most main memory that loading a model has taken."""
        self.learn_main(self._loading_key(service, model), peak)

    def learn_main(self, key: str, peak: int) -> None:
        """Record the most main memory that a run on a GPU has taken."""
        if peak > self._main.get(key, 0):
            self._main[key] = peak
            self._save()

    def key(self, service: str, model: str | None, parameters: Mapping[str, Any]) -> str:
        """Return the key of a run's figures."""
        definition = self.definitions.get(service)
        size = definition.size(parameters) if definition is not None and definition.size is not None else ""
        return f"{service}/{model or ''}/{size}"

    def learn(self, key: str, peak: int) -> None:
        """Record the peak of a run whose memory was not limited."""
        # Only upwards: the next request of this size may be as large as the largest one was.
        if peak > self._known.get(key, 0):
            self._known[key] = peak
            self._save()

    def outgrew(self, key: str, budget: int, usable: int | None = None) -> None:
        """Record that a run did not fit into this budget, of at most `usable` bytes."""
        floor = max(self._floor(key, usable), int(budget * GROWTH))
        self._floors[key] = MemoryFloor(_capped(floor, usable), self.clock(), self._version(key))
        self._save()

    def fitted(self, key: str, budget: int) -> None:
        """Record that a run fitted into this budget, which disproves a larger floor."""
        if budget < self._floor(key):
            self._floors[key] = MemoryFloor(budget, self.clock(), self._version(key))
            self._save()

    def _floor(self, key: str, usable: int | None = None) -> int:
        floor = self._floors.get(key)
        return 0 if floor is None else _capped(floor.now(self.clock(), self._version(key)), usable)

    def _version(self, key: str) -> str:
        return self.versions.get(key.partition("/")[0], "")

    def _load(self) -> tuple[dict[str, int], dict[str, int], dict[str, MemoryFloor]]:
        try:
            content = orjson.loads(self.path.read_bytes())
            known, main = (
                {str(key): int(size) for key, size in content.get(part, {}).items()}
                for part in ("known", "main")
            )
            # Those of earlier releases, "floors", could exceed every card and had no end.
            floors = {
                str(key): MemoryFloor(int(size), float(at), str(version))
                for key, (size, at, version) in content.get("outgrown", {}).items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            # Missing or damaged: figures are measured again.
            return {}, {}, {}
        return known, main, floors

    def _save(self) -> None:
        parts: tuple[dict[str, Any], ...] = (self._known, self._main, self._floors)
        for figures in parts:
            # The oldest first. Sizes of requests are chosen by clients, so their number has no other bound.
            while len(figures) > _MAX_KNOWN:
                del figures[next(iter(figures))]
        outgrown = {key: (floor.size, floor.at, floor.version) for key, floor in self._floors.items()}
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(
                orjson.dumps({"known": self._known, "main": self._main, "outgrown": outgrown})
            )
            temporary.replace(self.path)
        except OSError as error:
            _log.warning("footprints_not_saved", error=str(error))


def _capped(floor: int, usable: int | None) -> int:
    return floor if usable is None else min(floor, usable)
