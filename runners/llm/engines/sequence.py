"""One request in the transformers engine, shared by the model's thread and the thread that waits for the answer."""

from __future__ import annotations

import queue
import random
from collections.abc import Callable, Iterator
from typing import Any, Literal

from runners.api import Retry
from runners.llm.engines.base import Piece
from runners.llm.engines.loading import Loaded
from runners.llm.request import InferenceRequest
from runners.llm.text import TextStream

WAIT_SECONDS = 1.0
"""Interval at which a waiting thread checks that the engine is alive."""


class Sequence:
    """The state of one answer. All but `pieces` and `cancel` belong to the engine's thread."""

    def __init__(
        self,
        request: InferenceRequest,
        prompt: list[int],
        loaded: Loaded,
        matcher: Any,
        alive: Callable[[], bool],
    ) -> None:
        self.prompt = prompt
        self.matcher = matcher
        self.temperature, self.top_p, self.top_k = request.temperature, request.top_p, request.top_k
        self.repetition_penalty = request.repetition_penalty
        self.presence_penalty, self.frequency_penalty = request.presence_penalty, request.frequency_penalty
        self.counts: Any = None
        self.seen: Any = None
        self.cancelled = False
        self.finished = False
        self._max_tokens = request.max_tokens
        self._ends = loaded.ends
        self._generated = 0
        self._read = 0
        self._text = TextStream(loaded.tokenizer, request.stops)
        self._random = random.Random(request.seed)  # noqa: S311 - a seed must be repeatable
        self._alive = alive
        # At most one piece for each token, so max_tokens bounds it.
        self._news: queue.SimpleQueue[Piece | Exception | None] = queue.SimpleQueue()

    @property
    def remaining(self) -> int:
        """Tokens that may still be generated."""
        return self._max_tokens - self._generated

    def draw(self) -> float:
        """See `sampling.Row`."""
        return self._random.random()

    def count(self, vocabulary: int, device: Any) -> None:
        """Begin to count tokens for the penalties, if the request has any."""
        if self.repetition_penalty == 1 and self.presence_penalty == self.frequency_penalty == 0:
            return
        import torch  # noqa: PLC0415 - the coordinator has no engine

        self.counts = torch.zeros(vocabulary, device=device)
        self.seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
        self.seen[torch.tensor(self.prompt, device=device)] = True

    def read(self, tokens: int) -> None:
        """Report that the model has read the first `tokens` tokens of the prompt; 0 while the request is queued."""
        self._read = max(self._read, tokens)
        self._news.put(self._piece(""))

    def accept(self, token: int) -> None:
        """Append the next token."""
        self._generated += 1
        if self.counts is not None:
            self.counts[token] += 1
            self.seen[token] = True
        if self.matcher is not None and not self.matcher.accept_token(token):
            self.fail(Retry("The engine chose a token that the schema does not allow."))
            return
        if token in self._ends:
            self._finish("", "stop")
            return
        text = self._text.push(token)
        if self._text.stopped:
            self._finish(text, "stop")
        elif self.remaining == 0:
            self._finish(text, "length")
        else:
            self._news.put(self._piece(text))

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self.finished = True
        self._news.put(error)

    def cancel(self) -> None:
        """See `Generation.cancel`."""
        self.cancelled = True
        self._news.put(None)

    def pieces(self) -> Iterator[Piece]:
        """See `Generation.pieces`."""
        while True:
            try:
                news = self._news.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                if self._alive():
                    continue
                raise Retry("The engine has ended.") from None
            if news is None:
                return
            if isinstance(news, Exception):
                raise news
            yield news
            if news.finish_reason is not None:
                return

    def _finish(self, text: str, reason: Literal["stop", "length"]) -> None:
        self.finished = True
        self._news.put(self._piece(text + self._text.finish(), reason))

    def _piece(self, text: str, reason: Literal["stop", "length"] | None = None) -> Piece:
        return Piece(text, self._read, self._generated, reason)
