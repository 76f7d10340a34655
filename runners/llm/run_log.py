"""What a request's job log contains: the model and its engine, the tokens and their speed, and why an answer ended early."""

from __future__ import annotations

import time
from collections.abc import Sequence

from runners.api import Context, Device
from runners.llm.answer import AnswerParts
from runners.llm.engines.base import LanguageEngine, Piece
from runners.llm.request import InferenceRequest


class RunLog:
    """Writes the log of one request. Create it before the request begins."""

    def __init__(self, context: Context, request: InferenceRequest) -> None:
        self._context = context
        self._request = request
        self._began = time.monotonic()
        self._first: float | None = None

    def begin(self, engine: LanguageEngine, device: Device) -> None:
        """Log where the model runs."""
        self._context.log(
            f"Model {self._request.model} in {engine.name} on {device.words}, with a context of {engine.context} tokens.",
            engine.name,
        )

    def piece(self, piece: Piece) -> None:
        """Note when the first token of an answer arrived."""
        if self._first is None and piece.completion_tokens:
            self._first = time.monotonic()

    def end(
        self, engine: LanguageEngine, piece: Piece, answers: Sequence[AnswerParts], *, too_costly: bool
    ) -> None:
        """Log the tokens, their speed, and warnings about answers that are incomplete."""
        ended = time.monotonic()
        first = ended if self._first is None else self._first
        # The first token includes reading the prompt, which says nothing about the speed of writing.
        speed = (piece.completion_tokens - 1) / (ended - first) if ended > first else 0.0
        lines = [
            f"Prompt: {piece.prompt_tokens} tokens; the first token of the answer followed after {first - self._began:.2f} s.",
            f"Answer: {piece.completion_tokens} tokens"
            + (f", {speed:.1f} token/s after the first." if speed > 0 else "."),
        ]
        cut = sum(answer.finish_reason == "length" for answer in answers)
        if too_costly:
            lines.append("Warning: the answer was ended because the job reached its max_cost.")
        elif cut:
            whose = "The answer" if len(answers) == 1 else f"{cut} of {len(answers)} answers"
            lines.append(
                f"Warning: {whose} reached max_tokens ({self._request.max_tokens}) and may end in the middle of a sentence."
            )
        self._context.log("\n".join(lines), engine.name)
