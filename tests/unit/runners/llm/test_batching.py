"""Several requests share one model in llama.cpp."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from runners.api import Cancelled, Fail, Tools
from runners.llm.engines.base import GenerationOptions
from runners.llm.engines.llama_cpp import LlamaCppEngine
from runners.llm.request import InferenceRequest
from support.inputs.language_models import NAME, PERSON, QUESTION

pytestmark = pytest.mark.ship

MIXED = [
    {"prompt": QUESTION, "max_tokens": 8},
    {"prompt": "Count from one to twenty, in words. " * 4, "max_tokens": 6},
    {"prompt": "Once upon a time", "raw": True, "max_tokens": 12},
    {"prompt": "Describe a person.", "response_schema": PERSON, "max_tokens": 10},
    {"prompt": "Explain quantum computing. " * 12, "max_tokens": 4},
]


def test_requests_of_all_kinds_are_answered_together(ask, ask_together):
    """Each gets the answer to its own question."""
    alone = [ask(**fields)["usage"] for fields in MIXED]
    together = ask_together(MIXED)
    assert [answer["usage"] for answer in together] == alone
    assert together[0]["text"] == "The capital of France is Paris."


def test_cancelling_one_request_does_not_affect_the_others(ask, make_context):
    """It ends between two tokens, while the request beside it is answered to its end."""
    context = make_context()
    context.on_progress = lambda: len(context.events) >= 3 and context.cancel()
    with ThreadPoolExecutor(2) as pool:
        cancelled = pool.submit(ask, prompt="Write a story.", max_tokens=3000, context=context)
        other = pool.submit(ask, max_tokens=16)
        with pytest.raises(Cancelled):
            cancelled.result(60)
        assert other.result(60)["text"] == "The capital of France is Paris."
    assert len(context.events) < 20


def test_a_long_prompt_can_be_cancelled_while_it_is_read(runner, make_context):
    context = make_context()
    context.on_progress = lambda: context.reported[-1][1] > 0 and context.cancel()
    request = InferenceRequest(model=NAME, prompt="word " * 3000, raw=True, max_tokens=4)
    with pytest.raises(Cancelled):
        runner.run(request, context)
    assert 0 < context.reported[-1][1] < 3000


def test_requests_wait_until_the_context_has_space_for_them(ask_together, make_context):
    """Three of these requests do not fit into the context of 4096 tokens at the same time."""
    contexts = [make_context() for _ in range(3)]
    fields = {"prompt": QUESTION, "max_tokens": 1900}
    answers = ask_together([fields | {"context": context} for context in contexts])
    assert {answer["text"] for answer in answers} == {"The capital of France is Paris."}


def test_what_earlier_requests_have_left_in_the_context_ends_no_later_one(model, device):
    """Short requests wait while a long prompt is read; until they begin, their slots hold what was there before."""
    small = replace(model, options={**model.options, "context": 512})
    engine = LlamaCppEngine(small, device, Tools(), None)

    def answer(prompt, reading=None):
        request = InferenceRequest(model=NAME, prompt=prompt, raw=True, max_tokens=1)
        for piece in engine.submit(request, {}, GenerationOptions(salt="salt")).pieces():
            if reading is not None and piece.prompt_tokens:
                reading.set()
        return piece.prompt_tokens

    try:
        for letter in "abcdefgh":
            answer(f"{letter} " * 60)
        with ThreadPoolExecutor(7) as pool:
            long = pool.submit(answer, "word " * 400, reading := threading.Event())
            assert reading.wait(600)
            short = list(pool.map(answer, [f"{number} " * 6 for number in range(6)]))
        assert long.result() > 400
        assert all(short)
    finally:
        engine.close()


def test_a_request_that_is_given_up_while_it_waits_does_not_hold_up_the_others(runner, ask, make_context):
    """It waits for the tokens of the first, and is given up there; the next one is answered."""
    first, begun = make_context(), threading.Event()
    first.on_progress = lambda: first.events and begun.set()
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, "Write a story.", max_tokens=3000, context=first)
        assert begun.wait(60)
        request = InferenceRequest(model=NAME, prompt="Write another.", max_tokens=3000)
        waiting = runner._engine.submit(request, {}, GenerationOptions()).pieces()
        assert next(waiting).prompt_tokens == 0
        waiting.close()
        first.cancel()
        with pytest.raises(Cancelled):
            long.result(60)
        answer = pool.submit(ask, max_tokens=3000, context=(next_one := make_context()))
        try:
            assert answer.result(60)["text"] == "The capital of France is Paris."
        finally:
            next_one.cancel()


def test_more_requests_than_the_batch_holds_are_queued(runner, ask_together):
    count = 3 * runner.tools.batch
    assert len({result["text"] for result in ask_together([{"max_tokens": 2}] * count)}) == 1


def test_several_answers_that_do_not_fit_together_are_an_input_error(ask):
    with pytest.raises(Fail, match=r"8 answers of 1000 tokens do not fit .* lower n"):
        ask(n=8, max_tokens=1000)
