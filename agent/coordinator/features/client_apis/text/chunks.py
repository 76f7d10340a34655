"""What the chunks of a streamed answer are made from. Each kind of answer forms its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from agent.coordinator.features.client_apis.openai_errors import stream_error
from runners.llm.request import InferenceResult


class ErrorChunk(BaseModel, defer_build=True):
    """The last chunk of a stream that failed, in the form of OpenAI's API."""

    error: dict[str, Any]


def error_chunk(error: Mapping[str, Any]) -> BaseModel:
    """Return the last chunk of a stream that failed."""
    return ErrorChunk(error=stream_error(error))


@dataclass(frozen=True, slots=True)
class Added:
    """What one of the answers gains. `tool_calls` and `logprobs` have the form of the runner's events."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    logprobs: Sequence[Mapping[str, Any]] = ()


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
