"""Anthropic's API: its conversations become jobs."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.anthropic import routes
from agent.coordinator.features.anthropic.middleware import AnthropicAnswers
from agent.coordinator.features.client_apis.bodies import conversation_limit
from agent.coordinator.http.bodies import BodyLimit

FEATURE: Final = Feature(
    name="anthropic",
    routers=(routes.router,),
    middleware=(AnthropicAnswers,),
    body_limits=(BodyLimit(re.compile("/v1/messages(/count_tokens)?"), conversation_limit),),
)
"""The Messages API, for Anthropic's clients and Claude Code (docs/reference/anthropic.md)."""
