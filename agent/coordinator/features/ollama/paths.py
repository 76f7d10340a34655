"""The paths of Ollama's API, and errors in its form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

from agent.coordinator.http.large_json import LargeJsonRoute
from agent.coordinator.routes._declare import ErrorsOfApi
from aitbc.answers.fields import example

PREFIX: Final = "/api"
PATHS: Final = re.compile(
    f"{PREFIX}/(blobs/[^/]+|chat|copy|create|delete|embed|embeddings|generate|ps|pull|push|show|tags|version)"
)
_WORDS: Final = re.compile(r"response_schema(?: and json_object)?|json_object")


class OllamaError(ErrorsOfApi):
    """An error in the form of Ollama's API."""

    model_config = example({"error": "There is no model 'smollm'."})

    error: str


class OllamaRoute(LargeJsonRoute):
    """A path of Ollama's API."""

    errors_of_api: ClassVar = OllamaError


KEY_NEEDED: Final = (
    "Ollama's own server needs no key, but this one does: set OLLAMA_API_KEY, or send the header `Authorization: Bearer KEY`. "
    "For programs on the coordinator's own machine, its operator can set coordinator.ollama_account."
)


def reform(status: int, error: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Return status and body of an error as Ollama's clients read it."""
    text = sentence(error)
    if status == HTTPStatus.UNAUTHORIZED:
        text = f"{text} {KEY_NEEDED}"
    return OllamaError.status_of(status), {"error": text}


def sentence(error: Mapping[str, Any]) -> str:
    """Return an error as one text, without words of the service, which these clients do not know."""
    return _WORDS.sub("format", error["message"].replace(" body: ", " "))
