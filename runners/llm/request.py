"""The request and the result of an inference job."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from runners.api import Strict, shown_as
from runners.llm.schema import check_schema

MAX_TEXT = 1_000_000
"""Characters of a prompt, or of all messages together."""

MAX_NEW_TOKENS = 32_768
MAX_STOPS = 8

Text = Annotated[str, Field(max_length=MAX_TEXT)]
StopText = Annotated[str, Field(min_length=1, max_length=256)]

ANY_OBJECT = {"type": "object", "additionalProperties": True}
"""The schema of `json_object`."""


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Text


class InferenceRequest(Strict):
    """Input of the service `llm_inference`.

    Requires either `prompt` or `messages`. A model with a chat template receives `prompt` as a user's message; a
    model without one, or `raw`, continues the text unchanged, control tokens included. `temperature` 0 always chooses the
    most likely token; `seed` makes other temperatures repeatable. `stop` ends the text before the first of these strings.
    With `response_schema` (JSON Schema) or `json_object`, a text that was not cut off is JSON of that form.
    `repetition_penalty` includes the prompt; `presence_penalty` and `frequency_penalty` include only generated tokens.
    """

    model_config = shown_as(
        {
            "model": "llama-7b",
            "prompt": "Explain quantum computing",
            "max_tokens": 256,
            "temperature": 0.7,
        }
    )

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", examples=["smollm2-135m-instruct"])
    prompt: Text | None = Field(default=None, min_length=1)
    messages: tuple[Message, ...] = Field(default=(), max_length=1000)
    raw: bool = False
    max_tokens: int = Field(default=256, ge=1, le=MAX_NEW_TOKENS)
    temperature: float = Field(default=0.7, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1, gt=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=0, le=1000, description="0 disables the limit.")
    stop: StopText | Annotated[tuple[StopText, ...], Field(max_length=MAX_STOPS)] = ()
    seed: int | None = Field(default=None, ge=0, lt=2**53)
    repetition_penalty: float = Field(default=1, ge=0.5, le=2, allow_inf_nan=False)
    presence_penalty: float = Field(default=0, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float = Field(default=0, ge=-2, le=2, allow_inf_nan=False)
    response_schema: dict[str, Any] | None = None
    json_object: bool = False

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, always as a tuple."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def schema_text(self) -> str | None:
        """The JSON schema that the answer must follow, None if it is free text."""
        if self.response_schema is not None:
            return json.dumps(self.response_schema)
        return json.dumps(ANY_OBJECT) if self.json_object else None

    @field_validator("response_schema")
    @classmethod
    def _schema_is_supported(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            check_schema(schema)
        return schema

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.prompt is None) == (not self.messages):
            raise ValueError("give either prompt or messages")
        if self.raw and self.messages:
            raise ValueError("raw requires prompt; messages need the model's chat template")
        if sum(len(message.content) for message in self.messages) > MAX_TEXT:
            raise ValueError(f"the messages have more than {MAX_TEXT} characters")
        return self

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.response_schema is not None and self.json_object:
            raise ValueError("give either response_schema or json_object")
        if self.stops and self.schema_text is not None:
            raise ValueError("stop could cut the JSON short; omit it with response_schema and json_object")
        return self


class Usage(BaseModel):
    """Tokens read and generated, including the one that ended the text."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class InferenceResult(BaseModel):
    """Output of the service. `finish_reason` is "length" if `max_tokens` or the cost limit ended the text."""

    text: str
    finish_reason: Literal["stop", "length"]
    usage: Usage
