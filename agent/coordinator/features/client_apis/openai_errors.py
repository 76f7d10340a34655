"""Errors in the form of OpenAI's API: `type` and `param` beside the usual fields, its codes, and no words that its clients do not know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any, Final

from agent.coordinator.features.client_apis.errors import AnswerFailed, AnswerRefused
from agent.coordinator.operations.jobs.requests import JobOptions
from agent.core.errors import NotFound
from runners.errors import FailureCode, Fault

PATHS: Final = re.compile(
    r"(/api)?/v1/(assistants|audio|batches|chat|completions|conversations|detokenize|embeddings|files|fine_tuning"
    r"|images|models|moderations|rerank|responses|score|threads|tokenize|vector_stores|videos)(/.*)?"
)
"""Those of OpenAI's API except its uploads, whose path is that of tus here, and those that its other servers have added."""
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_SERVER_ERRORS: Final = 500
_BODY: Final = "body"
"""The name of the request as a whole in the errors of fields."""
_SUGGESTION: Final = re.compile(r"([\w.\[\]]+): is unknown; did you mean (\w+)\?")
_SIMILAR: Final = 0.8
"""Similarity from which an unknown field may be a misspelt option of a job, which other servers do not have."""
_WORDS: Final[Mapping[str, str]] = {
    "response_schema": "the JSON schema",
    "initial_prompt": "prompt",
    "num_images": "n",
    "audio_url": "file",
    "mask_url": "mask",
    "mask_region": "mask",
}
"""Words of the services in errors of jobs, which miners write, and those of these clients."""


def reform(status: int, error: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Return status and body of an error, given its usual fields. See `middleware.Reform`."""
    status, reformed = _with_code(status, error)
    fields = error["details"].get("fields") or {}
    kind = "server_error" if status >= _SERVER_ERRORS else _TYPES.get(status, "invalid_request_error")
    message = _SUGGESTION.sub(_suggestion, _worded(reformed["message"].replace(f". {_BODY}: ", ": ")))
    return status, {
        "error": {**reformed, "message": message, "type": kind, "param": _param(fields, reformed)}
    }


def stream_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an error in a stream, whose status is sent already."""
    by_input = error["code"] in {code.value for code in FailureCode if code.fault is Fault.INPUT}
    _, body = reform(AnswerRefused.status if by_input else AnswerFailed.status, error)
    fields: dict[str, Any] = body["error"]
    return fields


def _with_code(status: int, error: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return status and fields of an error with OpenAI's code where its clients look for one; ours is then among the details."""
    details = {**error["details"], "code": error["code"]}
    if error["code"] == FailureCode.CONTEXT_OVERFLOW:
        # LiteLLM looks for the first half of the sentence, LangChain in a stream for the second.
        message = f"The prompt is too long: it exceeds the context window. {error['message']}"
        return 400, {**error, "code": "context_length_exceeded", "message": message, "details": details}
    if error["code"] == NotFound.code and "model" in error["details"]:
        return status, {**error, "code": "model_not_found", "details": details}
    return status, dict(error)


def _param(fields: Iterable[str], error: Mapping[str, Any]) -> str | None:
    """Return the first wrong field as OpenAI writes it: `messages[0].content`."""
    if error["code"] == "model_not_found":
        return "model"
    first = next((name for name in fields if name != _BODY), None)
    return None if first is None else re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", first)


def _worded(message: str) -> str:
    # Conversations have images at an `image_url` too, but not as a field of the request.
    message = re.sub(r"(^|\s)image_url:", r"\1image:", message)
    return re.sub(rf"\b({'|'.join(_WORDS)})\b", lambda word: _WORDS[word[0]], message)


def _suggestion(match: re.Match[str]) -> str:
    path, near = match.groups()
    alike = SequenceMatcher(None, path.rpartition(".")[2], near).ratio()
    if near in JobOptions.model_fields and alike < _SIMILAR:
        return f"{path}: is unknown; remove it"
    return match[0]
