"""The limit of bodies that are conversations."""

from __future__ import annotations

from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings


def conversation_limit(settings: CoordinatorSettings) -> int:
    """Return how many bytes a conversation may have, which may contain images."""
    return max(settings.max_body, section_of(settings, ClientApiSettings).max_chat_body)
