"""The tokens of texts, in the forms of llama.cpp and vLLM."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.client_apis.bodies import conversation_limit
from agent.coordinator.features.tokens import routes
from agent.coordinator.http.bodies import BodyLimit

FEATURE: Final = Feature(
    name="tokens",
    routers=(routes.router,),
    body_limits=(BodyLimit(re.compile("(/v1)?/(de)?tokenize"), conversation_limit),),
)
