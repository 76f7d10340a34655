"""Miners that keep handing jobs back get none for a while, and clients whose jobs keep failing by their own fault run few at a time."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.throttling import throttling
from agent.coordinator.hooks import Hooks

FEATURE: Final = Feature(
    name="throttling",
    hooks=Hooks(
        run_reported=throttling.run_reported,
        restraints=throttling.restraints,
    ),
)
