"""The free resources of a cluster's nodes. Ray's figures lag behind what was just reserved or freed; this corrects them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from aitbc_ray.nodes import Node
from aitbc_ray.remote_model import RemoteModel

SYNC_SECONDS: Final = 0.5
"""How long the cluster's head may not count what a node has just reserved."""
_FREED_SECONDS: Final = 2.0
"""How long it may not count as free what an actor had that has ended."""


class Reservations:
    """The resources that the `models`, loaded or being loaded, have reserved. Results are by Ray's names."""

    def __init__(self) -> None:
        self.models: list[RemoteModel] = []
        self._ended: list[tuple[float, RemoteModel]] = []

    def of(self, node: Node) -> list[RemoteModel]:
        """Return the models of a node."""
        return _on(node, self.models)

    def ended(self, model: RemoteModel) -> None:
        """Note that the actor of a model has ended."""
        self._ended.append((time.monotonic(), model))

    def spare(self, node: Node) -> dict[str, float]:
        """Return a node's free resources, less those of models that are about to reserve theirs."""
        counted_until = time.monotonic() - SYNC_SECONDS
        reserving = [model for model in self.of(node) if not model.reserved_at <= counted_until]
        return _plus(node.available, reserving, -1)

    def soon(self, node: Node) -> dict[str, float]:
        """Return the free resources, with those of actors that have just ended."""
        freed_until = time.monotonic() - _FREED_SECONDS
        self._ended = [(at, model) for at, model in self._ended if at > freed_until]
        return _plus(self.spare(node), _on(node, [model for _, model in self._ended]), 1)

    def without_idle(self, node: Node) -> dict[str, float]:
        """Return the free resources if all idle models were unloaded."""
        return _plus(self.spare(node), [model for model in self.of(node) if model.idle], 1)

    def for_runs(self, node: Node) -> dict[str, float]:
        """Return the free resources if there were only the models that work now."""
        return _plus(
            self.spare(node), [model for model in self.of(node) if model.idle or model.child is None], 1
        )


def _on(node: Node, models: Iterable[RemoteModel]) -> list[RemoteModel]:
    return [model for model in models if model.chosen is node]


def _plus(free: Mapping[str, float], models: Iterable[RemoteModel], sign: int) -> dict[str, float]:
    total = dict(free)
    for model in models:
        for name, amount in model.demand.named().items():
            total[name] = total.get(name, 0.0) + sign * amount
    return total
