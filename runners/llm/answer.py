"""An answer that is put together from its pieces."""

from __future__ import annotations

import json
from typing import Any

from runners.llm.engines.base import Piece
from runners.llm.request import FinishReason


class AnswerParts:
    """The parts of one answer so far, and the number of its `part` events."""

    def __init__(self) -> None:
        self.text = ""
        self.parts = 0
        self._reasoning = ""
        self.finish_reason: FinishReason = "length"
        self._calls: dict[int, dict[str, str]] = {}
        self._logprobs: list[dict[str, Any]] = []
        self._stop_text: str | None = None

    @property
    def called(self) -> bool:
        """Whether the answer calls functions."""
        return bool(self._calls)

    @property
    def is_json(self) -> bool:
        """Whether the text is JSON, or the beginning of a text that was cut off."""
        # A text that was cut off cannot be complete JSON, and its client asked for the limit.
        if self.finish_reason == "length":
            return True
        try:
            json.loads(self.text)
        except ValueError:
            return False
        return True

    def add(self, piece: Piece) -> None:
        """Add what a piece brings."""
        self.text += piece.text
        self._reasoning += piece.reasoning
        for part in piece.tool_calls:
            # Streamed calls come in parts: the number says to which call, and text is appended.
            call = self._calls.setdefault(int(part.get("index", 0)), {"id": "", "name": "", "arguments": ""})
            function = part.get("function") or {}
            for name, value in (
                ("id", part.get("id")),
                *((name, function.get(name)) for name in ("name", "arguments")),
            ):
                call[name] += value or ""
        self._logprobs += [dict(token) for token in piece.logprobs]
        self.finish_reason = piece.finish_reason or self.finish_reason
        self._stop_text = piece.stop_text or self._stop_text

    def described(self) -> dict[str, Any]:
        """Return the answer as the fields of `request.Answer`, without those that have no value."""
        optional = {
            "reasoning": self._reasoning,
            "tool_calls": [self._calls[index] for index in sorted(self._calls)],
            "logprobs": self._logprobs,
            "stop_text": self._stop_text,
        }
        present = {name: value for name, value in optional.items() if value}
        return {"text": self.text, "finish_reason": self.finish_reason, **present}
