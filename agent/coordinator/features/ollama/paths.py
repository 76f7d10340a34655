"""The paths of Ollama's API, and errors in its form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

PREFIX: Final = "/api"
PATHS: Final = re.compile(
    f"{PREFIX}/(blobs/[^/]+|chat|copy|create|delete|embed|embeddings|generate|ps|pull|push|show|tags|version)"
)
_WORDS: Final = re.compile(r"response_schema(?: and json_object)?|json_object")
KEY_NEEDED: Final = (
    "Ollama's own server needs no key, but this one does: set OLLAMA_API_KEY, or send the header `Authorization: Bearer KEY`. "
    "For programs on the coordinator's own machine, its operator can set coordinator.ollama_account."
)


def reform(status: int, error: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Return status and body of an error as Ollama's clients read it."""
    # Ollama knows no 422, and its clients take 400 for a request that is wrong.
    is_invalid = status == HTTPStatus.UNPROCESSABLE_ENTITY
    text = sentence(error)
    if status == HTTPStatus.UNAUTHORIZED:
        text = f"{text} {KEY_NEEDED}"
    return HTTPStatus.BAD_REQUEST if is_invalid else status, {"error": text}


def sentence(error: Mapping[str, Any]) -> str:
    """Return an error as one text, without words of the service, which these clients do not know."""
    return _WORDS.sub("format", error["message"].replace(" body: ", " "))
