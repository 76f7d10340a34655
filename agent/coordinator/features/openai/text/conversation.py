"""The answers to `POST /v1/chat/completions`, whole and in chunks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from agent.coordinator.features.client_apis.submission import AnswerSubmission
from agent.coordinator.features.client_apis.text.chunks import Added, Chunks
from agent.coordinator.features.openai.text.usage import TextUsage, usage_of
from aitbc.answers.fields import example
from runners.llm.request import Answer, FinishReason, InferenceResult, TokenLogprob


class AnsweredFunction(BaseModel, defer_build=True):
    """A function's name, and its arguments as a JSON object in text, or the beginning of it if the token limit ended the answer."""

    name: str
    arguments: str


class AnsweredCall(BaseModel, defer_build=True):
    """A call of a function by the model."""

    id: str
    type: Literal["function"]
    function: AnsweredFunction


class AnswerMessage(BaseModel, defer_build=True):
    """The model's turn. `content` is null if it consists of calls; `reasoning_content` is what the model thought before."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: str | None = None
    tool_calls: list[AnsweredCall] | None = None


class Logprobs(BaseModel, defer_build=True):
    """The log-probability of each token, and of the most likely tokens instead of it."""

    content: list[TokenLogprob]


class ChatChoice(BaseModel, defer_build=True):
    """An answer. `finish_reason` is `length` if the token limit ended it, `tool_calls` if the model calls functions."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel, defer_build=True):
    """The answers to a conversation. `id` is the job's id."""

    model_config = example(
        {
            "id": "job_1234567890",
            "object": "chat.completion",
            "created": 1704110400,
            "model": "smollm2-135m-instruct",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "The capital of France is Paris."},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 14, "completion_tokens": 8, "total_tokens": 22},
        }
    )

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: TextUsage


def completion(submission: AnswerSubmission, result: InferenceResult) -> ChatCompletion:
    """Return the complete answer."""
    return ChatCompletion(
        id=submission.job_id,
        object="chat.completion",
        created=submission.created,
        model=submission.model,
        choices=[_choice(index, answer) for index, answer in enumerate(result.all_answers)],
        usage=usage_of(result.usage),
    )


def _choice(index: int, answer: Answer) -> ChatChoice:
    message = AnswerMessage(
        # OpenAI's clients take null as the sign that there are only calls.
        role="assistant",
        content=None if answer.tool_calls and not answer.text else answer.text,
    )
    if answer.reasoning:
        message.reasoning_content = answer.reasoning
    if answer.tool_calls:
        message.tool_calls = [
            AnsweredCall(
                id=call.id,
                type="function",
                function=AnsweredFunction(name=call.name, arguments=call.arguments),
            )
            for call in answer.tool_calls
        ]
    return ChatChoice(
        index=index,
        message=message,
        logprobs=None if answer.logprobs is None else Logprobs(content=answer.logprobs),
        finish_reason=answer.finish_reason,
    )


class FunctionDelta(BaseModel, defer_build=True):
    """A part of a called function."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(BaseModel, defer_build=True):
    """A part of a call: the first has the id and the name, the others add to the arguments."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class Delta(BaseModel, defer_build=True):
    """The part of the message that a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChunkChoice(BaseModel, defer_build=True):
    """A piece of an answer. `finish_reason` is null before the end."""

    index: int
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None


class ChatCompletionChunk(BaseModel, defer_build=True):
    """A chunk of a streamed answer. The chunk with `usage` has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: TextUsage | None = None


class ChatChunks(Chunks):
    """See `writing.Chunks`."""

    def __init__(self, submission: AnswerSubmission, *, answers: int, usage: bool) -> None:
        self._submission = submission
        self._answers = answers
        self._usage = usage

    def begin(self) -> list[BaseModel]:
        """Return the chunks with the role."""
        return [self._chunk(index, Delta(role="assistant", content="")) for index in range(self._answers)]

    def piece(self, added: Added) -> list[BaseModel]:
        """Return the chunk for an addition to an answer."""
        # Fields that are not set do not appear in the chunk, as clients that merge chunks expect.
        delta = Delta()
        if added.text:
            delta.content = added.text
        if added.reasoning:
            delta.reasoning_content = added.reasoning
        if added.tool_calls:
            delta.tool_calls = [
                CallDelta.model_validate(call.model_dump(exclude_none=True)) for call in added.tool_calls
            ]
        choice = ChunkChoice(index=added.index, delta=delta, finish_reason=None)
        if added.logprobs:
            choice.logprobs = Logprobs.model_validate(
                {"content": [token.model_dump() for token in added.logprobs]}
            )
        return [self._of([choice])]

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunks with the finish reasons, and the one with the usage if it was requested."""
        last: list[BaseModel] = [
            self._chunk(index, Delta(), answer.finish_reason)
            for index, answer in enumerate(result.all_answers)
        ]
        return [*last, self._of([], usage=usage_of(result.usage))] if self._usage else last

    def _chunk(self, index: int, delta: Delta, reason: FinishReason | None = None) -> ChatCompletionChunk:
        return self._of([ChunkChoice(index=index, delta=delta, finish_reason=reason)])

    def _of(self, choices: list[ChunkChoice], **usage: TextUsage) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._submission.job_id,
            object="chat.completion.chunk",
            created=self._submission.created,
            model=self._submission.model,
            choices=choices,
            **usage,
        )
