"""Converts generated tokens to text, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AnswerDecoder:
    """Decodes one answer. The concatenated pieces are the whole text.

    It holds back incomplete characters, and text that may be the beginning of a stop string.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        from tokenizers.decoders import DecodeStream  # noqa: PLC0415 - the coordinator has no engine

        self.stop_text: str | None = None
        """The stop string that has begun."""
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._tokenizer = tokenizer.backend_tokenizer
        self._stops = stops
        self._held = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop string has begun."""
        return self.stop_text is not None

    def push(self, token: int) -> str:
        """Return the text that is final after one more token. Sets `stop_text` if a stop string begins."""
        self._held += self._decoder.step(self._tokenizer, token) or ""
        begins = [(position, stop) for stop in self._stops if (position := self._held.find(stop)) >= 0]
        if begins:
            position, self.stop_text = min(begins)
            return self._release(position)
        return self._release(len(self._held) - max((self._overlap(stop) for stop in self._stops), default=0))

    def finish(self) -> str:
        """Return the text that was held back, at the end of the answer, without an incomplete character."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, length: int) -> str:
        piece, self._held = self._held[:length], self._held[length:]
        return piece

    def _overlap(self, stop: str) -> int:
        """Return how many characters at the end of the held text begin `stop`."""
        # A whole stop string would have been found before.
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
