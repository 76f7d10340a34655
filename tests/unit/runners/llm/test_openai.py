"""The streams of engines' servers: which tokens are counted, and what is no call of a tool."""

from __future__ import annotations

import pytest

from runners.api import Fail
from runners.llm.engines.base import Piece
from runners.llm.engines.openai import as_calls, pieces


class Events:
    """A stream of given events."""

    cancelled = False

    def __init__(self, *events):
        self._events = events

    def events(self):
        return iter(self._events)


def choice(index, reason=None, **event):
    return {"choices": [{"index": index, "delta": {}, "finish_reason": reason}], **event}


def usage(tokens):
    return {"usage": (7, tokens)}


def counted(event):
    return event.get("usage")


def test_llama_cpp_counts_each_answer_after_its_end():
    stream = Events(
        choice(0, **usage(1)),
        choice(1, **usage(1)),
        choice(1, "stop"),
        usage(100),
        choice(0, "stop"),
        usage(5),
    )
    last = [*pieces(stream, 2, counted)][-1]
    assert (last.prompt_tokens, last.completion_tokens) == (7, 105)


def test_vllm_counts_all_answers_at_the_end():
    stream = Events(choice(0, "stop", **usage(4)), choice(1, "stop", **usage(9)), usage(13))
    last = [*pieces(stream, 2, counted, counts_all=True)][-1]
    assert (last.prompt_tokens, last.completion_tokens) == (7, 13)


def test_a_text_that_is_no_call_is_an_input_error():
    """llama.cpp ignores a grammar that it cannot compile."""
    with pytest.raises(Fail, match="simplify their parameters"):
        list(as_calls(iter([Piece("Hello", 1, 1, "stop")])))
