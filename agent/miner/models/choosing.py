"""Which model a miner fetches by itself: the one that brings most here, and which others go for it. Nothing here reads or writes anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ADVANTAGE: Final = 1.5
"""How many times as much as all models that go for it a model must bring, so that two of them do not replace each other in turn."""


@dataclass(frozen=True, slots=True)
class AskedFor:
    """The demand for a model in the last `days`: paid jobs, what their miners earned together, jobs that wait, and miners that have it."""

    jobs: int
    earned: float
    waiting: int
    miners: int
    days: int

    def brings(self, *, is_here: bool) -> float:
        """Return what one more of the miners that have it earns a day, or one of those if `is_here`."""
        # Waiting jobs count like paid ones: they are what is left undone today.
        jobs = self.jobs + self.waiting * self.days
        share = self.earned * jobs / self.jobs if self.jobs else 0.0
        return share / self.days / max(1, self.miners + (0 if is_here else 1))


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A model that is not here and would run here; `size` is in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A model that is here. `may_go`: this program fetched it long enough ago, and it is neither pinned nor in use."""

    name: str
    size: int
    may_go: bool


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model to fetch, the models to remove first, and why, as a sentence for the owner. Without a model, `reason` says why not."""

    reason: str
    model: str | None = None
    removals: tuple[str, ...] = ()


def choose(
    demand: Mapping[str, AskedFor],
    fetchable: Sequence[Fetchable],
    on_disk: Sequence[OnDisk],
    free: int,
    *,
    least_jobs: int,
    may_remove: bool,
) -> ModelChoice:
    """Return what to do with `free` bytes for further models. Models with fewer paid jobs than `least_jobs` are not fetched."""
    candidates = [
        model for model in fetchable if model.name in demand and demand[model.name].jobs >= least_jobs
    ]
    if not candidates:
        return ModelChoice(
            f"No model that would run here and is not here had {least_jobs} paid jobs in the last days."
        )
    for model in sorted(
        candidates, key=lambda model: (-demand[model.name].brings(is_here=False), model.size, model.name)
    ):
        model_demand = demand[model.name]
        value = model_demand.brings(is_here=False)
        removals = _removals(demand, on_disk, model.size - free, value / ADVANTAGE) if may_remove else None
        if model.size <= free:
            removals = ()
        if removals is not None:
            reason = f"{model_demand.jobs} jobs in {model_demand.days} days, about {value:.3g} credits a day"
            return ModelChoice(reason, model.name, removals)
    return ModelChoice(
        f"None of the {len(candidates)} models that are asked for fits: those that are here bring as much, or must stay."
    )


def _removals(
    demand: Mapping[str, AskedFor], on_disk: Sequence[OnDisk], needed: int, limit: float
) -> tuple[str, ...] | None:
    """Return the least profitable models that free `needed` bytes and together bring less than `limit` a day; None if there are no such ones."""
    chosen: list[OnDisk] = []
    freed, lost = 0, 0.0
    values = {
        model.name: demand[model.name].brings(is_here=True) if model.name in demand else 0.0
        for model in on_disk
    }
    for model in sorted(on_disk, key=lambda model: (values[model.name], -model.size, model.name)):
        if freed >= needed:
            break
        if not model.may_go:
            continue
        lost += values[model.name]
        if lost and lost >= limit:
            return None
        chosen.append(model)
        freed += model.size
    return tuple(model.name for model in chosen) if freed >= needed else None
