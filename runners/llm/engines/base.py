"""The interface between the runner of language models and its engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runners.api import Fail, FailureCode
from runners.llm.evidence import TokenEvidence
from runners.llm.images import Images
from runners.llm.request import ENGINES_OF, FinishReason, InferenceRequest

SEEN = 20
"""Most likely tokens at a position that an audit sees. Those of the audited miner are hardly ever others."""


OnStep = Callable[[], None]


def ignore() -> None:
    """No-op callback."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Progress of a request: what one of its answers gained, and the tokens read and generated so far for all of them.

    `index` is the answer's number. `tool_calls` and `logprobs` have the form of OpenAI's API: parts of the calls of a streamed
    message, and one entry for each token of `text`. The last piece of each answer has `finish_reason`. `tokens` is the evidence about the
    tokens that the piece adds; `gap` states that the engine has left out some before them. `cached_tokens` are those of the prompt that were
    computed for an earlier request, as far as the engine reports them. `stop_text` is the stop string that ended the answer.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason | None = None
    index: int = 0
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] = ()
    tokens: tuple[TokenEvidence, ...] = ()
    gap: bool = False
    cached_tokens: int | None = None
    stop_text: str | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """How the tokens of an answer are drawn: from the run's `seed` (hex) and the answer's number among those of the request."""

    seed: str
    index: int


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What a run asks of an engine beside its request."""

    seed: str | None = None
    """In hex; chooses the tokens if the request has no seed."""
    salt: str | None = None
    """What was computed from another prompt is reused only if both have the same salt, never without one."""
    evidence: bool = True
    """Without it, the pieces need no tokens, which cost most engines time."""
    on_step: OnStep = ignore
    """Called between the steps of reading the request; an exception in it ends them."""


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """An answer to read: the tokens of its prompt and its own, which of its positions are of interest, ascending, and how they were drawn."""

    prompt: Sequence[int]
    answer: Sequence[int]
    positions: Sequence[int]
    draw: Draw | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the model expects at one position of an answer: the log-probabilities of the most likely tokens, by number.

    `margin` is by how much another token would have been preferred to the answer's: 0 if the answer's token is the one that the seed or
    temperature 0 chooses; None if the engine cannot determine which that is.
    """

    top: Mapping[int, float]
    margin: float | None = None


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

    @property
    def precision(self) -> str:
        """The exact type of the weights as computed with, such as "Q4_1" or "bfloat16"."""

    @property
    def seeded(self) -> bool:
        """Whether it can repeat the choice of each token from the seed of the run."""

    @property
    def adapters(self) -> Sequence[str]:
        """The names of the models that it can be, too: itself with an adapter."""

    @property
    def reads_partly(self) -> bool:
        """Whether reading a token costs a large part of generating it, so that an audit should read a part of an answer only."""

    def check(self, request: InferenceRequest) -> None:
        """Raise `Fail` or `Retry` if the model lacks what the request needs, before any work for it."""

    def submit(self, request: InferenceRequest, images: Images, options: GenerationOptions) -> Generation:
        """Begin a request that `check` accepts. Raises `Fail` (CONTEXT_OVERFLOW, INPUT_INVALID) or `Retry`."""

    def prompt_tokens(self, request: InferenceRequest) -> list[int]:
        """Return the tokens of a request without images."""

    def tokens(self, request: InferenceRequest, on_step: OnStep = ignore) -> list[tuple[int, str]]:
        """Return the tokens of a request with `only_tokens`, each with its text. Raises `Fail`, also with CONTEXT_OVERFLOW."""

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, control tokens included. Raises `Fail` for numbers of no token."""

    def read(self, request: InferenceRequest, text: AnswerTokens) -> Iterator[Reading]:
        """Yield what the model expects at these positions of an answer, without generating. Raises `Retry`."""

    def vram_peak(self) -> int:
        """See `Runner.vram_peak`."""

    def close(self) -> None:
        """Stop the engine and free its memory."""


def no_such_token(model_tokens: int) -> Fail:
    """Return the error for the number of a token that the model does not have."""
    return Fail(
        f"The numbers of this model's tokens are below {model_tokens}; send the tokens of this model."
    )


def cannot_see(request: InferenceRequest) -> Fail:
    """Return the error for images that are sent to a model of texts."""
    return Fail(
        f"The model {request.model!r} reads text only; remove the images, or choose a model that sees them."
    )


def check_samplers(request: InferenceRequest, engine: str) -> None:
    """Raise `Fail` if the request uses a sampler that the engine does not have."""
    for name, (_, engines) in ENGINES_OF.items():
        if engine not in engines and getattr(request, name) != InferenceRequest.model_fields[name].default:
            raise Fail(
                f"{engine}, which runs the model {request.model!r}, does not know {name}; remove it, or choose another model."
            )


def check_context(tokens: int, request: InferenceRequest, context: int, *, incomplete: bool = False) -> None:
    """Raise `Fail` with CONTEXT_OVERFLOW unless a prompt with this many tokens (at least so many if `incomplete`) and its answer fit into the model's context."""
    if tokens + request.max_tokens > context:
        raise Fail(
            f"The prompt has {'more than ' if incomplete else ''}{tokens} tokens and max_tokens is {request.max_tokens}; the model {request.model!r} holds "
            f"{context} together. Shorten one of them.",
            code=FailureCode.CONTEXT_OVERFLOW,
        )


def most_likely_margin(request: InferenceRequest, top: Mapping[int, float], token: int) -> float | None:
    """Return the margin at temperature 0, if nothing but the model's probabilities decides; None otherwise."""
    changed = request.repetition_penalty != 1 or request.presence_penalty or request.frequency_penalty
    if request.temperature or changed or request.restricts:
        return None
    return max(top.values()) - top.get(token, min(top.values()))
