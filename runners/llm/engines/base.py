"""The interface between the runner of language models and its engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runners.api import Fail, FailureCode
from runners.llm.images import Images
from runners.llm.request import FinishReason, InferenceRequest


@dataclass(frozen=True, slots=True)
class Piece:
    """Progress of a request: what one of its answers gained, and the tokens read and generated so far for all of them.

    `index` is the answer's number. `tool_calls` and `logprobs` have the form of OpenAI's API: parts of the calls of a streamed
    message, and one entry for each token of `text`. The last piece of each answer has `finish_reason`.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None = None
    index: int = 0
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] = ()


class Generation(Protocol):
    """One request in an engine."""

    def pieces(self) -> Iterator[Piece]:
        """Yield pieces as they arrive, until each answer has its `finish_reason`, or until `cancel`.

        Raises `Fail` or `Retry`. Every step of the engine on the request yields at least one piece, and so does a second of
        waiting for the engine.
        """

    def cancel(self) -> None:
        """Stop at the next token. May be called from any thread; ignored after the end."""


class LanguageEngine(Protocol):
    """A loaded model that processes several requests at the same time."""

    @property
    def name(self) -> str:
        """The engine's name."""

    @property
    def context(self) -> int:
        """The tokens that a prompt and its answer may have together."""

    def submit(self, request: InferenceRequest, images: Images) -> Generation:
        """Begin a request. Raises `Fail` (CONTEXT_OVERFLOW, INPUT_INVALID) or `Retry`."""

    def vram_peak(self) -> int:
        """See `Runner.vram_peak`."""

    def close(self) -> None:
        """Stop the engine and free its memory."""


def cannot_see(request: InferenceRequest) -> Fail:
    """Return the error for images that are sent to a model of texts."""
    return Fail(
        f"The model {request.model!r} reads text only; remove the images, or choose a model that sees them."
    )


def check_context(tokens: int, request: InferenceRequest, context: int) -> None:
    """Raise `Fail` with CONTEXT_OVERFLOW unless a prompt with this many tokens and its answer fit into the model's context."""
    if tokens + request.max_tokens > context:
        raise Fail(
            f"The prompt has {tokens} tokens and max_tokens is {request.max_tokens}; the model {request.model!r} holds "
            f"{context} together. Shorten one of them.",
            code=FailureCode.CONTEXT_OVERFLOW,
        )
