"""`POST /v1/completions`: the continuation of a text."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.openai.chat import SERVICE, TextRequest
from agent.coordinator.operations.openai.neutral import Only
from agent.coordinator.operations.openai.serving import Submission, service, submit
from agent.core.values.fields import example
from runners.llm.request import MAX_TEXT, InferenceResult, Usage

DEFAULT_MAX_TOKENS: Final = 16
"""The default of OpenAI's call."""


def _only_one(prompt: Any) -> Any:
    """Unpack a list of one prompt, as some clients send it."""
    if isinstance(prompt, list) and len(prompt) == 1:
        return prompt[0]
    if isinstance(prompt, list):
        raise ValueError("send one prompt in each request, as text")  # noqa: TRY004 - pydantic's
    return prompt


class CompletionRequest(TextRequest):
    """A text to continue, without a chat template."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "smollm2-135m-instruct",
                    "prompt": "Once upon a time",
                    "max_tokens": 32,
                    "stop": ["\n"],
                }
            ]
        }
    )

    prompt: Annotated[
        str,
        BeforeValidator(
            _only_one, json_schema_input_type=str | Annotated[list[str], Field(min_length=1, max_length=1)]
        ),
        Field(min_length=1, max_length=MAX_TEXT),
    ]
    best_of: Annotated[Any, Only(1)] = None
    echo: Annotated[Any, Only(False)] = None
    logprobs: Annotated[Any, Only()] = None
    suffix: Annotated[Any, Only("")] = None


async def create(context: Context, caller: Caller, request: CompletionRequest, key: str | None) -> Submission:
    """Submit the job of a request. See `serving.submit`."""
    limit = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    parameters = {**request.sampling(), "prompt": request.prompt, "raw": True, "max_tokens": limit}
    return await submit(context, caller, service(context, SERVICE), parameters, request, key=key, names={})


class CompletionChoice(BaseModel):
    """The text, or a piece of it. `finish_reason` is `length` if the token limit ended it, and null before the end."""

    index: Literal[0]
    text: str
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class Completion(BaseModel):
    """The continuation, or a chunk of it. `id` is the job's id. The chunk with `usage` has no choices."""

    model_config = example(
        {
            "id": "job_1234567890",
            "object": "text_completion",
            "created": 1704110400,
            "model": "smollm2-135m-instruct",
            "choices": [
                {"index": 0, "text": ", there was a kingdom.", "logprobs": None, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 14, "completion_tokens": 8, "total_tokens": 22},
        }
    )

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


def completion(submission: Submission, result: InferenceResult) -> Completion:
    """Return the complete answer."""
    return _of(submission, result.text, result.finish_reason, usage=result.usage)


class CompletionChunks:
    """See `writing.Chunks`."""

    def __init__(self, submission: Submission, *, usage: bool) -> None:
        self._submission = submission
        self._usage = usage

    def begin(self) -> list[BaseModel]:
        """Return no chunk."""
        return []

    def piece(self, text: str) -> BaseModel:
        """Return the chunk for a piece of the text."""
        return _of(self._submission, text)

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunk with the finish reason, and the one with the usage if it was requested."""
        last = _of(self._submission, "", result.finish_reason)
        return [last, _of(self._submission, None, usage=result.usage)] if self._usage else [last]


def _of(
    submission: Submission, text: str | None, reason: Literal["stop", "length"] | None = None, **usage: Usage
) -> Completion:
    choices = (
        [] if text is None else [CompletionChoice(index=0, text=text, logprobs=None, finish_reason=reason)]
    )
    return Completion(
        id=submission.job_id,
        object="text_completion",
        created=submission.created,
        model=submission.model,
        choices=choices,
        **usage,
    )
