"""One comparison of our path with an engine alone, and the order in which both are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """Speeds of the same work in `unit`, one for each round; more is better. Unless `required`, the other is no measure for our path."""

    name: str
    ours: Sequence[float]
    alone: Sequence[float]
    unit: str
    required: bool = True

    @property
    def ratio(self) -> float:
        """The median over all rounds of our speed as a part of the engine's own, so that only a change of the machine within a round counts."""
        return round(median(ours / alone for ours, alone in zip(self.ours, self.alone, strict=True)), 3)

    def shown(self) -> dict[str, Any]:
        """Return the medians and the ratio."""
        return {
            "name": self.name,
            "ours": round(median(self.ours), 2),
            "alone": round(median(self.alone), 2),
            "ratio": self.ratio,
            "unit": self.unit,
            "required": self.required,
        }


def order(number: int, count: int) -> list[int]:
    """Return the order of `count` ways in a round: each is the first in turn, since the machine is at its fastest after a pause."""
    return [(number + step) % count for step in range(count)]
