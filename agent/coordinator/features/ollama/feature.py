"""Ollama's API: its requests become jobs."""

from __future__ import annotations

import re
from typing import Final

from agent.coordinator.feature import Feature
from agent.coordinator.features.client_apis.middleware import error_form
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.ollama import keyless, paths, routes
from agent.coordinator.features.ollama.middleware import AnyMediaType
from agent.coordinator.http.bodies import BodyLimit, streamed
from agent.sections import section_of
from agent.settings.coordinator import CoordinatorSettings


def _chat(settings: CoordinatorSettings) -> int:
    """Return the limit of conversations, which may contain images."""
    return max(settings.max_body, section_of(settings, ClientApiSettings).max_chat_body)


FEATURE: Final = Feature(
    name="ollama",
    routers=(routes.router,),
    # The prefix is also that below which all other paths answer, so limits are chosen without it.
    body_limits=(
        BodyLimit(re.compile("/(chat|generate)"), _chat),
        BodyLimit(re.compile("/blobs/[^/]+"), streamed),
    ),
    middleware=(
        lambda app, _: AnyMediaType(app),
        error_form(paths.PATHS, paths.reform),
    ),
    credentials=(keyless.credential_of,),
)
