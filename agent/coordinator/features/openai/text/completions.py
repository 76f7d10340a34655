"""`POST /v1/completions`: the continuation of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.client_apis.text.chunks import Added, Chunks
from agent.coordinator.features.openai.text.text_request import TextRequest
from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from aitbc.answers.fields import example
from runners.llm.request import MAX_TEXT, FinishReason, InferenceResult, TokenLogprob, Usage

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
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[Any, Only(1)] = None
    echo: Annotated[Any, Only(False)] = None
    suffix: Annotated[Any, Only("")] = None


async def create(
    context: Context, caller: Caller, request: CompletionRequest, key: str | None
) -> AnswerSubmission:
    """Submit the job of a request. See `serving.submit`."""
    limit = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    parameters = {**request.sampling(), "prompt": request.prompt, "raw": True, "max_tokens": limit}
    if request.logprobs is not None:
        parameters["top_logprobs"] = request.logprobs
    return await submit(context, caller, services.TEXT, parameters, request, key=key, names={})


class CompletionLogprobs(BaseModel, defer_build=True):
    """The tokens of a text, their log-probabilities, those of the most likely tokens instead of them, and where they begin."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(BaseModel, defer_build=True):
    """A text, or a piece of it. `finish_reason` is `length` if the token limit ended it, and null before the end."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None


class Completion(BaseModel, defer_build=True):
    """The continuations, or a chunk of one. `id` is the job's id. The chunk with `usage` has no choices."""

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


def completion(submission: AnswerSubmission, result: InferenceResult) -> Completion:
    """Return the complete answer."""
    choices = [
        CompletionChoice(
            index=index,
            text=answer.text,
            logprobs=_logprobs(answer.logprobs or (), 0),
            finish_reason=answer.finish_reason,
        )
        for index, answer in enumerate(result.all_answers)
    ]
    return _of(submission, choices, usage=result.usage)


class CompletionChunks(Chunks):
    """See `writing.Chunks`."""

    def __init__(self, submission: AnswerSubmission, *, usage: bool) -> None:
        self._submission = submission
        self._usage = usage
        self._lengths: Counter[int] = Counter()

    def begin(self) -> list[BaseModel]:
        """Return no chunk."""
        return []

    def piece(self, added: Added) -> list[BaseModel]:
        """Return the chunk for an addition to a text."""
        tokens = [TokenLogprob.model_validate(token) for token in added.logprobs]
        logprobs = _logprobs(tokens, self._lengths[added.index])
        # The offsets of tokens count from the beginning of the whole text, not of the chunk.
        self._lengths[added.index] += len(added.text)
        choice = CompletionChoice(index=added.index, text=added.text, logprobs=logprobs, finish_reason=None)
        return [_of(self._submission, [choice])]

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunks with the finish reasons, and the one with the usage if it was requested."""
        last: list[BaseModel] = [
            _of(
                self._submission,
                [CompletionChoice(index=index, text="", logprobs=None, finish_reason=answer.finish_reason)],
            )
            for index, answer in enumerate(result.all_answers)
        ]
        return [*last, _of(self._submission, [], usage=result.usage)] if self._usage else last


def _logprobs(tokens: Sequence[TokenLogprob], offset: int) -> CompletionLogprobs | None:
    """Return the older form of log-probabilities; `offset` is the length of the text before."""
    if not tokens:
        return None
    # Each token begins where the one before it ends.
    offsets = accumulate((len(token.token) for token in tokens[:-1]), initial=offset)
    return CompletionLogprobs(
        tokens=[token.token for token in tokens],
        token_logprobs=[token.logprob for token in tokens],
        top_logprobs=[
            {candidate.token: candidate.logprob for candidate in token.top_logprobs} for token in tokens
        ],
        text_offset=list(offsets),
    )


def _of(submission: AnswerSubmission, choices: list[CompletionChoice], **usage: Usage) -> Completion:
    return Completion(
        id=submission.job_id,
        object="text_completion",
        created=submission.created,
        model=submission.model,
        choices=choices,
        **usage,
    )
