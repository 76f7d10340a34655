"""What the runner of language models needs of an engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from runners.api import Fail, FailureCode
from runners.llm.request import InferenceRequest


@dataclass(frozen=True, slots=True)
class Piece:
    """News of a generation: text that is new, and tokens read and generated so far. The last one has `finish_reason`."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"] | None = None


class Generation(Protocol):
    """One request that an engine works on."""

    def pieces(self) -> Iterator[Piece]:
        """The news as they come. Ends after the one with `finish_reason`, or without it after `cancel`.

        Raises `Fail` or `Retry`. At least one piece comes for every step that the engine does on the request.
        """

    def cancel(self) -> None:
        """Stop at the next token. From any thread; ignored when the generation has ended."""


class LanguageEngine(Protocol):
    """A loaded model that works on several requests at the same time."""

    def submit(self, request: InferenceRequest) -> Generation:
        """Begin a request. Raises `Fail` (CONTEXT_OVERFLOW, INPUT_INVALID) or `Retry`."""

    def vram_peak(self) -> int:
        """See `Runner.vram_peak`."""

    def close(self) -> None:
        """Stop, and give back the memory."""


def check_context(tokens: int, request: InferenceRequest, context: int) -> None:
    """Raise `Fail` with CONTEXT_OVERFLOW unless a prompt of so many tokens and its answer fit into the model's context."""
    if tokens + request.max_tokens > context:
        raise Fail(
            f"The prompt has {tokens} tokens and max_tokens is {request.max_tokens}; the model {request.model!r} holds "
            f"{context} together. Shorten one of them.",
            code=FailureCode.CONTEXT_OVERFLOW,
        )
