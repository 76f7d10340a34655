"""`POST /v1/completions`: the continuation of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import accumulate
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from agent.coordinator.features.client_apis import services
from agent.coordinator.features.client_apis.job_stream import JobStreams
from agent.coordinator.features.client_apis.results import drop_all
from agent.coordinator.features.client_apis.serving import submit
from agent.coordinator.features.client_apis.settings import ClientApiSettings
from agent.coordinator.features.client_apis.submission import AnswerSubmission, ClientCall
from agent.coordinator.features.client_apis.text import writing
from agent.coordinator.features.client_apis.text.chunks import Added, Chunks
from agent.coordinator.features.openai.text.text_request import TextRequest
from agent.coordinator.features.openai.text.usage import TextUsage, usage_of
from agent.core.errors import ApiError, invalid_request
from agent.sections import section_of
from aitbc.answers.fields import example
from runners.llm.request import MAX_ANSWERS, MAX_TEXT, FinishReason, InferenceResult, TokenLogprob, Usage

DEFAULT_MAX_TOKENS: Final = 16
"""The default of OpenAI's call."""


def _texts(prompt: Any) -> Any:
    """Return the prompts as a list, as some clients send a single one."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    if isinstance(first, int | list):
        # The numbers would be another model's tokens.
        raise ValueError("send text, not tokens")  # noqa: TRY004 - pydantic's
    return [prompt] if isinstance(prompt, str) else prompt


class CompletionRequest(TextRequest):
    """A text to continue, without a chat template, or several."""

    model_config = example(
        {
            "model": "smollm2-135m-instruct",
            "prompt": "Once upon a time",
            "max_tokens": 32,
            "stop": ["\n"],
        }
    )

    prompt: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]],
        BeforeValidator(_texts, json_schema_input_type=str | list[str]),
        Field(min_length=1, max_length=1000),
    ]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_ANSWERS)] | None = None
    echo: bool | None = None
    suffix: Annotated[str, Field(max_length=MAX_TEXT)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.best_of not in {None, 1, self.n}:
            raise ValueError("best_of is supported only with the value of n")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo cannot report the logprobs of the prompt; remove one of them")
        return self

    @property
    def echoed(self) -> list[str]:
        """The texts before the answers to each prompt."""
        return self.prompt if self.echo else [""] * len(self.prompt)


async def create(call: ClientCall, request: CompletionRequest, key: str | None) -> list[AnswerSubmission]:
    """Submit a job for each prompt. If one is refused, the others are cancelled. See `serving.submit`."""
    limit = section_of(call.context.settings, ClientApiSettings).max_prompts
    if len(request.prompt) > limit:
        raise invalid_request({"prompt": f"send at most {limit} prompts in a request"})
    submissions: list[AnswerSubmission] = []
    try:
        for number, prompt in enumerate(request.prompt):
            # Each job has a key of its own, or the second would be taken for a repetition of the first.
            own_key = f"{key}:{number}" if key is not None and number else key
            submissions.append(await _submit(call, request, prompt, own_key))
    except ApiError:
        await drop_all(submissions)
        raise
    return submissions


async def _submit(
    call: ClientCall, request: CompletionRequest, prompt: str, key: str | None
) -> AnswerSubmission:
    limit = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    parameters = {**request.sampling(), "prompt": prompt, "raw": True, "max_tokens": limit}
    if request.logprobs is not None:
        parameters["top_logprobs"] = request.logprobs
    if request.suffix:
        parameters["suffix"] = request.suffix
    return await submit(call, services.TEXT, parameters, request, key=key, names=request.constraint_names())


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
    usage: TextUsage | None = None


def completion(
    submissions: Sequence[AnswerSubmission], results: Sequence[InferenceResult], echoed: Sequence[str]
) -> Completion:
    """Return the complete answer: the choices of the first prompt, then those of the next."""
    all_answers = [
        (prompt, answer)
        for prompt, result in zip(echoed, results, strict=True)
        for answer in result.all_answers
    ]
    choices = [
        CompletionChoice(
            index=index,
            text=prompt + answer.text,
            logprobs=_logprobs(answer.logprobs or (), 0),
            finish_reason=answer.finish_reason,
        )
        for index, (prompt, answer) in enumerate(all_answers)
    ]
    return _of(submissions[0], choices, usage=usage_of(_total(result.usage for result in results)))


async def chunks(
    streams: JobStreams, echoed: Sequence[str], *, answers: int, usage: bool
) -> AsyncIterator[BaseModel | None]:
    """Yield the chunks of all prompts, each of which has this many answers. See `writing.chunks`."""
    first = streams.submissions[0]
    forms = [
        CompletionChunks(first, range(number * answers, (number + 1) * answers), prompt)
        for number, prompt in enumerate(echoed)
    ]
    # One after the other: all jobs run at the same time, and what they write meanwhile is not lost.
    for stream, form in zip(streams.streams, forms, strict=True):
        async for chunk in writing.chunks(stream, form):
            yield chunk
    if usage:
        yield _of(first, [], usage=usage_of(_total(form.used for form in forms if form.used is not None)))


class CompletionChunks(Chunks):
    """The chunks of one prompt, whose choices have these numbers, each after the text `echo`. See `Chunks`."""

    def __init__(self, submission: AnswerSubmission, numbers: Sequence[int], echo: str) -> None:
        self.used: Usage | None = None
        self._submission = submission
        self._numbers = numbers
        self._echo = echo
        self._lengths: Counter[int] = Counter()

    def begin(self) -> list[BaseModel]:
        """Return the chunks with the prompt, if the answers begin with it."""
        return [
            _of(
                self._submission,
                [CompletionChoice(index=number, text=self._echo, logprobs=None, finish_reason=None)],
            )
            for number in (self._numbers if self._echo else ())
        ]

    def piece(self, added: Added) -> list[BaseModel]:
        """Return the chunk for an addition to a text."""
        logprobs = _logprobs(added.logprobs, self._lengths[added.index])
        # The offsets of tokens count from the beginning of the whole text, not of the chunk.
        self._lengths[added.index] += len(added.text)
        choice = CompletionChoice(
            index=self._numbers[added.index], text=added.text, logprobs=logprobs, finish_reason=None
        )
        return [_of(self._submission, [choice])]

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunks with the finish reasons."""
        self.used = result.usage
        return [
            _of(
                self._submission,
                [
                    CompletionChoice(
                        index=self._numbers[index],
                        text="",
                        logprobs=None,
                        finish_reason=answer.finish_reason,
                    )
                ],
            )
            for index, answer in enumerate(result.all_answers)
        ]


def _total(usages: Iterable[Usage]) -> Usage:
    return Usage.model_validate(_sum([usage.model_dump(exclude_unset=True) for usage in usages]))


def _sum(values: Sequence[Any]) -> Any:
    """Return the sum of numbers, or of each number in objects of the same form."""
    if isinstance(values[0], dict):
        return {name: _sum([value[name] for value in values if name in value]) for name in values[0]}
    return sum(value for value in values if value is not None)


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


def _of(submission: AnswerSubmission, choices: list[CompletionChoice], **usage: TextUsage) -> Completion:
    return Completion(
        id=submission.job_id,
        object="text_completion",
        created=submission.created,
        model=submission.model,
        choices=choices,
        **usage,
    )
