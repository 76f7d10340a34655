"""The part of the miner that runs on every node of a Ray cluster: it probes the machine, fetches models, and reads the GPUs.

It reserves nothing of the cluster. All its work has to do with its own node, whose disk no other node sees.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

import structlog

from agent.catalogue import CatalogueEntry
from agent.miner.data_dir import discard
from agent.miner.machine import hardware
from agent.miner.machine.capabilities import Capabilities, Machine, tools
from agent.miner.machine.gpus import Gpu, Gpus
from agent.miner.models.downloads import Downloads, limits
from agent.miner.models.locks import ModelDirectory
from agent.miner.models.provider import Lent, ModelProvider
from agent.miner.models.store import ModelStore
from agent.miner.settings import EnginesSettings, MinerSettings, RunnersSettings
from agent.sections import section_of
from agent.settings import Settings
from runners.api import Tools
from runners.registry import installed
from runners.sandbox import mark

_PROGRESS_SECONDS: Final = 0.5
_MINER_SETTINGS: Final = (
    "auditor",
    "default_price",
    "download_stall_seconds",
    "hourly_earnings",
    "models_pinned",
    "models_quota",
    "prices",
    "slots",
)
"""The settings of the section `miner` that a node needs to probe itself and to fetch models."""
_log = structlog.get_logger(__name__)


def node_settings(settings: Settings) -> Settings:
    """Return the settings that nodes need, and the defaults of all others: every program of the cluster can read these values."""
    miner = section_of(settings, MinerSettings)
    return Settings().model_copy(
        update={
            "miner": MinerSettings().model_copy(
                update={name: getattr(miner, name) for name in _MINER_SETTINGS}
            ),
            "runners": section_of(settings, RunnersSettings),
            "engines": section_of(settings, EnginesSettings),
        }
    )


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node can do. `directory` is its own one, in which runners work; `agent` the version of its package."""

    capabilities: Capabilities
    tools: Tools
    directory: Path
    agent: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """The state of a node at one moment, for heartbeats and the status. `others` counts other programs by the GPU's UUID."""

    gpus: tuple[Gpu, ...] = ()
    gpu_reason: str | None = None
    others: Mapping[str, int] = field(default_factory=dict)
    present: Mapping[str, Sequence[str]] = field(default_factory=dict)
    arriving: Sequence[Mapping[str, Any]] = ()
    disk_free: int = 0


class NodeAgent:
    """The actor of one node. Call `prepare` first.

    It probes these `services`. `directory` and `models_dir` may begin with "~" and contain variables of the node's environment.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Mapping[str, CatalogueEntry],
        services: Collection[str],
        node_id: str,
        directory: str,
        models_dir: str,
    ) -> None:
        base = _expanded(directory)
        self._directory = base / "nodes" / node_id[:16]
        self._settings = settings.model_copy(
            update={"data_dir": base, "models_dir": _expanded(models_dir), "cache_dir": base / "cache"}
        )
        self._services = services
        self._gpus = Gpus(lambda: mark.marked(mark.of_directory(self._directory)))
        self._store = ModelStore(self._settings.models_dir, catalogue)
        self._provider = ModelProvider(
            self._store,
            Downloads(self._store, ModelDirectory(self._store.models_dir), limits(self._settings)),
            download=section_of(settings, RunnersSettings).model_download,
        )
        self._lent: dict[str, AsyncExitStack] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lock: IO[bytes] | None = None

    async def prepare(self) -> NodeReport:
        """Clean up what earlier miners left on this node, and probe it. Raises `OSError`."""
        await asyncio.to_thread(self._clean_up)
        runners = {service: runner for service, runner in installed().items() if service in self._services}
        capabilities = await Machine(self._settings, self._gpus, self._store, runners).probe()
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._provider.run(), name="node-models"))
        gpu = bool(capabilities.gpus)
        return NodeReport(
            capabilities, tools(self._settings, gpu=gpu), self._directory, version("aitbc-agent")
        )

    async def state(self) -> NodeState:
        """Return the current state of the node."""
        gpus = await self._gpus.refresh()
        return NodeState(
            gpus=gpus,
            gpu_reason=self._gpus.reason,
            others=await asyncio.to_thread(self._gpus.others) if gpus else {},
            present=dict(self._provider.present),
            arriving=self._provider.arriving,
            disk_free=await asyncio.to_thread(hardware.disk_free, self._settings.data_dir),
        )

    async def lend(
        self, key: str, model: str | None, adapters: Sequence[str]
    ) -> AsyncIterator[tuple[str, int, int | None] | Lent]:
        """Fetch what is missing, yielding its progress, then yield the models, which stay on disk until `release`.

        Raises `ModelUnavailable`, `OSError`.
        """
        progress: asyncio.Queue[tuple[str, int, int | None]] = asyncio.Queue(maxsize=1)

        def on_model(name: str, fetched: int, total: int | None) -> None:
            with suppress(asyncio.QueueFull):  # a later one replaces it
                progress.put_nowait((name, fetched, total))

        async with AsyncExitStack() as stack:
            lending = asyncio.create_task(
                stack.enter_async_context(self._provider.lend(model, adapters, on_model)), name=f"lend-{key}"
            )
            try:
                while not lending.done():
                    await asyncio.wait([lending], timeout=_PROGRESS_SECONDS)
                    if not progress.empty():
                        yield progress.get_nowait()
                lent = lending.result()
            finally:
                lending.cancel()
                await asyncio.gather(lending, return_exceptions=True)
            self._lent[key] = stack.pop_all()
        yield lent

    async def release(self, key: str) -> None:
        """End a loan; its models may be removed."""
        if (stack := self._lent.pop(key, None)) is not None:
            await stack.aclose()

    async def digest(self, name: str, weights: Sequence[Path]) -> str:
        """Return the digest of a model's weights. Raises `Retry`."""
        return await asyncio.to_thread(self._store.weights_digest, name, weights)

    async def fetch(self, name: str) -> bool:
        """Fetch a model in advance; see `ModelProvider.command_fetch`."""
        return self._provider.command_fetch(name)

    async def remove(self, name: str) -> bool:
        """Remove a model that no job uses; see `ModelProvider.command_removal`."""
        return self._provider.command_removal(name)

    def _clean_up(self) -> None:
        """Create and lock this node's directory; remove those of nodes that have ended, and their processes."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = _locked(self._directory)
        for directory in self._directory.parent.iterdir():
            if directory != self._directory and (lock := _locked(directory)) is not None:
                with lock:
                    mark.end_marked(mark.of_directory(directory))
                    discard(directory)
        for leftover in (self._directory / "jobs").glob("*"):
            discard(leftover)
        mark.end_marked(mark.of_directory(self._directory))


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser().absolute()


def _locked(directory: Path) -> IO[bytes] | None:
    """Return the locked lock file of a node's directory, None if a living process has locked it."""
    lock = (directory / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
