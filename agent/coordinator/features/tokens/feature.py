"""The tokens of texts, in the forms of llama.cpp and vLLM."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.tokens import routes
from agent.coordinator.http.bodies import BodyLimit
from agent.sections import section_of

FEATURE: Final = Feature(
    name="tokens",
    routers=(routes.router,),
    body_limits=(
        BodyLimit(
            re.compile("(/v1)?/(de)?tokenize"),
            lambda settings: max(settings.max_body, section_of(settings, ClientApiSettings).max_chat_body),
        ),
    ),
)
