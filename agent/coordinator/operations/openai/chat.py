"""`POST /v1/chat/completions`: a conversation."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from agent.coordinator.operations.callers import Caller
from agent.coordinator.operations.context import Context
from agent.coordinator.operations.jobs.validation import JobOptions
from agent.coordinator.operations.openai.neutral import Only
from agent.coordinator.operations.openai.serving import Submission, service, submit
from agent.core.values.fields import example
from runners.llm.request import (
    MAX_NEW_TOKENS,
    MAX_STOPS,
    MAX_TEXT,
    InferenceResult,
    StopText,
    Usage,
)

SERVICE: Final = "llm_inference"

# The service's own limits, repeated so that the OpenAPI document shows them for this path.
MaxTokens = Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TextPart(_Part):
    """A part of a message. Models accept text only."""

    type: Literal["text"]
    text: Annotated[str, Field(max_length=MAX_TEXT)]


def _form(content: Any) -> str:
    return "parts" if isinstance(content, list) else "text"


Content = Annotated[
    Annotated[str, Field(max_length=MAX_TEXT), Tag("text")]
    | Annotated[list[TextPart], Field(min_length=1, max_length=100), Tag("parts")],
    Discriminator(_form),
]


class ChatMessage(_Part):
    """One turn. Text parts are joined by line breaks; `developer` is a synonym of `system`."""

    role: Literal["developer", "system", "user", "assistant"]
    content: Content
    # Clients send answers back unchanged, with these fields.
    refusal: Annotated[Any, Only()] = None
    annotations: Annotated[Any, Only([])] = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only()] = None
    tool_calls: Annotated[Any, Only([])] = None

    def turn(self) -> dict[str, str]:
        """Return the message in the service's form."""
        text = (
            self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        )
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class PlainText(_Part):
    """Any text."""

    type: Literal["text"]


class JsonObject(_Part):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(_Part):
    """A JSON Schema. The answer always follows it, with or without `strict`; `name` and `description` have no effect."""

    name: Annotated[str, Field(max_length=64)]
    description: Annotated[str, Field(max_length=10_000)] | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class JsonSchema(_Part):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[PlainText | JsonObject | JsonSchema, Field(discriminator="type")]


class StreamOptions(_Part):
    """With `include_usage`, a last chunk has the numbers of prompt and completion tokens."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[Any, Only(False)] = None


class TextRequest(JobOptions):
    """The fields of both text calls. `top_k`, `repetition_penalty` and job options are extensions."""

    model: Annotated[str, Field(max_length=200, examples=["smollm2-135m-instruct"])]
    max_tokens: MaxTokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(ge=0.5, le=2)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[Any, Only(1)] = None
    logit_bias: Annotated[Any, Only({})] = None
    user: Annotated[Any, Only()] = None

    @model_validator(mode="after")
    def _streamed(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options requires stream")
        return self

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """Return the given parameters that have the same names in the service."""
        return self.model_dump(
            mode="json",
            include={
                "model", "temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty", "presence_penalty",
                "repetition_penalty",
            },
            exclude_none=True,
        )  # fmt: skip


class ChatRequest(TextRequest):
    """A conversation to continue. A parameter without effect accepts only its neutral value."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "smollm2-135m-instruct",
                    "messages": [{"role": "user", "content": "What is the capital of France?"}],
                    "max_completion_tokens": 64,
                    "temperature": 0,
                }
            ]
        }
    )

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_completion_tokens: MaxTokens | None = None
    response_format: ResponseFormat | None = None
    audio: Annotated[Any, Only()] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    functions: Annotated[Any, Only([])] = None
    logprobs: Annotated[Any, Only(False)] = None
    metadata: Annotated[Any, Only({})] = None
    modalities: Annotated[Any, Only(["text"])] = None
    moderation: Annotated[Any, Only()] = None
    parallel_tool_calls: Annotated[Any, Only(True, False)] = None
    prediction: Annotated[Any, Only()] = None
    prompt_cache_key: Annotated[Any, Only()] = None
    prompt_cache_options: Annotated[Any, Only()] = None
    prompt_cache_retention: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only("none")] = None
    safety_identifier: Annotated[Any, Only()] = None
    service_tier: Annotated[Any, Only("auto", "default")] = None
    store: Annotated[Any, Only(False)] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    tools: Annotated[Any, Only([])] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    verbosity: Annotated[Any, Only("medium")] = None
    web_search_options: Annotated[Any, Only()] = None

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if None not in {self.max_tokens, self.max_completion_tokens}:
            raise ValueError("max_tokens is the old name of max_completion_tokens; give only one of them")
        return self

    @model_validator(mode="after")
    def _whole_json(self) -> Self:
        if self.stop and self.response_format is not None and self.response_format.type != "text":
            raise ValueError("stop could truncate the JSON; remove it or response_format")
        return self


async def create(context: Context, caller: Caller, request: ChatRequest, key: str | None) -> Submission:
    """Submit the job of a request. See `serving.submit`."""
    limit = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    form = request.response_format
    parameters = {
        **request.sampling(),
        "messages": [message.turn() for message in request.messages],
        "max_tokens": context.settings.answer_max_tokens if limit is None else limit,
        "json_object": isinstance(form, JsonObject),
        "response_schema": form.json_schema.schema_ if isinstance(form, JsonSchema) else None,
    }
    names = {"response_schema": "response_format.json_schema.schema"}
    return await submit(context, caller, service(context, SERVICE), parameters, request, key=key, names=names)


class AnswerMessage(BaseModel):
    """The model's turn."""

    role: Literal["assistant"]
    content: str


class ChatChoice(BaseModel):
    """The answer. `finish_reason` is `length` if the token limit ended it."""

    index: Literal[0]
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """An answer to a conversation. `id` is the job's id."""

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
    usage: Usage


def completion(submission: Submission, result: InferenceResult) -> ChatCompletion:
    """Return the complete answer."""
    message = AnswerMessage(role="assistant", content=result.text)
    return ChatCompletion(
        id=submission.job_id,
        object="chat.completion",
        created=submission.created,
        model=submission.model,
        choices=[ChatChoice(index=0, message=message, finish_reason=result.finish_reason)],
        usage=result.usage,
    )


class Delta(BaseModel):
    """The part of the message that a chunk adds."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """A piece of the answer. `finish_reason` is null before the end."""

    index: Literal[0]
    delta: Delta
    finish_reason: Literal["stop", "length"] | None


class ChatCompletionChunk(BaseModel):
    """A chunk of a streamed answer. The chunk with `usage` has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ChatChunks:
    """See `writing.Chunks`."""

    def __init__(self, submission: Submission, *, usage: bool) -> None:
        self._submission = submission
        self._usage = usage

    def begin(self) -> list[BaseModel]:
        """Return the chunk with the role."""
        return [self._chunk(Delta(role="assistant", content=""))]

    def piece(self, text: str) -> BaseModel:
        """Return the chunk for a piece of the content."""
        return self._chunk(Delta(content=text))

    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunk with the finish reason, and the one with the usage if it was requested."""
        last = self._chunk(Delta(), result.finish_reason)
        return [last, self._of([], usage=result.usage)] if self._usage else [last]

    def _chunk(self, delta: Delta, reason: Literal["stop", "length"] | None = None) -> ChatCompletionChunk:
        return self._of([ChunkChoice(index=0, delta=delta, finish_reason=reason)])

    def _of(self, choices: list[ChunkChoice], **usage: Usage) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._submission.job_id,
            object="chat.completion.chunk",
            created=self._submission.created,
            model=self._submission.model,
            choices=choices,
            **usage,
        )
