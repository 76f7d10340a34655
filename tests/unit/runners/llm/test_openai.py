"""The streams of engines' servers: which tokens are counted, and which are evident."""

from __future__ import annotations

import pytest

from runners.llm.engines.openai import pieces


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
    return {"counts": (7, tokens)}


def counted(event):
    return event.get("counts")


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


@pytest.mark.parametrize("reported", [2, None, "END"])
def test_vllm_names_the_stop_string_and_not_the_token_that_ends_all_answers(reported):
    event = choice(0, "stop", **usage(4))
    event["choices"][0]["stop_reason"] = reported
    (piece,) = pieces(Events(event), 1, counted)
    assert piece.stop_text == (reported if reported == "END" else None)


def named(numbers):
    """The likeliest tokens, by numbers as vLLM names them, each half as likely as the one before."""
    return [{"token": f"token_id:{number}", "logprob": -0.7 * rank} for rank, number in numbers]


def drawn(token, top):
    """An event of vLLM, which lists the drawn token before the likeliest, of which the last one is left out if that is none of them."""
    first = [entry for entry in top if entry["token"] == token] or [{"token": token, "logprob": -9.0}]
    listed = (first + [entry for entry in top if entry["token"] != token])[: len(top)]
    return choice(0, "stop", **usage(1)) | {
        "choices": [
            {
                "index": 0,
                "delta": {"content": "x"},
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": token, "logprob": first[0]["logprob"], "top_logprobs": listed}]},
            }
        ]
    }  # fmt: skip


@pytest.mark.parametrize("token", ["token_id:10", "token_id:12", "token_id:15", "token_id:99"])
def test_which_tokens_are_evident_does_not_depend_on_the_drawn_one(token):
    """Otherwise the tokens of an honest answer could not have been drawn from them, and its audits would fail."""
    top = named(enumerate(range(10, 16)))
    (piece,) = pieces(Events(drawn(token, top)), 1, counted, counts_all=True)
    (evident,) = piece.tokens
    assert evident.token == int(token.removeprefix("token_id:"))
    assert [number for number, _ in evident.top] == [10, 11, 12, 13, 14]


def test_the_most_likely_alternatives_are_shown_first():
    top = named(enumerate(range(10, 13)))
    (piece,) = pieces(Events(drawn("token_id:99", top)), 1, counted, counts_all=True, alternatives=2)
    (entry,) = piece.logprobs
    assert [other["token"] for other in entry["top_logprobs"]] == ["token_id:10", "token_id:11"]
