"""Anthropic's API: its conversations become jobs."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.anthropic import routes
from agent.coordinator.features.anthropic.middleware import AnthropicAnswers
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.http.bodies import BodyLimit
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings


def _conversation(settings: CoordinatorSettings) -> int:
    """Return the limit of conversations, which may contain images."""
    return max(settings.max_body, section_of(settings, ClientApiSettings).max_chat_body)


FEATURE: Final = Feature(
    name="anthropic",
    routers=(routes.router,),
    middleware=(AnthropicAnswers,),
    body_limits=(BodyLimit(re.compile("/v1/messages(/count_tokens)?"), _conversation),),
)
"""The Messages API, for Anthropic's clients and Claude Code (docs/reference/anthropic.md)."""
