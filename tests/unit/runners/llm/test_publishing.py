"""How pieces of answers become events: joined while they come fast, each at once while they come slowly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from runners.llm.answer import AnswerParts
from runners.llm.engines.base import Piece
from runners.llm.publishing import INTERVAL, Publisher


@dataclass
class Reader:
    """Receives the events, at a time that the test sets, and puts the answers together from them."""

    now: float = 0.0

    def __post_init__(self) -> None:
        self.answers = [AnswerParts() for _ in range(2)]
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.publisher = Publisher(self, self.answers, lambda: self.now)  # type: ignore[arg-type]  # only `event` is used

    def event(self, kind: str, data: dict[str, Any]) -> None:
        self.events.append((kind, data))

    def add(self, *texts: str, every: float, **fields: Any) -> None:
        """Add a piece for each text, at intervals."""
        for text in texts:
            piece = Piece(text, 1, 1, **fields)
            self.publisher.add(piece)
            self.answers[piece.index].add(piece)
            self.now += every


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_fast_texts_are_joined_and_the_first_is_published_at_once(reader: Reader) -> None:
    reader.add("a", every=INTERVAL / 4)
    assert reader.events == [("token", {"text": "a", "offset": 0})]
    reader.add(*"bcdefghi", every=INTERVAL / 4)
    reader.publisher.flush()
    assert reader.events[1:] == [
        ("token", {"text": "bcde", "offset": 1}),
        ("token", {"text": "fghi", "offset": 5}),
    ]
    reader.publisher.flush()
    assert len(reader.events) == 3


def test_slow_texts_are_published_each_at_once(reader: Reader) -> None:
    for number, text in enumerate("abc", 1):
        reader.add(text, every=INTERVAL)
        assert len(reader.events) == number


def test_log_probabilities_are_joined_with_their_texts(reader: Reader) -> None:
    for text in "ab", "c", "":
        reader.add(text, every=0, logprobs=({"token": text},))
    reader.publisher.flush()
    assert reader.events == [
        ("token", {"text": "ab", "offset": 0, "logprobs": [{"token": "ab"}]}),
        ("token", {"text": "c", "offset": 2, "logprobs": [{"token": "c"}, {"token": ""}]}),
    ]


def test_reasoning_text_and_calls_keep_their_order(reader: Reader) -> None:
    call = {"index": 0, "id": "c"}
    reader.add("", "", every=0, reasoning="think")
    reader.add("so", "it", "is", every=0)
    reader.add("!", every=0, tool_calls=(call,))
    reader.publisher.flush()
    assert reader.events == [
        ("part", {"index": 0, "offset": 0, "reasoning": "think"}),
        ("part", {"index": 0, "offset": 1, "reasoning": "think"}),
        ("token", {"text": "soitis!", "offset": 0}),
        ("part", {"index": 0, "offset": 2, "tool_calls": [call]}),
    ]


def test_answers_are_joined_apart(reader: Reader) -> None:
    """The second one's texts are parts, numbered one after the other."""
    for index in (0, 1, 0, 1, 0, 1):
        reader.add("x", every=0, index=index)
    reader.publisher.flush()
    texts: dict[str, Callable[[dict[str, Any]], bool]] = {
        "token": lambda data: "index" not in data,
        "part": lambda data: data["index"] == 1,
    }
    for kind, belongs in texts.items():
        parts = [data for found, data in reader.events if found == kind]
        assert all(belongs(data) for data in parts)
        assert [data["text"] for data in parts] == ["x", "xx"]
    assert [data["offset"] for kind, data in reader.events if kind == "part"] == [0, 1]
