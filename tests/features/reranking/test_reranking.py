"""Reranking in the forms of Jina, Cohere and vLLM."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.clients.openai_jobs import EMBEDDING, answered
from support.clients.scripted_miner import ScriptedMiner, capabilities
from support.server import Served

RERANKER = "bge-reranker-v2-m3"
QUERY = "Why does bread rise?"
DOCUMENTS = ["The sun rises.", "Yeast makes gas.", "Bread is sold."]
USAGE = {"prompt_tokens": 21, "total_tokens": 21}
RESULTS = {"scores": [0.1, 0.9, 0.4], "usage": USAGE, "units": 21, "processing_time": 0.5}
BODY = {"model": RERANKER, "query": QUERY, "documents": DOCUMENTS}


@pytest.fixture
def miner(served: Served) -> ScriptedMiner:
    miner, offered = ScriptedMiner(served.url), capabilities()
    offered["services"]["text_reranking"]["models"] = [RERANKER]
    offered["services"]["text_embedding"]["models"] = [EMBEDDING]
    assert miner.register(capabilities=offered).status_code == 200
    return miner


def reranked(
    client: httpx.Client, miner: ScriptedMiner, body: dict[str, Any], path: str = "/v1/rerank", results: dict[str, Any] = RESULTS
) -> tuple[dict[str, Any], dict[str, Any]]:  # fmt: skip
    """Return the answer to a request whose job the miner completes, and the parameters of that job."""
    answer, parameters = answered(miner, results, lambda: client.post(path, json=body, timeout=120))
    assert answer.status_code == 200, answer.text
    return answer.json(), parameters


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank", "/api/v1/rerank"])
def test_the_most_relevant_documents_come_first(
    client: httpx.Client, miner: ScriptedMiner, path: str
) -> None:
    answer, parameters = reranked(client, miner, {**BODY, "top_n": 2}, path)
    assert [(result["index"], result["relevance_score"]) for result in answer["results"]] == [
        (1, 0.9),
        (2, 0.4),
    ]
    assert parameters == {"model": RERANKER, "query": QUERY, "documents": DOCUMENTS, "document_tokens": 4096}
    assert (answer["model"], answer["usage"]) == (RERANKER, USAGE)
    assert answer["meta"]["tokens"] == {"input_tokens": 21}
    assert answer["id"].startswith("job_")
    # Cohere's second version returns no documents.
    texts = [result.get("document", {}).get("text") for result in answer["results"]]
    assert texts == ([None, None] if path == "/v2/rerank" else [DOCUMENTS[1], DOCUMENTS[2]])


def test_documents_may_be_objects_and_be_cut(client: httpx.Client, miner: ScriptedMiner) -> None:
    body = {
        **BODY,
        "documents": [{"text": text} for text in DOCUMENTS],
        "max_tokens_per_doc": 64,
        "return_documents": False,
    }
    answer, parameters = reranked(client, miner, body)
    assert (parameters["documents"], parameters["document_tokens"]) == (DOCUMENTS, 64)
    assert all("document" not in result for result in answer["results"])


def test_a_model_of_vectors_ranks_by_their_cosines(client: httpx.Client, miner: ScriptedMiner) -> None:
    vectors = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-0.6, 0.8]]
    results = {"embeddings": vectors, "usage": USAGE, "units": 21, "processing_time": 0.5}
    body = {**BODY, "model": EMBEDDING, "documents": [*DOCUMENTS[:2], ""]}
    answer, parameters = reranked(client, miner, body, results=results)
    assert parameters["input"] == [QUERY, *DOCUMENTS[:2], " "]
    assert [(result["index"], result["relevance_score"]) for result in answer["results"]] == [
        (1, pytest.approx(0.8)),
        (0, pytest.approx(0.0)),
        (2, pytest.approx(-0.6)),
    ]


def test_names_of_models_that_only_their_makers_run_stand_for_the_best_here(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    answer, parameters = reranked(client, miner, {**BODY, "model": "rerank-v3.5"})
    assert (answer["model"], parameters["model"]) == ("rerank-v3.5", RERANKER)


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
@pytest.mark.parametrize("second", [DOCUMENTS, DOCUMENTS[0]])
def test_scores_in_the_form_of_vllm(
    client: httpx.Client, miner: ScriptedMiner, path: str, second: str | list[str]
) -> None:
    scores = RESULTS["scores"] if isinstance(second, list) else [0.1]
    body = {"model": RERANKER, "text_1": QUERY, "text_2": second}
    answer, parameters = reranked(client, miner, body, path, {**RESULTS, "scores": scores})
    assert [(entry["index"], entry["score"]) for entry in answer["data"]] == [*enumerate(scores)]
    assert parameters["query"] == QUERY
    assert parameters["documents"] == (second if isinstance(second, list) else [second])


def test_a_result_with_another_number_of_scores_is_refused(
    client: httpx.Client, miner: ScriptedMiner
) -> None:
    short = {**RESULTS, "scores": [0.5]}
    answer, _ = answered(miner, short, lambda: client.post("/v1/rerank", json=BODY, timeout=120))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "RESULT_INVALID")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"model": "bge-reranker-v2-m4"}, 404, f"Did you mean {RERANKER}"),
        ({"model": "smollm2-135m-instruct"}, 404, "/v1/chat/completions"),
        ({"documents": []}, 422, "documents"),
        ({"documents": [{"title": "a", "text": "b"}]}, 422, "nothing but its"),
        ({"top_n": 0}, 422, "top_n"),
        ({"query": "a" * 600_000, "documents": ["b" * 600_000]}, 422, "1000000 characters together"),
    ],
)
def test_refusals_name_the_fields_of_the_client(
    client: httpx.Client, miner: ScriptedMiner, changes: dict[str, Any], status: int, words: str
) -> None:
    answer = client.post("/v1/rerank", json={**BODY, **changes})
    assert answer.status_code == status, answer.text
    assert words in answer.text


def test_the_errors_of_scores_name_their_fields(client: httpx.Client, miner: ScriptedMiner) -> None:
    body = {"model": RERANKER, "text_1": "a" * 600_000, "text_2": ["b" * 600_000]}
    assert set(client.post("/v1/score", json=body).json()["error"]["details"]["fields"]) == {"text_2"}
    pairs = client.post("/v1/score", json={**body, "text_1": ["a", "b"]})
    assert "text_1" in pairs.json()["error"]["details"]["fields"]
