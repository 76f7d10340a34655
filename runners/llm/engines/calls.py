"""Reads the calls of functions in answers that follow a grammar of `grammar.call_grammar`, while they are generated."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from runners.api import Fail
from runners.llm.call_syntax import CallSyntax
from runners.llm.engines.base import Piece
from runners.llm.request import InferenceRequest


def read_calls(
    text_pieces: Iterable[Piece], request: InferenceRequest, syntax: CallSyntax
) -> Iterator[Piece]:
    """Turn the texts of answers into calls of the request's `chosen_tools`, part by part. Raises `Fail` for a text where a call is required.

    A call that the token limit cuts off is as long as it is.
    """
    if not request.chosen_tools:
        yield from text_pieces
        return
    required = bool(request.forced_tools)
    openings = {
        tool.name: _compact(syntax.prefix + tool.name + syntax.middle) for tool in request.chosen_tools
    }
    readers: dict[int, _CallReader] = {}
    for piece in text_pieces:
        reader = readers.setdefault(piece.index, _CallReader(openings, syntax))
        text, calls = reader.add(piece.text)
        reason = piece.finish_reason
        if reason is not None:
            text += reader.end()
        if reason == "stop" and (required or reader.calls):
            if reader.incomplete:  # llama.cpp ignores a grammar that it cannot compile
                raise Fail(
                    "The model's engine cannot enforce a call of these tools; simplify their parameters."
                )
            reason = "tool_calls"
        yield replace(
            piece,
            text="" if required else text,
            finish_reason=reason,
            tool_calls=calls,
            reasoning="",
            logprobs=(),
        )


class _CallReader:
    """Reads one answer. Blanks between the parts of a call do not count: some engines put them where they like."""

    def __init__(self, openings: Mapping[str, str], syntax: CallSyntax) -> None:
        self._openings = openings
        self._closing = _compact(syntax.suffix)
        self._separator = _compact(syntax.separator or "")
        self._buffer = ""
        self._is_text = False
        self._scanner: _ObjectScanner | None = None
        self.calls = 0

    @property
    def incomplete(self) -> bool:
        """Whether the answer is no sequence of whole calls."""
        return self._scanner is not None or not self.calls or _compact(self._buffer) != self._closing

    def add(self, text: str) -> tuple[str, tuple[Mapping[str, Any], ...]]:
        """Return what a part of the answer adds: text, and parts of calls in the form of OpenAI's API."""
        self._buffer += text
        parts: list[Mapping[str, Any]] = []
        while not self._is_text:
            if self._scanner is None:
                opened = self._opened()
                if opened is None:
                    break
                name, length = opened
                self._buffer = self._buffer[length:]
                self._scanner = _ObjectScanner()
                # An id of its own, since a client must refer to this call in its next message.
                parts.append(
                    {
                        "index": self.calls,
                        "id": f"call_{secrets.token_hex(12)}",
                        "type": "function",
                        "function": {"name": name, "arguments": ""},
                    }
                )
                self.calls += 1
            self._buffer = self._buffer if self._scanner.begun else self._buffer.lstrip()
            length = self._scanner.scan(self._buffer)
            arguments, self._buffer = self._buffer[:length], self._buffer[length:]
            if arguments:
                parts.append({"index": self.calls - 1, "function": {"arguments": arguments}})
            if not self._scanner.ended:
                break
            self._scanner = None
        if not self._is_text:
            return "", tuple(parts)
        text, self._buffer = self._buffer, ""
        return text, tuple(parts)

    def end(self) -> str:
        """Return the text that was held back, at the end of an answer that is no call."""
        return "" if self.calls else self._buffer

    def _opened(self) -> tuple[str, int] | None:
        """Return the name of the call that the buffer begins with and the length of its opening; None if there is none yet."""
        between = self._closing + self._separator if self.calls else ""
        written = _compact(self._buffer)
        candidates = {name: between + opening for name, opening in self._openings.items()}
        for name, candidate in candidates.items():
            if written.startswith(candidate):
                return name, _length(self._buffer, len(candidate))
        if not self.calls and not any(candidate.startswith(written) for candidate in candidates.values()):
            self._is_text = True
        return None


class _ObjectScanner:
    """Finds the end of a JSON object that comes in parts."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False
        self.begun = self.ended = False

    def scan(self, text: str) -> int:
        """Return how many characters of the text belong to the object, with blanks before it."""
        for position, character in enumerate(text):
            if self._in_string:
                self._in_string = character != '"' or self._escaped
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
                self.begun = True
            elif character in "}]":
                self._depth -= 1
                if not self._depth:
                    self.ended = True
                    return position + 1
        return len(text)


def _compact(text: str) -> str:
    return "".join(text.split())


def _length(text: str, count: int) -> int:
    """Return the length of the beginning of a text that has so many characters other than blanks."""
    positions = [position for position, character in enumerate(text) if not character.isspace()]
    return positions[count - 1] + 1
