"""From generated tokens to text, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class TextStream:
    """Decodes one answer. The pieces put together are the whole text.

    Held back are the bytes of a character until it is complete, and whatever may be the beginning of a stop string.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        from tokenizers.decoders import DecodeStream  # noqa: PLC0415 - the coordinator has no engine

        self.stopped = False
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._tokenizer = tokenizer.backend_tokenizer
        self._stops = stops
        self._held = ""

    def push(self, token: int) -> str:
        """The text that is certain after one more token. Sets `stopped` where a stop string begins."""
        self._held += self._decoder.step(self._tokenizer, token) or ""
        begins = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if begins:
            self.stopped = True
            return self._release(min(begins))
        return self._release(len(self._held) - max((self._overlap(stop) for stop in self._stops), default=0))

    def finish(self) -> str:
        """What was held back, once no stop string can follow. An incomplete character is left out."""
        return "" if self.stopped else self._release(len(self._held))

    def _release(self, length: int) -> str:
        piece, self._held = self._held[:length], self._held[length:]
        return piece

    def _overlap(self, stop: str) -> int:
        """How many characters at the end of the held text begin `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
