"""Which models make room for another one: the directory of models as a cache.

Only models that this program fetched are given up, the one that was used longest ago first, and only where the owner set
a quota and thereby said that the directory may be treated as a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model on disk, or a part of one. `size` is bytes, `last_used` a time in seconds.

    `fetched`: this program brought it and can bring it again. `pinned`: the owner wants it kept.
    """

    name: str
    size: int
    last_used: float
    fetched: bool = True
    in_use: bool = False
    pinned: bool = False

    @property
    def removable(self) -> bool:
        """Whether it may make room for another one."""
        return self.fetched and not self.in_use and not self.pinned


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """What to do for a model that needs room: remove those named. With bytes `lacking`, nothing would help."""

    removals: tuple[str, ...] = ()
    lacking: int = 0


def plan_evictions(
    stored: Sequence[StoredModel], needed: int, *, quota: int | None, free: int
) -> EvictionPlan:
    """Find room for `needed` more bytes, given what is on disk, the quota for all of it and the disk's `free` bytes.

    Nothing is removed without a quota, nothing in vain, and nothing without which there would be room as well.
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
    for model in reversed(
        chosen[:]
    ):  # a large one that came late may make smaller ones before it unnecessary
        if gained - model.size >= over:
            chosen.remove(model)
            gained -= model.size
    return EvictionPlan(tuple(model.name for model in chosen))
