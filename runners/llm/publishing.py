"""Publishes answers while they are generated: the first answer's text as `token` events, all else as `part` events."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runners.api import Context
from runners.llm.answer import AnswerParts
from runners.llm.engines.base import Piece

INTERVAL: Final = 0.05
"""Seconds in which the texts of one answer are joined into one event. A reader sees no difference, and an engine may generate thousands
of tokens in a second, each of which would pass through four programs by itself."""


@dataclass(slots=True)
class _PendingText:
    """Text of an answer, or of its `reasoning`, that waits for more. `offset` is that of its beginning."""

    reasoning: bool
    offset: int
    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)


class Publisher:
    """Publishes what the pieces add to `answers`. Call `add` before a piece is added to its answer, and `flush` at the end."""

    def __init__(
        self, context: Context, answers: Sequence[AnswerParts], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = context
        self._answers = answers
        self._clock = clock
        self._held: dict[int, _PendingText] = {}
        self._published_at = [float("-inf")] * len(answers)

    def add(self, piece: Piece) -> None:
        """Publish a piece, together with the text that waits, or let its text wait for the next one."""
        if piece.reasoning:
            self._hold(piece.index, piece.reasoning, (), reasoning=True)
        if piece.text or piece.logprobs:
            self._hold(piece.index, piece.text, piece.logprobs)
        # Published at once: calls are few, and must not overtake the text before them.
        if piece.tool_calls:
            self._release(piece.index)
            self._part(piece.index, {"tool_calls": [dict(call) for call in piece.tool_calls]})

    def _hold(
        self, index: int, text: str, logprobs: Sequence[Mapping[str, Any]], *, reasoning: bool = False
    ) -> None:
        pending = self._held.get(index)
        if pending is not None and pending.reasoning is not reasoning:
            self._release(index)
            pending = None
        if pending is None:
            pending = self._held[index] = _PendingText(reasoning, len(self._answers[index].text))
        pending.text += text
        pending.logprobs += [dict(entry) for entry in logprobs]
        if self._clock() - self._published_at[index] >= INTERVAL:
            self._release(index)

    def flush(self) -> None:
        """Publish what waits."""
        for index in list(self._held):
            self._release(index)

    def _release(self, index: int) -> None:
        pending = self._held.pop(index, None)
        if pending is None:
            return
        self._published_at[index] = self._clock()
        logprobs = {"logprobs": pending.logprobs} if pending.logprobs else {}
        if pending.text and index == 0 and not pending.reasoning:
            self._context.event("token", {"text": pending.text, "offset": pending.offset, **logprobs})
        else:
            name = "reasoning" if pending.reasoning else "text"
            self._part(index, ({name: pending.text} if pending.text else {}) | logprobs)

    def _part(self, index: int, added: dict[str, Any]) -> None:
        answer = self._answers[index]
        self._context.event("part", {"index": index, "offset": answer.parts, **added})
        answer.parts += 1
