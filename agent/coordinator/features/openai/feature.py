"""OpenAI's API: its requests become jobs."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.client_apis.bodies import conversation_limit
from agent.coordinator.features.openai import routes
from agent.coordinator.http.bodies import BodyLimit, streamed

FEATURE: Final = Feature(
    name="openai",
    routers=(routes.router,),
    body_limits=(
        BodyLimit(re.compile("/v1/(chat/completions|responses)"), conversation_limit),
        BodyLimit(re.compile("/v1/audio/(transcriptions|translations)"), streamed),
    ),
)
