"""What the requests for a text have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from agent.coordinator.features.client_apis.neutral import Only
from agent.coordinator.features.openai.text.constraints import Constrained
from runners.llm.arguments import arguments_text
from runners.llm.request import (
    MAX_ANSWERS,
    MAX_NEW_TOKENS,
    MAX_STOPS,
    MAX_TEXT,
    StopText,
    ToolName,
)

# The service's own limits, repeated so that the OpenAPI document shows them for this path.
MaxTokens = Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
_EFFORTS: Final = {"minimal": "low", "xhigh": "high"}


class Part(BaseModel, defer_build=True):
    """A part of a request: no other fields, no conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CalledFunction(Part):
    """A function's name, and its arguments as a JSON object in text."""

    name: ToolName
    arguments: Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(arguments_text)]


class FunctionCall(Part):
    """A call of a function by the model. Clients send it back in the assistant's message."""

    id: Annotated[str, Field(max_length=100)]
    type: Literal["function"] = "function"
    function: CalledFunction
    index: Annotated[Any, Field(exclude=True)] = None


class Function(Part):
    """A function that the model may call. Its arguments always follow the schema if the call is required."""

    name: ToolName
    description: Annotated[str, Field(max_length=10_000)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class PlainText(Part):
    """Any text."""

    type: Literal["text"]


class JsonObject(Part):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Part):
    """A JSON Schema. The answer always follows it, with or without `strict`; `name` and `description` have no effect."""

    name: Annotated[str, Field(max_length=64)]
    description: Annotated[str, Field(max_length=10_000)] | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class StreamOptions(Part):
    """With `include_usage`, a last chunk has the numbers of prompt and completion tokens."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[Any, Only(False)] = None


class Sampling(Constrained):
    """The fields of all text calls. The samplers that OpenAI does not know, and job options, are extensions.

    `repeat_penalty` is llama.cpp's name of `repetition_penalty`.
    """

    model: Annotated[str, Field(max_length=200, examples=["smollm2-135m-instruct"])]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1000)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(ge=0.5, le=2)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.5, le=2)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(gt=0, le=1)] | None = None
    mirostat: Annotated[int, Field(ge=0, le=2)] | None = None
    mirostat_tau: Annotated[float, Field(ge=0, le=20)] | None = None
    mirostat_eta: Annotated[float, Field(gt=0, le=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=MAX_NEW_TOKENS)] | None = None
    ignore_eos: bool | None = None
    stream: bool | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    user: Annotated[str, Field(max_length=500)] | None = None

    def sampling(self) -> dict[str, Any]:
        """Return the given parameters that have the same names in the service."""
        given = self.model_dump(
            mode="json",
            include={
                "model", "temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty", "presence_penalty",
                "repetition_penalty", "n", "logit_bias", "min_p", "typical_p", "mirostat", "mirostat_tau", "mirostat_eta",
                "min_tokens", "ignore_eos",
            },
            exclude_none=True,
        )  # fmt: skip
        if self.repeat_penalty is not None:
            given.setdefault("repetition_penalty", self.repeat_penalty)
        return given | self.constraint()


class TextRequest(Sampling):
    """The fields of chats and continuations."""

    max_tokens: MaxTokens | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_ANSWERS)] | None = None

    @model_validator(mode="after")
    def _streamed(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options requires stream")
        return self

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def form_parameters(form: Part | None) -> dict[str, Any]:
    """Return the service's parameter for the form of the text."""
    if isinstance(form, JsonObject):
        return {"json_object": True}
    return {"response_schema": form.schema_} if isinstance(form, NamedSchema) else {}


def effort_parameters(effort: Effort | None) -> dict[str, Any]:
    """Return the service's nearest effort."""
    return {} if effort is None else {"reasoning_effort": _EFFORTS.get(effort, effort)}


def tool_parameters(
    functions: Sequence[Function], choice: str | dict[str, str], *, parallel: bool | None
) -> dict[str, Any]:
    """Return the service's parameters for the functions that the model may call."""
    # The service refuses a required call without tools.
    if not functions and choice in ("auto", "none"):
        return {}
    # Arguments of a required call follow the schema anyway, so `strict` has no meaning for the service.
    offered = {"name", "description", "parameters"}
    return {
        "tools": [function.model_dump(include=offered, exclude_none=True) for function in functions],
        "tool_choice": choice,
        "parallel_tool_calls": parallel is not False,
    }
