"""The answer to `POST /v1/messages`."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from pydantic import BaseModel

from agent.coordinator.features.anthropic.request import MessagesRequest
from agent.coordinator.features.anthropic.tool_names import names_of
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from aitbc.answers.fields import example
from runners.llm.request import InferenceResult, Usage

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
_STOP_REASONS: Final[dict[str, StopReason]] = {"length": "max_tokens", "tool_calls": "tool_use"}


class MessageUsage(BaseModel, defer_build=True):
    """Tokens read and generated. Those that were read from a cache are not part of `input_tokens`."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    service_tier: Literal["standard"] = "standard"


class TokensCount(BaseModel, defer_build=True):
    """How many tokens the model reads of a conversation."""

    model_config = example({"input_tokens": 14})

    input_tokens: int


class MessageAnswer(BaseModel, defer_build=True):
    """The model's message. `id` is the job's id; `content` has blocks of the types `thinking`, `text` and `tool_use`."""

    model_config = example(
        {
            "id": "job_1234567890",
            "type": "message",
            "role": "assistant",
            "model": "smollm2-135m-instruct",
            "content": [{"type": "text", "text": "The capital of France is Paris."}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 14,
                "output_tokens": 8,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "service_tier": "standard",
            },
        }
    )

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[dict[str, Any]]
    stop_reason: StopReason | None
    stop_sequence: str | None = None
    usage: MessageUsage


def begun(submission: AnswerSubmission) -> MessageAnswer:
    """Return the answer before it has any content. How many tokens were read is known only later."""
    usage = MessageUsage(input_tokens=0, output_tokens=0)
    return MessageAnswer(
        id=submission.job_id, model=submission.model, content=[], stop_reason=None, usage=usage
    )


def whole(submission: AnswerSubmission, request: MessagesRequest, result: InferenceResult) -> MessageAnswer:
    """Return the complete answer."""
    names = names_of(request)
    content: list[dict[str, Any]] = []
    if result.reasoning and request.shows_thoughts:
        content.append(thoughts(submission, shown(request, result.reasoning)))
    # Clients read the first block, so an answer of nothing has one too.
    if result.text or not result.tool_calls:
        content.append({"type": "text", "text": result.text})
    content += [
        {
            "type": "tool_use",
            "id": call.id,
            "name": names.get(call.name, call.name),
            "input": _input(call.arguments),
        }
        for call in result.tool_calls or ()
    ]
    return begun(submission).model_copy(
        update={
            "content": content,
            "stop_reason": stop_reason(result),
            "stop_sequence": result.stop_text,
            "usage": usage_of(result.usage),
        }
    )


def shown(request: MessagesRequest, reasoning: str) -> str:
    """Return what the client wants to see of the model's thoughts."""
    omitted = request.thinking is not None and request.thinking.display == "omitted"
    return "" if omitted else reasoning


def thoughts(submission: AnswerSubmission, text: str) -> dict[str, Any]:
    """Return the block of the model's thoughts. Clients drop one without a signature; here it only names the job."""
    return {"type": "thinking", "thinking": text, "signature": submission.job_id}


def stop_reason(result: InferenceResult) -> StopReason:
    """Return why the answer ended."""
    if result.stop_text is not None:
        return "stop_sequence"
    return _STOP_REASONS.get(result.finish_reason, "end_turn")


def usage_of(usage: Usage) -> MessageUsage:
    """Return the tokens read and generated."""
    cached = usage.cached_tokens or 0
    return MessageUsage(
        input_tokens=usage.prompt_tokens - cached,
        output_tokens=usage.completion_tokens,
        cache_read_input_tokens=cached,
    )


def _input(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call. Those that `max_tokens` has cut off are none."""
    try:
        decoded = json.loads(arguments or "{}")
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
