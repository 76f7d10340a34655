"""What the APIs of other products have in common."""

from __future__ import annotations

from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.client_apis.middleware import error_form
from agent.coordinator.features.client_apis.openai_errors import PATHS, reform

FEATURE: Final = Feature(name="client_apis", middleware=(error_form(PATHS, reform),))
"""It has no paths of its own, but several features have paths of OpenAI's API."""
