"""OpenAI's API: its requests become jobs."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.openai import routes
from agent.coordinator.http.bodies import BodyLimit, streamed
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings


def _chat(settings: CoordinatorSettings) -> int:
    """Return the limit of conversations, which may contain images."""
    return max(settings.max_body, section_of(settings, ClientApiSettings).max_chat_body)


FEATURE: Final = Feature(
    name="openai",
    routers=(routes.router,),
    body_limits=(
        BodyLimit(re.compile("/v1/(chat/completions|responses)"), _chat),
        BodyLimit(re.compile("/v1/audio/(transcriptions|translations)"), streamed),
    ),
)
