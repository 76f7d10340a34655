"""One comparison of our path with an engine alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """Speeds of the same work in `unit`; more is better. Unless `required`, the other is no measure for our path."""

    name: str
    ours: float
    alone: float
    unit: str
    required: bool = True

    @property
    def ratio(self) -> float:
        """Our speed as a part of the engine's own."""
        return round(self.ours / self.alone, 3)
