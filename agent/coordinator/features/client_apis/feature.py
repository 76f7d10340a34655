"""What the APIs of other products have in common."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature

FEATURE: Final = Feature(name="client_apis")
"""It has settings, and no paths of its own."""
