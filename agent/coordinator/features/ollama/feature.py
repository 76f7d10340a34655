"""Ollama's API: its requests become jobs."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.client_apis.bodies import conversation_limit
from agent.coordinator.features.client_apis.middleware import error_form
from agent.coordinator.features.ollama import keyless, paths, routes
from agent.coordinator.features.ollama.middleware import AnyMediaType
from agent.coordinator.http.bodies import BodyLimit, streamed

FEATURE: Final = Feature(
    name="ollama",
    routers=(routes.router,),
    # The prefix is also that below which all other paths answer, so limits are chosen without it.
    body_limits=(
        BodyLimit(re.compile("/(chat|generate)"), conversation_limit),
        BodyLimit(re.compile("/blobs/[^/]+"), streamed),
    ),
    middleware=(
        lambda app, _: AnyMediaType(app),
        error_form(paths.PATHS, paths.reform),
    ),
    credentials=(keyless.credential_of,),
)
