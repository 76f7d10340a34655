"""Several requests share one batch of a real model."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from runners.api import Cancelled, Model, Retry
from runners.llm import LLMRunner
from runners.llm.request import InferenceRequest
from support.language_models import NAME, PERSON, QUESTION

MIXED = [
    {"prompt": QUESTION, "max_tokens": 8},
    {"prompt": "Count from one to twenty, in words. " * 4, "max_tokens": 6},
    {"prompt": "Once upon a time", "raw": True, "max_tokens": 12},
    {"prompt": "Name three colours.", "max_tokens": 3},
    {"prompt": "Write a story.", "temperature": 1.0, "seed": 3, "top_k": 50, "max_tokens": 6},
    {"prompt": "Describe a person.", "response_schema": PERSON, "max_tokens": 10},
    {"prompt": "Explain quantum computing. " * 12, "max_tokens": 4},
]


def test_an_answer_does_not_depend_on_other_requests_in_the_batch(ask, ask_together):
    """Rows of different lengths join and leave one batch; each gives the answer that it gives alone."""
    alone = [ask(**fields) for fields in MIXED]
    for order in ([*range(7)], [6, 2, 5, 0, 4, 1, 3]):
        together = ask_together([MIXED[index] for index in order])
        assert together == [alone[index] for index in order]


def test_cancelling_one_request_does_not_affect_the_others(runner, ask, make_context, monkeypatch):
    """It ends between two tokens, while the row beside it is answered to its end."""
    expected = ask(prompt="Once upon a time", raw=True, max_tokens=20)
    context = make_context()
    context.on_progress = lambda: len(context.events) >= 3 and context.cancel()
    with ThreadPoolExecutor(2) as pool:
        cancelled = pool.submit(ask, prompt="Write a story.", max_tokens=4000, context=context)
        other = pool.submit(ask, prompt="Once upon a time", raw=True, max_tokens=20)
        with pytest.raises(Cancelled):
            cancelled.result(60)
        assert other.result(60) == expected
    assert len(context.events) < 20
    rows = []
    head = runner._engine._loaded.model.lm_head
    compute = head.forward
    monkeypatch.setattr(head, "forward", lambda hidden: rows.append(len(hidden)) or compute(hidden))
    ask(max_tokens=2)
    assert set(rows) == {1}, "the cancelled request no longer occupies a row"


def test_a_long_prompt_can_be_cancelled_while_it_is_read(runner, ask, make_context):
    """Short prompts before it, which are read quickly, do not make the first part of a long one longer."""
    for _ in range(4):
        ask("Hi", raw=True, max_tokens=1)
    context = make_context()
    context.on_progress = lambda: context.reported[-1][1] > 0 and context.cancel()
    request = InferenceRequest(model=NAME, prompt="word " * 3000, raw=True, max_tokens=4)
    with pytest.raises(Cancelled):
        runner.run(request, context)
    assert 0 < context.reported[-1][1] < 3000


def test_more_requests_than_the_batch_holds_are_queued(runner, ask_together):
    capacity = runner.tools.batch
    results = ask_together([{"max_tokens": 2}] * (capacity + 3))
    assert [result["text"] for result in results] == ["The capital"] * (capacity + 3)


def test_a_failure_of_the_model_ends_its_requests_but_not_the_engine(runner, ask, monkeypatch):
    """An out-of-memory error of torch is a machine fault, and the next request is answered."""
    network = runner._engine._loaded.model

    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(network.lm_head, "forward", full)
        with pytest.raises(Retry) as caught:
            ask()
    assert caught.value.code == "OUT_OF_MEMORY"
    assert ask()["text"].endswith("Paris.")


def test_the_batch_shrinks_to_the_available_memory(tiny, tools, device, make_context):
    """Two rows of this model do not fit at once, and both are answered. A request that never fits is a machine fault."""
    row_bytes = 2 * 1 * 2 * 8 * 4  # keys and values, layers, heads, size of a head, float32
    runner = LLMRunner(dataclasses.replace(tools, max_memory=row_bytes * 30), device)
    runner.load(Model("tiny", tiny))
    request = InferenceRequest(model="tiny", prompt="Hello", max_tokens=20, temperature=0)
    contexts = [make_context(), make_context()]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda context: runner.run(request, context).results["text"], contexts))
    assert results[0] == results[1]
    with pytest.raises(Retry) as caught:
        runner.run(request.model_copy(update={"max_tokens": 60}), make_context())
    assert caught.value.code == "OUT_OF_MEMORY"
    runner.close()
