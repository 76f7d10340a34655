"""`text_reranking` with a real cross-encoder, a small one: see `support.inputs.rerankers`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from runners.api import Cancelled, Device, Fail, Model, Retry, Tools
from runners.reranking import RerankingRunner
from runners.reranking.request import RerankingRequest
from support.inputs.rerankers import LENGTH, NAME, RERANKER

KNOWN = {
    "how do i bake bread?": "put the flour and the salt in the oven",
    "is it cold in the rain?": "my umbrella is good for a storm",
    "when is the train at the station?": "the flight is at the airport",
    "where is the bug in my program?": "compile the code for the server",
    "where is my dog?": "the cat and the horse and the bird",
    "can the nurse give me a pill for my pain?": "the doctor of this hospital",
    "who is the singer of this song?": "a guitar and a piano and a violin",
    "how do i pay my debt to the bank?": "the tax on my salary",
}
"""Queries, and the text that answers each of them: neither shares a word of its subject with the other."""
BREAD = "how do i bake bread?"


@pytest.fixture(scope="module")
def device():
    return Device("cpu", "test processor", threads=1)


@pytest.fixture(scope="module")
def runner(device, tmp_path_factory):
    loaded = RerankingRunner(Tools(models_dir=tmp_path_factory.mktemp("models"), batch=2), device)
    loaded.load(Model(NAME, RERANKER, options={"context": LENGTH}))
    yield loaded
    loaded.close()


@pytest.fixture
def rank(runner, make_context):
    def run(query, documents, **fields):
        request = RerankingRequest(model=NAME, query=query, documents=documents, **fields)
        return runner.run(request, make_context())

    return run


@pytest.mark.parametrize("query", KNOWN)
def test_the_text_that_answers_a_query_has_the_highest_score(rank, query):
    documents = list(KNOWN.values())
    scores = rank(query, documents).results["scores"]
    assert documents[scores.index(max(scores))] == KNOWN[query]
    assert max(scores) > 0.5
    assert sorted(scores)[-2] < 0.5


def test_scores_keep_the_order_of_the_documents_and_tokens_are_metered(rank, runner, make_context):
    context = make_context()
    documents = [f"{number} {KNOWN[BREAD] if number == 33 else 'the train'}" for number in range(40)]
    result = runner.run(RerankingRequest(model=NAME, query=BREAD, documents=documents), context)
    scores = result.results["scores"]
    assert (len(scores), scores.index(max(scores))) == (40, 33)
    assert all(0 <= score <= 1 for score in scores)
    assert [percent for percent, _ in context.reported] == [40, 80, 100]
    alone = rank(BREAD, documents[33:34])
    assert alone.results["scores"] == pytest.approx(scores[33:34], abs=1e-4)
    assert 12 < alone.units < 25 < result.units / 3
    assert result.units == result.results["usage"]["prompt_tokens"]


def test_a_document_that_is_too_long_is_an_error_or_cut(rank):
    long = "the flour and the oven " + "the train to the airport " * 100
    for documents in ([long], ["the train", "the " * 20_000]):
        with pytest.raises(Fail, match=r"more tokens than the model reads \(128\)") as caught:
            rank(BREAD, documents)
        assert caught.value.code == "CONTEXT_OVERFLOW"
    cut = rank(BREAD, [long, "the " * 20_000, ""], document_tokens=5)
    assert cut.results["scores"][0] == pytest.approx(
        rank(BREAD, ["the flour and the oven"]).results["scores"][0], abs=1e-4
    )
    # More than fits is cut to what fits.
    whole = rank(BREAD, [long], document_tokens=4096)
    assert LENGTH - 12 <= whole.units <= LENGTH


def test_a_query_that_is_too_long_is_an_error(rank):
    for fields in ({}, {"document_tokens": 100}):
        with pytest.raises(Fail, match=r"query leaves no space|more tokens than the model reads"):
            rank("bread " * 130, ["a"], **fields)
    with pytest.raises(Fail, match="more tokens than the model reads"):
        rank("[SEP]" * 190_000, ["a"])


def test_a_job_is_cancelled_between_two_parts(runner, make_context):
    context = make_context()
    context.on_progress = context.cancel
    with pytest.raises(Cancelled):
        runner.run(RerankingRequest(model=NAME, query="a", documents=["a"] * 64), context)
    assert len(context.reported) == 1


def test_a_model_without_scores_is_refused(device, tools, tmp_path):
    """llama.cpp would rank by one of the numbers of its vectors."""
    content = (RERANKER / "model.gguf").read_bytes()
    (tmp_path / "model.gguf").write_bytes(
        content.replace(b"cls.weight", b"clx.weight").replace(b"cls.output", b"clx.output")
    )
    with pytest.raises(Retry, match="is not a reranker") as caught:
        RerankingRunner(tools, device).load(Model("other", tmp_path))
    assert caught.value.code == "MODEL_UNAVAILABLE"


def test_invalid_requests_are_refused():
    for fields, words in [
        ({"documents": []}, "at least 1"),
        ({"query": ""}, "at least 1 character"),
        ({"documents": ["a"] * 1001}, "at most 1000"),
        ({"document_tokens": 0}, "greater than or equal to 1"),
        ({"documents": ["a" * 600_000] * 2}, "1000000 characters together"),
    ]:
        with pytest.raises(ValidationError, match=words):
            RerankingRequest(**{"model": NAME, "query": "a", "documents": ["a"], **fields})
