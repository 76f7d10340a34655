"""What the chunks of a streamed answer are made from. Each kind of answer forms its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from agent.coordinator.features.client_apis.openai_errors import stream_error
from runners.llm.request import MAX_ANSWERS, InferenceResult, TokenLogprob


class ErrorChunk(BaseModel, defer_build=True):
    """The last chunk of a stream that failed, in the form of OpenAI's API."""

    error: dict[str, Any]


def error_chunk(error: Mapping[str, Any]) -> BaseModel:
    """Return the last chunk of a stream that failed."""
    return ErrorChunk(error=stream_error(error))


class FunctionPart(BaseModel, defer_build=True):
    """A part of a called function: its name, or more of its arguments."""

    name: str | None = None
    arguments: str | None = None


class CallPart(BaseModel, defer_build=True):
    """A part of the call with this number. Only the first part has an id and a name."""

    index: int = 0
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionPart


class Added(BaseModel, defer_build=True):
    """What one of the answers gains: the data of a runner's events `token` and `part`."""

    index: Annotated[int, Field(ge=0, lt=MAX_ANSWERS)] = 0
    text: str = ""
    reasoning: str = ""
    tool_calls: list[CallPart] = []
    logprobs: list[TokenLogprob] = []


class Chunks(ABC):
    """Forms the chunks of one kind of answer."""

    @abstractmethod
    def begin(self) -> list[BaseModel]:
        """Return the chunks before the text."""

    @abstractmethod
    def piece(self, added: Added) -> list[BaseModel]:
        """Return the chunks for an addition to an answer."""

    @abstractmethod
    def end(self, result: InferenceResult) -> list[BaseModel]:
        """Return the chunks after the text."""

    def failure(self, error: Mapping[str, Any]) -> BaseModel:
        """Return the last chunk of a stream that failed."""
        return error_chunk(error)
