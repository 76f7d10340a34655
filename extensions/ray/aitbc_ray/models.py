"""The models of a cluster, which each node has on its own disk, as the parts of the miner see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from agent.miner.models.provider import Lent, OnModel
from agent.miner.models.store import ModelStore
from agent.miner.tasks import Background
from aitbc_ray.connection import call
from aitbc_ray.nodes import POLL_SECONDS, Node, Nodes
from runners.api import Retry

_log = structlog.get_logger(__name__)


class ClusterModels:
    """A `ModelProvider` for the nodes. A job's models are fetched by the executor, on the node that runs it.

    `on_change` and `release` are those of `ModelProvider`.
    """

    def __init__(
        self,
        nodes: Nodes,
        store: ModelStore,
        *,
        on_change: Callable[[], None],
        release: Callable[[str], Awaitable[None]],
    ) -> None:
        self._nodes = nodes
        self._store = store
        self._on_change = on_change
        self._release = release
        self._background = Background()

    @asynccontextmanager
    async def lend(
        self, model: str | None, adapters: Sequence[str], _on_model: OnModel
    ) -> AsyncIterator[Lent]:
        """Name a job's models. Raises `ModelUnknown`."""
        yield Lent(
            None if model is None else self._store.resolve(model),
            {name: self._store.resolve(name, "adapter") for name in adapters},
        )

    @property
    def fetching_for_jobs(self) -> Mapping[str, Mapping[str, str]]:
        """None: a model that one node downloads may be used on another."""
        return {}

    @property
    def arriving(self) -> list[dict[str, Any]]:
        """The models that nodes are fetching."""
        return [dict(item) for node in self._nodes.living for item in node.state.arriving]

    @property
    def present(self) -> Mapping[str, Sequence[str]]:
        """The models on any node's disk, by service."""
        present: dict[str, dict[str, None]] = {}
        for node in self._nodes.living:
            for service, names in node.state.present.items():
                present.setdefault(service, {}).update(dict.fromkeys(names))
        return {service: list(names) for service, names in present.items()}

    def has(self, name: str) -> bool:
        """Whether a node has the model."""
        return any(name in names for names in self.present.values())

    def command_fetch(self, name: str) -> bool:
        """Fetch a model in advance on every node. Return whether it is there, or must not be fetched."""
        entry = self._store.catalogue.get(name)
        if entry is None or not entry.fetchable:
            return True
        missing = [node for node in self._nodes.living if not _has(node, name)]
        for node in missing:
            self._command(node, "fetch", name)
        return not missing

    def command_removal(self, name: str) -> bool:
        """Remove a model from every node as soon as no job uses it. Return whether it is removed."""
        having = [node for node in self._nodes.living if _has(node, name)]
        for node in having:
            self._command(node, "remove", name)
        return not having

    def refresh(self, unload: str | None = None) -> None:
        """Do nothing: the nodes have the catalogue of the time at which the miner started."""

    async def run(self) -> None:
        """Publish which models are on the nodes, until cancelled."""
        published: Any = None
        while True:
            if (now := self.present) != published:
                published = now
                self._on_change()
            await asyncio.sleep(POLL_SECONDS)

    def _command(self, node: Node, command: str, name: str) -> None:
        task = f"{command}-{name}-{node.info.id}"
        if not self._background.has(task):
            self._background.spawn(self._carry_out(node, command, name), task)

    async def _carry_out(self, node: Node, command: str, name: str) -> None:
        if command == "remove":
            await self._release(name)
        try:
            await call(getattr(node.actor, command).remote(name))
        except Retry as error:  # the coordinator repeats the command
            _log.warning("model_command_failed", node=node.name, model=name, error=str(error))


def _has(node: Node, name: str) -> bool:
    return any(name in names for names in node.state.present.values())
