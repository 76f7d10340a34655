"""Requests that only count or list tokens, with real tokenizers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from runners.api import Fail
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME, QUESTION

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]


def test_the_tokens_of_a_conversation_are_those_that_an_answer_reads(ask):
    answered = ask(None, messages=TALK, max_tokens=1)
    counted = ask(None, messages=TALK, only_tokens="count")
    assert counted["usage"]["prompt_tokens"] == answered["usage"]["prompt_tokens"] > 20
    assert (counted["text"], counted["usage"]["completion_tokens"], "tokens" in counted) == ("", 0, False)


def test_pieces_are_the_text_and_become_it_again(ask):
    text = "Der Zug fährt um zwölf. 🚂"
    listed = ask(text, raw=True, only_tokens="pieces", special_tokens=False)
    assert len(listed["pieces"]) == len(listed["tokens"]) == listed["usage"]["prompt_tokens"]
    assert "".join(listed["pieces"][:5]) in text
    assert ask(None, only_tokens="text", token_ids=listed["tokens"])["text"] == text


def test_it_costs_a_hundredth_and_at_least_a_token(runner, make_context):
    def units(prompt):
        request = InferenceRequest(model=NAME, prompt=prompt, raw=True, only_tokens="count")
        result = runner.run(request, make_context())
        return result.results["usage"]["prompt_tokens"], result.units

    assert units("Hello")[1] == 1
    tokens, price = units("Hello there. " * 100)
    assert tokens > 200
    assert price * 100 == tokens


def test_transformers_counts_as_it_reads(ask_tiny):
    counted = ask_tiny(QUESTION, only_tokens="pieces")
    assert counted["usage"]["prompt_tokens"] == ask_tiny(QUESTION, max_tokens=1)["usage"]["prompt_tokens"]
    assert ask_tiny(None, only_tokens="text", token_ids=counted["tokens"])["text"] == "".join(
        counted["pieces"]
    )


@pytest.mark.parametrize("engine", ["ask", "ask_tiny"])
def test_numbers_of_no_token_are_refused(engine, request):
    ask = request.getfixturevalue(engine)
    for number in (49_152, 2**31 - 1):
        with pytest.raises(Fail, match="send the tokens of this model"):
            ask(None, only_tokens="text", token_ids=[1, number])
    assert ask(None, only_tokens="text", token_ids=[1])["text"]


def test_a_text_of_many_control_tokens_is_refused_at_once(ask):
    with pytest.raises(Fail, match="has more than") as caught:
        ask("<|im_end|>" * 90_000, raw=True, only_tokens="count")
    assert caught.value.code == "CONTEXT_OVERFLOW"


@pytest.mark.parametrize(
    "fields",
    [
        {"only_tokens": "text"},
        {"prompt": "a", "token_ids": [1]},
        {"prompt": "a", "only_tokens": "text", "token_ids": [1]},
        {"prompt": "a", "only_tokens": "count", "special_tokens": False},
        {"only_tokens": "text", "token_ids": [-1]},
    ],
)
def test_contradictory_requests_are_refused(fields):
    with pytest.raises(ValidationError, match=r"token_ids|only_tokens|special_tokens|raw prompt"):
        InferenceRequest(model=NAME, **fields)
