"""How much memory a model uses on a device, and beside it: the catalogue's figures at first, then the measured ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
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


class Footprints:
    """Measured figures, saved in a file.

    There is one for each service, model and size of request (`ServiceDefinition.size`). Programs without a model, such as
    ffmpeg and Blender, are placed with what the service declares, or less, until a run of that size was observed. On a machine without a GPU the
    catalogue's figures for main memory are used instead; on one with a GPU, main memory has figures of its own (`main_memory`).
    """

    def __init__(
        self,
        path: Path,
        definitions: Mapping[str, ServiceDefinition],
        catalogue: Mapping[str, CatalogueEntry],
    ) -> None:
        self._path = path
        self._definitions = definitions
        self._catalogue = catalogue
        self._known, self._floors, self._main = self._load()

    def demand(
        self, service: str, model: str | None, device: Device, parameters: Mapping[str, Any] | None = None
    ) -> PlacementDemand:
        """Return the memory that a job needs on a device of this kind. Without `parameters`, the model's minimum."""
        entry = self._catalogue.get(model) if model is not None else None
        if device.kind == "cpu":
            need = entry.memory if entry is not None else 0
            return PlacementDemand(service, model, need, need)
        requirements = self._definitions[service].requirements if service in self._definitions else None
        stated = entry.vram if entry is not None else 0
        # Even a small model needs the driver's context, which takes some hundred mebibytes.
        stated = max(stated, requirements.vram if requirements is not None else 0, CONTEXT)
        least = entry.vram_min if entry is not None and entry.vram_min else stated
        if model is None:
            # How much a program needs is known after its first run.
            least = CONTEXT
        if parameters is None:
            return PlacementDemand(service, model, stated, least)
        key = self.key(service, model, parameters)
        # A run that failed for lack of memory proves more than any measurement of those that did not.
        floor = self._floors.get(key, 0)
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
            entry, definition = self._catalogue.get(model), self._definitions.get(service)
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
        """Record the most main memory that loading a model onto a GPU has taken."""
        self.learn_main(self._loading_key(service, model), peak)

    def learn_main(self, key: str, peak: int) -> None:
        """Record the most main memory that a run on a GPU has taken."""
        if peak > self._main.get(key, 0):
            self._main[key] = peak
            self._save()

    def key(self, service: str, model: str | None, parameters: Mapping[str, Any]) -> str:
        """Return the key of a run's figures."""
        definition = self._definitions.get(service)
        size = definition.size(parameters) if definition is not None and definition.size is not None else ""
        return f"{service}/{model or ''}/{size}"

    def learn(self, key: str, peak: int) -> None:
        """Record the peak of a run whose memory was not limited."""
        # Only upwards: the next request of this size may be as large as the largest one was.
        if peak > self._known.get(key, 0):
            self._known[key] = peak
            self._save()

    def outgrew(self, key: str, budget: int) -> None:
        """Record that a run did not fit into this budget."""
        self._floors[key] = max(self._floors.get(key, 0), int(budget * GROWTH))
        self._save()

    def _load(self) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        try:
            content = orjson.loads(self._path.read_bytes())
            return tuple(
                {str(key): int(size) for key, size in content.get(part, {}).items()}
                for part in ("known", "floors", "main")
            )  # type: ignore[return-value]  # three parts
        except (OSError, ValueError, TypeError, AttributeError):
            # Missing or damaged: figures are measured again.
            return {}, {}, {}

    def _save(self) -> None:
        for figures in (self._known, self._floors, self._main):
            # The oldest first. Sizes of requests are chosen by clients, so their number has no other bound.
            while len(figures) > _MAX_KNOWN:
                del figures[next(iter(figures))]
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(
                orjson.dumps({"known": self._known, "floors": self._floors, "main": self._main})
            )
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("footprints_not_saved", error=str(error))
