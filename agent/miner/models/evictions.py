"""Which models are removed to free space for another one: the model directory as a cache.

Only models that this program downloaded are removed, the least recently used first, and only if the owner has set a quota and
thereby allowed the directory to be used as a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A complete or partial model on disk. `size` is in bytes, `last_used` a time in seconds.

    `fetched`: this program downloaded it and can do so again. `pinned`: the owner does not want it removed.
    """

    name: str
    size: int
    last_used: float
    fetched: bool = True
    in_use: bool = False
    pinned: bool = False

    @property
    def removable(self) -> bool:
        """Whether it may be removed for another model."""
        return self.fetched and not self.in_use and not self.pinned


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """The models to remove for another one. If bytes are `lacking`, no removal would free enough."""

    removals: tuple[str, ...] = ()
    lacking: int = 0


def plan_evictions(
    stored: Sequence[StoredModel], needed: int, *, quota: int | None, free: int
) -> EvictionPlan:
    """Choose the models to remove for `needed` more bytes, given the stored models, their quota and the disk's `free` bytes.

    Without a quota no model is removed. No model is removed if that does not help, or if it is not necessary.
    """
    over = needed - free
    if quota is not None:
        over = max(over, sum(model.size for model in stored) + needed - quota)
    if over <= 0:
        return EvictionPlan()
    candidates = [] if quota is None else sorted(
        (model for model in stored if model.removable), key=lambda model: model.last_used
    )  # fmt: skip
    chosen: list[StoredModel] = []
    gained = 0
    for model in candidates:
        if gained >= over:
            break
        chosen.append(model)
        gained += model.size
    if gained < over:
        return EvictionPlan(lacking=over - gained)
    # A large model chosen late may make smaller ones unnecessary.
    for model in reversed(chosen[:]):
        if gained - model.size >= over:
            chosen.remove(model)
            gained -= model.size
    return EvictionPlan(tuple(model.name for model in chosen))
