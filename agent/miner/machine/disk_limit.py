"""Keeps what this agent stores within the owner's limit, `miner.max_disk`: what can be fetched again is removed, the least recently used first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from agent.core.values.quantities import gibibytes
from agent.miner.engines.installer import clear_packages
from agent.miner.models.disk_use import directories, disk_use
from agent.miner.models.locks import ModelDirectory
from agent.miner.settings import MinerSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.python_model import environment

ROUND_SECONDS: Final = 600.0
FIRST_SECONDS: Final = 30.0
"""Counting files is not urgent at a start."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Removable:
    """What can be removed: a model, an environment, a cache. `remove` returns False if it is in use."""

    name: str
    last_used: float
    remove: Callable[[], bool]


class DiskLimit:
    """The daemon runs `run`."""

    def __init__(self, settings: Settings) -> None:
        miner = section_of(settings, MinerSettings)
        self._limit = None if miner.max_disk is None else int(miner.max_disk)
        self._pinned = frozenset(miner.models_pinned)
        self._directories = directories(settings)
        self._use: dict[str, int] = {}

    async def run(self) -> None:
        """Count, and remove what is too much, at intervals until cancelled."""
        delay = FIRST_SECONDS
        while True:
            await asyncio.sleep(delay)
            await asyncio.to_thread(self.enforce)
            delay = ROUND_SECONDS

    def enforce(self) -> list[str]:
        """Remove what exceeds the limit. Return the names of what was removed. Blocking."""
        removed = []
        self._use = disk_use(self._directories)
        for item in sorted(self._removables(), key=lambda item: item.last_used):
            if self._limit is None or sum(self._use.values()) <= self._limit:
                break
            with suppress(OSError):
                if item.remove():
                    removed.append(item.name)
                    # Counted again: files with several names make no space before the last one is removed.
                    self._use = disk_use(self._directories)
        if removed:
            _log.info("disk_freed", removed=removed, **self._use)
        if self._limit is not None and (excess := sum(self._use.values()) - self._limit) > 0:
            _log.warning("disk_limit_exceeded", excess=gibibytes(excess), **self._use)
        return removed

    def _removables(self) -> Iterator[Removable]:
        models = ModelDirectory(self._directories["models"])
        for model in models.stored(self._pinned):
            if model.removable:
                yield Removable(f"model {model.name}", model.last_used, partial(models.remove, model.name))
        store = self._directories["caches"] / environment.DIRECTORY
        for path in environment.stored(store):
            yield Removable(
                f"environment {path.name}", environment.last_used(path), partial(environment.evict, path)
            )
        # Packages are only copies of what is installed, so they go first.
        yield Removable("packages of Python models", 0.0, partial(environment.clear_packages, store))
        yield Removable("packages of engines", 0.0, partial(_clear_packages, self._directories["engines"]))

    def status(self) -> dict[str, Any]:
        """Return the limit and the use of the last round by kind, in bytes; empty before the first round."""
        return {"limit": self._limit, "use": dict(self._use)}


def _clear_packages(engines_dir: Path) -> bool:
    return engines_dir.is_dir() and clear_packages(engines_dir)
